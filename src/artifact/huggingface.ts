import { isAdapterFile } from "./adapter-files.ts";
import { isForbiddenAddress } from "./address-guard.ts";
import type { Digest } from "./digest.ts";
import { ArtifactError, httpStatusError } from "./errors.ts";
import type { HttpResponse } from "./http-client.ts";
import { discard, fileBytes, rangeHeader } from "./http-range.ts";
import {
  type ArtifactSource,
  type Listing,
  type RemoteFile,
  SourceChangedError,
  type SourceContext,
} from "./source.ts";

const ADVICE = "the key huggingface_token of the Secret, or HF_TOKEN";
/** A branch or a tag moves; a full commit hash names one content for ever. */
const COMMIT = /^[0-9a-f]{40}$/;
/** More files than any adapter's repository has. */
const LISTED_FILES_MAX = 10_000;

/**
 * huggingface://org/repo[@revision]. The official client resolves and lists; the bytes come by ranged
 * requests of our own, because its blobs neither resume nor tell one error from another.
 */
export function huggingFaceSource(
  repo: string,
  revision: string | undefined,
  context: SourceContext,
): ArtifactSource {
  const endpoint = context.settings.huggingFaceEndpoint.replace(/\/+$/, "");
  const token = tokenOf(context);
  const what = `huggingface://${repo}${revision === undefined ? "" : `@${revision}`}`;

  // The endpoint is the operator's word. Where it is itself on this machine, so is its file server;
  // a hub on the Internet has no business redirecting to our loopback.
  const allowPrivate = context.settings.allowPrivateAddresses || isLocal(endpoint);
  /** Where the hub sent us for a file: it counts questions, and ranges would be many. */
  const places = new Map<string, URL>();

  async function send(
    url: URL,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const response = await context.http.send(url, {
      headers,
      originHeaders: token === undefined ? {} : { authorization: `Bearer ${token}` },
      allowPrivate,
      signal,
    });
    if (response.status < 400) return response;
    discard(response);
    throw hubError(response, what, token !== undefined);
  }

  /** The client's fetch: our own transport, which knows redirects, limits and errors. */
  const fetchOver = (signal: AbortSignal): typeof fetch => {
    return async (input) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const response = await send(url, { accept: "application/json" }, signal);
      const chunks: Buffer[] = [];
      for await (const chunk of response.body) chunks.push(chunk as Buffer);
      const { status, headers } = response;
      const link = headers["link"];
      return new Response(Buffer.concat(chunks), {
        status,
        headers: {
          "content-type": headers["content-type"] ?? "application/json",
          ...(typeof link === "string" ? { link } : {}),
        },
      });
    };
  };

  const isWanted = (path: string) =>
    context.content === "model"
      ? !path.startsWith(".")
      : isAdapterFile(path, context.settings.allowPickle);

  async function list(signal: AbortSignal): Promise<Listing> {
    const hub = await import("@huggingface/hub");
    const common = { hubUrl: endpoint, fetch: fetchOver(signal) };
    const commit =
      pinned ??
      (await readable(what, () =>
        hub.modelInfo({
          ...common,
          name: repo,
          revision: revision ?? "main",
          additionalFields: ["sha"],
        }),
      ).then((info) => info.sha));
    if (typeof commit !== "string" || !/^\w[\w.-]{0,127}$/.test(commit)) {
      throw new ArtifactError("Unreachable", `${what}: the hub at ${endpoint} tells no commit`);
    }
    const files = await readable(what, async () => {
      const found: Listing["files"][number][] = [];
      let seen = 0;
      const recursive = context.content === "model";
      for await (const entry of hub.listFiles({ ...common, repo, revision: commit, recursive })) {
        if (++seen > LISTED_FILES_MAX) break;
        if (entry.type !== "file" || !isWanted(entry.path)) continue;
        const oid = entry.lfs?.oid.replace(/^sha256:/, "");
        found.push({
          path: entry.path,
          sizeBytes: entry.lfs?.size ?? entry.size,
          digest: sha256(oid),
          // The commit is part of the URL, so the same URL always means the same bytes.
          validator: commit,
        });
      }
      return found;
    });
    return { identity: commit, files, archive: false };
  }

  /** The file where its bytes were the last time; undefined when it has to be asked for again. */
  async function sendToPlace(path: string, headers: Record<string, string>, signal: AbortSignal) {
    const place = places.get(path);
    if (place === undefined) return undefined;
    const response = await context.http.send(place, { headers, allowPrivate, signal });
    if (response.status < 300) return response;
    // The hub's signed addresses hold for a while only.
    discard(response);
    places.delete(path);
    return undefined;
  }

  async function sendToHub(
    file: RemoteFile,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const url = new URL(`${endpoint}/${repo}/resolve/${file.validator}/${file.path}`);
    const response = await send(url, headers, signal).catch((error: unknown) => {
      // What was listed a moment ago and is gone now: the branch has moved on.
      const isGone = error instanceof ArtifactError && error.code === "NotFound";
      throw isGone && pinned === undefined ? new SourceChangedError(`${what} changed`) : error;
    });
    if (response.url.origin !== url.origin) places.set(file.path, response.url);
    return response;
  }

  const pinned = revision !== undefined && COMMIT.test(revision) ? revision : undefined;
  return {
    location: `huggingface://${repo}`,
    pinned,
    list,
    read: async (file, range, signal) => {
      const wanted = rangeHeader(range);
      const headers: Record<string, string> = wanted === undefined ? {} : { range: wanted };
      const response =
        (await sendToPlace(file.path, headers, signal)) ?? (await sendToHub(file, headers, signal));
      const bytes = fileBytes(response, { ...file, validator: undefined }, range);
      const linked = /^"?([0-9a-f]{64})"?$/.exec(String(response.firstHeaders["x-linked-etag"]));
      return { ...bytes, digest: sha256(linked?.[1]) };
    },
  };
}

