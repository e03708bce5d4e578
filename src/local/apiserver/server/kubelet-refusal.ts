import type { IncomingMessage } from "node:http";
import { codeOf, messageOf } from "#base/errors.ts";
import { isObject } from "#base/json.ts";
import { ApiError, badRequest } from "../registry/api-error.ts";

/** The kubelet's errors are short; a longer text is not one. */
const ERROR_MAX_BYTES = 50_000;

/** As Kubernetes wraps an error that is nobody's fault. */
export const internalError = (message: string) =>
  new ApiError(500, "InternalError", `Internal error occurred: ${message}`, {
    causes: [{ message }],
  });

/** What Go would say about a connection that failed. */
export function dialText(error: Error, url: URL): string {
  if (codeOf(error) === "ECONNREFUSED") return `dial tcp ${url.host}: connect: connection refused`;
  if (codeOf(error) === "ECONNRESET") return "EOF";
  return messageOf(error);
}

/** The error that the API server makes of a kubelet's answer. */
export async function refusalOf(
  answer: IncomingMessage,
  resource: string,
  name: string,
): Promise<ApiError> {
  const code = answer.statusCode ?? 500;
  const message = await refusalText(answer);
  if (code === 400) return badRequest(message);
  if (code === 500) return internalError(message);
  const details = { name, kind: resource };
  const about = ` ( ${resource} ${name})`;
  const [reason, text] = GENERIC[code] ?? [
    code > 500 ? "InternalError" : "",
    code > 500
      ? `an error on the server (${JSON.stringify(message)}) has prevented the request from succeeding`
      : `the server responded with the status code ${code} but did not return more information`,
  ];
  return new ApiError(code, reason, (text === "" ? message : text) + about, details);
}

/** Reason and message for a kubelet's status code; an empty text stands for the kubelet's own. */
const GENERIC: { readonly [code: number]: readonly [string, string] } = {
  401: ["Unauthorized", "the server has asked for the client to provide credentials"],
  403: ["Forbidden", ""],
  404: ["NotFound", "the server could not find the requested resource"],
  405: ["MethodNotAllowed", "the server does not allow this method on the requested resource"],
  503: ["ServiceUnavailable", "the server is currently unable to handle the request"],
};

/** What the kubelet says: a Status, or plain text. */
export async function refusalText(answer: IncomingMessage): Promise<string> {
  let text = "";
  answer.setEncoding("utf8");
  for await (const chunk of answer) {
    text += chunk;
    if (text.length > ERROR_MAX_BYTES) break;
  }
  try {
    const status: unknown = JSON.parse(text);
    if (isObject(status) && typeof status["message"] === "string") text = status["message"];
  } catch {
    // Plain text.
  }
  return text.trim();
}
