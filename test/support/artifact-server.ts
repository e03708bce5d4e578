import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { startServer, type TestServer } from "./http-server.ts";

/** How a file server misbehaves; asked anew for each request. */
export interface Faults {
  /** Answers with this status. */
  status?: number;
  /** Cuts the connection after so many bytes of the body. */
  cutAfter?: number;
  /** Announces so many bytes more than it sends. */
  lengthOff?: number;
  /** Redirects there. */
  location?: string;
  /** Ignores Range. */
  noRange?: boolean;
  /** Tells neither ETag nor size. */
  isBare?: boolean;
  /** Answers with these bytes instead. */
  body?: Buffer;
  /** Sends nothing after the headers until this resolves. */
  until?: Promise<void>;
}

export interface Asked {
  method: string;
  path: string;
  query: string;
  headers: IncomingMessage["headers"];
}

export interface ArtifactServer extends TestServer {
  files: Map<string, Buffer>;
  asked: Asked[];
  /** GETs that were answered with bytes, by path. */
  gets(path: string): number;
  fault: (asked: Asked, attempt: number) => Faults | undefined;
}

/** A file server with ETags, ranges, and faults at will. */
export async function startArtifactServer(files: Record<string, Buffer>): Promise<ArtifactServer> {
  const state = {
    files: new Map(Object.entries(files)),
    asked: [] as Asked[],
    gets: (path: string) =>
      state.asked.filter((one) => one.method === "GET" && one.path === path).length,
    fault: (() => undefined) as ArtifactServer["fault"],
  };
  const server = await startServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://x");
    const asked = {
      method: request.method ?? "GET",
      path: decodeURIComponent(url.pathname),
      query: url.search,
      headers: request.headers,
    };
    const attempt = state.asked.filter(
      (one) => one.path === asked.path && one.method === asked.method,
    ).length;
    state.asked.push(asked);
    void answer(state, asked, state.fault(asked, attempt) ?? {}, response);
  });
  return Object.assign(state, server);
}

async function answer(
  state: { files: Map<string, Buffer> },
  asked: Asked,
  faults: Faults,
  response: ServerResponse,
): Promise<void> {
  if (faults.location !== undefined) {
    response.writeHead(302, { location: faults.location }).end();
    return;
  }
  const body = faults.body ?? state.files.get(asked.path);
  if (faults.status !== undefined || body === undefined) {
    response.writeHead(faults.status ?? 404).end("no");
    return;
  }
  const etag = `"${createHash("md5").update(body).digest("hex")}"`;
  const range = faults.noRange === true ? undefined : rangeOf(asked, etag, body.length);
  const part = body.subarray(range?.start ?? 0, range?.end ?? body.length);
  response.writeHead(range === undefined ? 200 : 206, {
    ...(faults.isBare === true
      ? {}
      : { etag, "content-length": part.length + (faults.lengthOff ?? 0) }),
    ...(range === undefined
      ? {}
      : { "content-range": `bytes ${range.start}-${range.end - 1}/${body.length}` }),
  });
  if (asked.method === "HEAD") {
    response.end();
    return;
  }
  if (faults.until !== undefined) {
    response.flushHeaders();
    response.write(part.subarray(0, 10));
    await faults.until;
    response.end(part.subarray(10));
    return;
  }
  if (faults.cutAfter !== undefined && faults.cutAfter < part.length) {
    response.write(part.subarray(0, faults.cutAfter), () => response.socket?.destroySoon());
    return;
  }
  response.end(part);
}

function rangeOf({ headers }: Asked, etag: string, size: number) {
  const match = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "");
  const condition = headers["if-range"];
  if (match === null || (condition !== undefined && condition !== etag)) return undefined;
  const end = match[2] === "" ? size : Math.min(Number(match[2]) + 1, size);
  return { start: Number(match[1]), end };
}