function sha256(hex: string | undefined): Digest | undefined {
  return hex !== undefined && /^[0-9a-f]{64}$/.test(hex) ? { algorithm: "sha256", hex } : undefined;
}

function tokenOf({ credentials, settings }: SourceContext): string | undefined {
  const token = credentials["huggingface_token"]?.trim() || settings.huggingFaceToken?.trim();
  if (token === undefined || token === "") return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new ArtifactError(
    "InvalidCredentials",
    `Invalid credentials: the Hugging Face token has characters that no token has; check ${ADVICE}`,
  );
}

/** Anything that the client throws at an answer it cannot read is the hub's fault, not ours. */
async function readable<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof ArtifactError || !(error instanceof SyntaxError)) throw error;
    throw new ArtifactError("Unreachable", `${what}: the hub's answer is not JSON`, {
      cause: error,
    });
  }
}

/** The hub tells in a header of its own what a status means. */
function hubError(response: HttpResponse, what: string, sent: boolean): ArtifactError {
  const { status, headers, firstHeaders } = response;
  const reason = headers["x-error-code"] ?? firstHeaders["x-error-code"];
  if (reason === "GatedRepo") {
    return new ArtifactError(
      "AccessDenied",
      `Access denied to ${what}: the repository is gated; ask for access on its page and check ${ADVICE}`,
    );
  }
  if (reason === "RevisionNotFound" || reason === "EntryNotFound") {
    return new ArtifactError(
      "NotFound",
      `Not found: ${what}; the repository has no such ${reason === "EntryNotFound" ? "file" : "revision"}`,
    );
  }
  // The hub hides private repositories from strangers: for them "unknown" and "private" are one answer.
  if (reason === "RepoNotFound" && !(status === 401 && sent)) {
    return new ArtifactError(
      "NotFound",
      `Not found: ${what}; check the name, and for a private repository ${ADVICE}`,
    );
  }
  return httpStatusError(status, what, { sent, advice: ADVICE });
}

function isLocal(endpoint: string): boolean {
  const host = new URL(endpoint).hostname.replace(/^\[|\]$/g, "");
  return host === "localhost" || isForbiddenAddress(host);
}
