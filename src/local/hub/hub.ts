import { once } from "node:events";
import { createReadStream } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { messageOf } from "#base/errors.ts";
import { requestUrl } from "#serve/request-url.ts";
import type { Log } from "#telemetry/log.ts";
import { type RepoFile, Repositories, type Snapshot } from "./repository.ts";

export interface HubOptions {
  /** Holds `<org>/<repo>` folders. */
  readonly dir: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly log: Log;
}

export interface RunningHub {
  /** What HF_ENDPOINT has to be. */
  readonly url: string;
  /** Resolves when the hub has stopped after its signal was aborted. */
  readonly closed: Promise<void>;
}

const BODY_BYTES_MAX = 1 << 20;

/**
 * Serves folders in the Hugging Face hub's protocol, as far as clients need it to find and download
 * models: what a hub in the same network is for a cluster without Internet.
 * @throws when the address cannot be bound.
 */
export async function startHub(options: HubOptions, signal: AbortSignal): Promise<RunningHub> {
  const repositories = new Repositories(options.dir);
  const server = createServer((request, response) => {
    answer(repositories, request, response).catch((error: unknown) => {
      // A client that leaves in the middle of a file is an everyday thing.
      if (response.destroyed || request.destroyed) return;
      options.log.error("Hub request failed", { error: messageOf(error) });
      if (response.headersSent) response.destroy();
      else refuse(response, { status: 500, message: "Internal error" });
    });
  });
  server.listen(options.port, options.host);
  await once(server, "listening");
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const { address, port, family } = server.address() as AddressInfo;
  const host = family === "IPv6" ? `[${address}]` : address;
  return { url: `http://${host}:${port}`, closed: once(server, "close").then(() => {}) };
}

interface Refusal {
  readonly status: number;
  /** The header by which clients know what went wrong. */
  readonly code?: string;
  readonly message: string;
}

function refuse(response: ServerResponse, { status, code, message }: Refusal): void {
  if (code !== undefined) response.setHeader("x-error-code", code);
  response.setHeader("x-error-message", message);
  sendJson(response, status, { error: message });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  response.end(response.req.method === "HEAD" ? "" : text);
}

/** /api/models/org/repo[/revision|tree|paths-info/rev[/path]] and /org/repo/resolve/rev/path */
const API = /^\/api\/models\/([^/]+\/[^/]+)(?:\/(revision|tree|paths-info)\/([^/]+)(?:\/(.*))?)?$/;
const RESOLVE = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/;
const REPO = /^[\w.-]{1,96}\/[\w.-]{1,96}$/;

