import { isObject } from "#base/json.ts";
import { KubeApiError } from "./client.ts";

/** Longest piece of a foreign error page that goes into a message. */
const ERROR_TEXT_LENGTH_MAX = 300;

/** Reasons that the API machinery gives to codes whose answer is not a Status (proxies, early failures). */
const REASON_OF_CODE: Record<number, string> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  409: "Conflict",
  410: "Gone",
  413: "RequestEntityTooLarge",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** The error that an unsuccessful answer stands for. */
export function errorOfResponse(
  code: number,
  body: string,
  headers: Record<string, string | string[] | undefined> = {},
): KubeApiError {
  const fromHeader = retryAfterMs(headers["retry-after"]);
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    // Not the API server's own words; the text below is what there is.
  }
  if (isObject(parsed) && parsed["kind"] === "Status")
    return errorOfStatus(parsed, code, fromHeader);
  const reason = REASON_OF_CODE[code] ?? "Unknown";
  const text = body.trim().slice(0, ERROR_TEXT_LENGTH_MAX);
  return new KubeApiError(code, reason, text === "" ? `HTTP ${code} ${reason}` : text, fromHeader);
}

/** The error that a `metav1.Status` describes: the body of a failed request, the object of an ERROR event. */
export function errorOfStatus(
  status: Record<string, unknown>,
  httpCode = 500,
  fromHeaderMs?: number,
): KubeApiError {
  const code = typeof status["code"] === "number" ? status["code"] : httpCode;
  const reason =
    typeof status["reason"] === "string" && status["reason"] !== ""
      ? status["reason"]
      : (REASON_OF_CODE[code] ?? "Unknown");
  const message =
    typeof status["message"] === "string" ? status["message"] : `HTTP ${code} ${reason}`;
  const details = status["details"];
  const seconds = isObject(details) ? details["retryAfterSeconds"] : undefined;
  const fromDetails = typeof seconds === "number" && seconds > 0 ? seconds * 1000 : undefined;
  return new KubeApiError(code, reason, message, fromHeaderMs ?? fromDetails);
}

/** A Retry-After header in milliseconds; only its form in seconds, which is the one that servers send. */
export function retryAfterMs(value: string | string[] | undefined): number | undefined {
  const text = Array.isArray(value) ? value[0] : value;
  if (text === undefined || !/^\d{1,6}$/.test(text.trim())) return undefined;
  return Number(text) * 1000;
}
