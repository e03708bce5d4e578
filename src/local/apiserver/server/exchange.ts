import type { IncomingMessage, ServerResponse } from "node:http";
import { stringify as stringifyYaml } from "yaml";
import type { JsonObject } from "#base/json.ts";
import { BodyTooLarge, readBody } from "#serve/body.ts";
import { ApiError } from "../registry/api-error.ts";
import type { User } from "../registry/object-api.ts";

/** What etcd behind a real API server takes at most, with some room. */
const BODY_MAX_BYTES = 3 * 1024 * 1024;

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
  { response, warnings }: Exchange,
  code: number,
  body: JsonObject,
  isYaml = false,
): void {
  const text = isYaml ? stringifyYaml(body) : `${JSON.stringify(body)}\n`;
  if (warnings.length > 0) response.setHeader("warning", [...new Set(warnings)].map(warningText));
  response.writeHead(code, {
    "content-type": isYaml ? "application/yaml" : "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-cache, private",
  });
  response.end(text);
}

/** As RFC 7234 has it, the way kubectl prints it. */
const warningText = (text: string) =>
  `299 - "${text.replaceAll(/[\\"]/g, "\\$&").replaceAll(/[\r\n]+/g, " ")}"`;