async function answer(
  repositories: Repositories,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = requestUrl(request.url);
  if (url.pathname === "/healthz") return sendJson(response, 200, { status: "ok" });
  const api = API.exec(url.pathname);
  const resolve = RESOLVE.exec(url.pathname);
  const repo = api?.[1] ?? resolve?.[1];
  if (repo === undefined || !REPO.test(repo) || repo.split("/").some((p) => /^\.+$/.test(p))) {
    return refuse(response, { status: 404, message: "Not found" });
  }
  const denied = await accessRefusal(repositories, repo, tokenOf(request));
  if (denied !== undefined) return refuse(response, denied);
  const revision = decode(api?.[3] ?? resolve?.[2] ?? "main");
  const snapshot = await repositories.snapshot(repo, revision);
  if (snapshot === undefined) {
    return refuse(response, {
      status: 404,
      code: "RevisionNotFound",
      message: `Invalid rev id: ${encodeURIComponent(revision)}`,
    });
  }
  response.setHeader("x-repo-commit", snapshot.commit);
  const path = decode(api?.[4] ?? resolve?.[3] ?? "");
  if (resolve !== null) return sendFile(request, response, snapshot, path);
  if (api?.[2] === "tree") return sendTree(url, response, snapshot, path);
  if (api?.[2] === "paths-info") return sendPathsInfo(request, response, snapshot);
  const isPublic = (await repositories.access(repo))?.visibility === "public";
  const withBlobs = /^(1|true)$/i.test(url.searchParams.get("blobs") ?? "");
  sendJson(response, 200, repoInfo(repo, snapshot, isPublic, withBlobs));
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function tokenOf(request: IncomingMessage): string | undefined {
  return /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
}

/** The hub's own habits: it does not tell strangers which private repositories exist. */
async function accessRefusal(
  repositories: Repositories,
  repo: string,
  token: string | undefined,
): Promise<Refusal | undefined> {
  const access = await repositories.access(repo);
  if (access?.visibility === "public") return undefined;
  if (access === undefined || access.visibility === "private") {
    if (access !== undefined && token !== undefined && access.tokens.includes(token)) {
      return undefined;
    }
    return token === undefined
      ? { status: 401, code: "RepoNotFound", message: "Invalid username or password." }
      : { status: 404, code: "RepoNotFound", message: "Repository not found" };
  }
  if (token !== undefined && access.tokens.includes(token)) return undefined;
  return {
    status: token === undefined ? 401 : 403,
    code: "GatedRepo",
    message: `Access to model ${repo} is restricted. You must have access to it and be authenticated.`,
  };
}

/** What `?blobs=true` adds to a file's name. */
function siblingBlob(file: RepoFile) {
  const { sizeBytes: size, blobId } = file;
  if (!file.isLarge) return { size, blobId };
  return { size, blobId, lfs: { sha256: file.sha256, size, pointerSize: pointerSize(file) } };
}

function repoInfo(repo: string, snapshot: Snapshot, isPublic: boolean, withBlobs: boolean) {
  return {
    _id: snapshot.commit.slice(0, 24),
    id: repo,
    modelId: repo,
    author: repo.split("/")[0],
    sha: snapshot.commit,
    lastModified: snapshot.modifiedAt.toISOString(),
    createdAt: snapshot.modifiedAt.toISOString(),
    private: !isPublic,
    gated: false,
    disabled: false,
    downloads: 0,
    likes: 0,
    tags: ["peft", "lora"],
    siblings: snapshot.files.map((file) => ({
      rfilename: file.path,
      ...(withBlobs ? siblingBlob(file) : {}),
    })),
  };
}

function describeFile(file: RepoFile) {
  return {
    type: "file",
    path: file.path,
    size: file.sizeBytes,
    oid: file.blobId,
    ...(file.isLarge
      ? { lfs: { oid: file.sha256, size: file.sizeBytes, pointerSize: pointerSize(file) } }
      : {}),
  };
}

/** Git holds a note of three lines in place of a large file. */
function pointerSize(file: RepoFile): number {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${file.sha256}\nsize ${file.sizeBytes}\n`
    .length;
}

function sendTree(url: URL, response: ServerResponse, snapshot: Snapshot, path: string): void {
  const prefix = path === "" ? "" : `${path.replace(/\/+$/, "")}/`;
  const inside = snapshot.files.filter((file) => file.path.startsWith(prefix));
  if (inside.length === 0 && prefix !== "") {
    const message = `${path} does not exist on this revision`;
    refuse(response, { status: 404, code: "EntryNotFound", message });
    return;
  }
  const isRecursive = /^(1|true)$/i.test(url.searchParams.get("recursive") ?? "");
  const folders = new Set<string>();
  const files = inside.filter((file) => {
    const parts = file.path.slice(prefix.length).split("/");
    const depths = isRecursive ? parts.length : Math.min(parts.length, 2);
    for (let depth = 1; depth < depths; depth++) {
      folders.add(prefix + parts.slice(0, depth).join("/"));
    }
    return isRecursive || parts.length === 1;
  });
  sendJson(response, 200, [
    ...[...folders].map((folder) => ({
      type: "directory",
      path: folder,
      size: 0,
      oid: snapshot.commit,
    })),
    ...files.map(describeFile),
  ]);
}

/** POST {"paths": [...]}: the same descriptions, for chosen files. */
async function sendPathsInfo(
  request: IncomingMessage,
  response: ServerResponse,
  snapshot: Snapshot,
): Promise<void> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) return refuse(response, { status: 413, message: "Body too large" });
    chunks.push(chunk);
  }
  let paths: unknown;
  try {
    paths = (JSON.parse(Buffer.concat(chunks).toString("utf8")) as { paths?: unknown }).paths;
  } catch {
    return refuse(response, { status: 400, message: "Body is not JSON" });
  }
  const wanted = new Set(Array.isArray(paths) ? paths : [paths]);
  const lastCommit = {
    id: snapshot.commit,
    title: "Folder content",
    date: snapshot.modifiedAt.toISOString(),
  };
  const found = snapshot.files.filter((file) => wanted.has(file.path));
  sendJson(
    response,
    200,
    found.map((file) => ({ ...describeFile(file), lastCommit })),
  );
}

async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  snapshot: Snapshot,
  path: string,
): Promise<void> {
  const file = snapshot.files.find((candidate) => candidate.path === path);
  if (file === undefined) {
    return refuse(response, { status: 404, code: "EntryNotFound", message: "Entry not found" });
  }
  const etag = `"${file.isLarge ? file.sha256 : file.blobId}"`;
  response.setHeader("etag", etag);
  response.setHeader("accept-ranges", "bytes");
  response.setHeader("content-type", contentType(path));
  if (file.isLarge) {
    response.setHeader("x-linked-etag", etag);
    response.setHeader("x-linked-size", file.sizeBytes);
  }
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304).end();
    return;
  }
  const range = rangeOf(request, etag, file.sizeBytes);
  if (range === "unsatisfiable") {
    response.setHeader("content-range", `bytes */${file.sizeBytes}`);
    return refuse(response, { status: 416, message: "Range not satisfiable" });
  }
  const { start, end } = range ?? { start: 0, end: file.sizeBytes - 1 };
  if (range !== undefined) {
    response.setHeader("content-range", `bytes ${start}-${end}/${file.sizeBytes}`);
  }
  response.setHeader("content-length", end - start + 1);
  response.writeHead(range === undefined ? 200 : 206);
  if (request.method === "HEAD" || file.sizeBytes === 0) {
    response.end();
    return;
  }
  await pipeline(createReadStream(join(snapshot.folder, path), { start, end }), response);
}

function contentType(path: string): string {
  if (path.endsWith(".json")) return "application/json; charset=utf-8";
  return /\.(md|txt|jinja)$/.test(path) ? "text/plain; charset=utf-8" : "application/octet-stream";
}

/** One range, as download clients ask for; anything else is answered with the whole file. */
function rangeOf(
  request: IncomingMessage,
  etag: string,
  size: number,
): { start: number; end: number } | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  const condition = request.headers["if-range"];
  if (match === null || (condition !== undefined && condition !== etag)) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return undefined;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return start > end ? "unsatisfiable" : { start, end };
}
