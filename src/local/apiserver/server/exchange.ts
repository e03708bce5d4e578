import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { stringify as stringifyYaml } from "yaml";
import type { JsonObject } from "#base/json.ts";
import { BodyTooLarge, readBody } from "#serve/body.ts";
import { ApiError } from "../registry/api-error.ts";
import type { User } from "../registry/object-api.ts";

/** What etcd behind a real API server takes at most, with some room. */
const BODY_MAX_BYTES = 3 * 1024 * 1024;

/** As Kubernetes writes YAML: sorted, lists not indented, texts quoted that look like times. */
const YAML = { version: "1.1", sortMapEntries: true, indentSeq: false, lineWidth: 0 } as const;

/** One request and its answer. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly url: URL;
  readonly user: User;
  /** Told to the client in Warning headers. */
  readonly warnings: string[];
}

/** @throws ApiError (413) */
export async function bodyBytes({ request }: Exchange): Promise<Buffer> {
  try {
    return await readBody(request, BODY_MAX_BYTES);
  } catch (error) {
    if (!(error instanceof BodyTooLarge)) throw error;
    throw new ApiError(
      413,
      "RequestEntityTooLarge",
      `Request entity too large: limit is ${error.limitBytes}`,
    );
  }
}

/** Answers with a JSON or YAML body. */
export function sendObject(
  { request, response, warnings }: Exchange,
  code: number,
  body: JsonObject,
  isYaml = false,
): void {
  const indent = isPretty(request) ? 2 : 0;
  const text = isYaml
    ? stringifyYaml(body, YAML)
    : `${JSON.stringify(body, undefined, indent)}${indent === 0 ? "\n" : ""}`;
  if (warnings.length > 0) response.setHeader("warning", [...new Set(warnings)].map(warningText));
  const isZipped = text.length > ZIP_MIN_LENGTH && acceptsGzip(request);
  const sent = isZipped ? gzipSync(text, { level: 1 }) : text;
  response.writeHead(code, {
    "content-type": isYaml ? "application/yaml" : "application/json",
    "content-length": Buffer.byteLength(sent),
    "cache-control": "no-cache, private",
    ...(isZipped ? { "content-encoding": "gzip", vary: "Accept-Encoding" } : {}),
  });
  response.end(sent);
}

/** Answers beyond this many characters are compressed for those who can read it. */
const ZIP_MIN_LENGTH = 128 * 1024;

const acceptsGzip = ({ headers }: IncomingMessage) =>
  /(^|,)\s*gzip\s*(,|;|$)/.test(String(headers["accept-encoding"] ?? ""));

/** As RFC 7234 has it, the way kubectl prints it. */
const warningText = (text: string) =>
  `299 - "${text.replaceAll(/[\\"]/g, "\\$&").replaceAll(/[\r\n]+/g, " ")}"`;

/** Browsers and `?pretty=true` get JSON that a person can read. */
function isPretty({ url = "", headers }: IncomingMessage): boolean {
  const asked = /[?&]pretty=(\w+)/.exec(url)?.[1];
  if (asked !== undefined) return asked === "true" || asked === "1";
  return /^(curl|Wget|Mozilla\/5\.0)/.test(headers["user-agent"] ?? "");
}

/**
 * Answers with a document that changes rarely: a client that shows the ETag of what it holds is told
 * that it is still good.
 */
export function sendDocument(
  { request, response }: Exchange,
  document: { readonly body: string | Uint8Array; readonly contentType: string },
  headers: { readonly [name: string]: string } = {},
): void {
  const { body, contentType } = document;
  const etag = `"${createHash("sha512").update(body).digest("hex").toUpperCase()}"`;
  const common = { etag, vary: "Accept", ...headers };
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, common).end();
    return;
  }
  response.writeHead(200, {
    ...common,
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}
