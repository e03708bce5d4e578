import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";

/** Headers of one connection, not of the message (RFC 9110, section 7.6.1), and what we set anew. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** Of a request also what our own server has dealt with, and what is written anew. */
const NOT_PASSED_ON = new Set([...HOP_BY_HOP, "content-length", "expect", "x-request-id"]);
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/** The caller's own id where it has one that can be logged, else a new one. */
export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
}

/** Names that this message's Connection header declares to be of its connection. */
function namedByConnection(connection: string | undefined): Set<string> | undefined {
  if (connection === undefined) return undefined;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}

/** The headers for the engine as undici takes them: name, value, name, value. All but the hop's own are kept. */
export function upstreamHeaders(
  request: IncomingMessage,
  requestId: string,
  lengthBytes: number | undefined,
): string[] {
  const dropped = namedByConnection(request.headers.connection);
  const headers: string[] = [];
  let forwardedFor: string | undefined;
  for (let index = 0; index + 1 < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] as string;
    const value = request.rawHeaders[index + 1] as string;
    const lower = name.toLowerCase();
    if (lower === "x-forwarded-for") forwardedFor = value;
    else if (!NOT_PASSED_ON.has(lower) && dropped?.has(lower) !== true) headers.push(name, value);
  }
  const client = request.socket.remoteAddress;
  const forwarded = [forwardedFor, client].filter((one) => one !== undefined).join(", ");
  if (forwarded !== "") headers.push("x-forwarded-for", forwarded);
  headers.push("x-request-id", requestId);
  if (lengthBytes !== undefined) headers.push("content-length", String(lengthBytes));
  return headers;
}

/** The headers for the caller. `isRewritten`: the body changes its length on the way. */
export function callerHeaders(
  headers: IncomingHttpHeaders,
  requestId: string,
  isRewritten: boolean,
): Record<string, string | string[]> {
  const connection = headers.connection;
  const dropped = namedByConnection(Array.isArray(connection) ? connection.join() : connection);
  const result: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HOP_BY_HOP.has(name) || dropped?.has(name) === true) continue;
    if (isRewritten && name === "content-length") continue;
    result[name] = value;
  }
  result["x-request-id"] = requestId;
  return result;
}
