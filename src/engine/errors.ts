import { messageOf } from "#base/errors.ts";
import { isObject } from "#base/json.ts";
import { describeError, networkWords } from "#base/network-error.ts";

const CODES = [
  // An engine's.
  "Unreachable",
  "Unauthorized",
  "UpdatingDisabled",
  "NotFound",
  "Rejected",
  "Unavailable",
  // Those that our sidecar adds, as it names them.
  "AccessDenied",
  "InvalidCredentials",
  "InvalidArtifact",
  "InvalidRequest",
  "NoSpace",
  "Cancelled",
  "Unsupported",
  "EngineRejected",
  "EngineUnavailable",
] as const;
export type EngineErrorCode = (typeof CODES)[number];

/** An engine or a sidecar refused, or could not be asked. The message is for the adapter's status and names the cure where there is one. */
export class EngineError extends Error {
  override readonly name = "EngineError";
  readonly code: EngineErrorCode;
  /** Whether trying again later can help without anybody changing anything. */
  readonly retriable: boolean;

  constructor(code: EngineErrorCode, retriable: boolean, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.retriable = retriable;
  }
}

/** The words that make an error worth a retry, as the documentation lists them. */
const RETRIABLE_WORDS =
  /connection refused|connection reset|timeout|timed out|no route to host|network is unreachable|temporary failure|service unavailable|bad gateway/i;
const STATUS_WORDS: Record<number, string> = {
  408: "timeout",
  429: "service unavailable: too many requests",
  502: "bad gateway",
  503: "service unavailable",
  504: "timeout: gateway timeout",
};
/** Engines answer some refusals with a 500 although trying again cannot help. */
const FINAL_WORDS =
  /call to add_lora method failed|already been loaded|unsupported|not supported|invalid|access denied|forbidden|unauthorized|credentials|not found|does not exist/i;
/** An answer is shown up to this length. */
const SHOWN_MAX = 1000;

/** The error of a request that got no answer. */
export function unreachable(error: unknown): EngineError {
  const words = networkWords(error);
  // Without the cause: the system's own words about it would be told after these.
  if (words !== undefined) return new EngineError("Unreachable", true, words);
  const text = describeError(error);
  const known = RETRIABLE_WORDS.test(messageOf(error));
  return new EngineError("Unreachable", true, known ? text : `connection failed: ${text}`, error);
}

/** The error of an answer that is not a success; `changing`: of a load or unload. */
export function refusal(status: number, body: string, changing: boolean): EngineError {
  const said = wordsOf(body).slice(0, SHOWN_MAX);
  const typed = sidecarError(body, said);
  if (typed !== undefined) return typed;
  if (status === 401 || /^unauthorized$/i.test(said)) {
    return new EngineError(
      "Unauthorized",
      false,
      "Unauthorized: set additionalConfig.api-key (or apiKeySecretRef) to the engine's API key",
    );
  }
  // The routes for changes do not exist at all when the engine was started without the switch.
  if (status === 404 && changing && said === "Not Found") {
    return new EngineError(
      "UpdatingDisabled",
      false,
      "runtime LoRA updating is disabled: set VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in the engine's container",
    );
  }
  if (status === 404) return new EngineError("NotFound", false, said);
  const words = STATUS_WORDS[status];
  if (words !== undefined) {
    return new EngineError("Unavailable", true, said === "" ? words : `${words}: ${said}`);
  }
  const retriable = isWorthRetrying(status, said);
  const message = `the engine answered ${status}${said === "" ? "" : `: ${said}`}`;
  return new EngineError(retriable ? "Unavailable" : "Rejected", retriable, message);
}

function isWorthRetrying(status: number, said: string): boolean {
  // Names and paths are the user's words, not the engine's.
  const words = said.replace(/'[^']*'|"[^"]*"|\S*\/\S*/g, "");
  if (RETRIABLE_WORDS.test(words)) return true;
  return status >= 500 && !FINAL_WORDS.test(words);
}

/** Our sidecar says itself what kind of error it is, and whether to try again. */
function sidecarError(body: string, said: string): EngineError | undefined {
  const value = parse(body);
  if (!isObject(value) || typeof value["retriable"] !== "boolean") return undefined;
  const code = CODES.find((one) => one === value["code"]);
  return new EngineError(code ?? "Rejected", value["retriable"], said);
}

/**
 * The sentence inside an error body: nested as vLLM 0.32 writes it, flat as vLLM 0.7 and AIBrix's sidecar 0.3 do, `error` of AIBrix's
 * later ones, `detail` of FastAPI, `error_message` of SGLang, or the text as it is. AIBrix's sidecars quote
 * the engine's whole body after `message: `: what counts is in there.
 */
export function wordsOf(body: string): string {
  const value = parse(body);
  if (!isObject(value)) return body.trim();
  const { error, message, detail, error_message: sglang } = value;
  if (isObject(error) && typeof error["message"] === "string") return error["message"];
  for (const text of [error, message, detail, sglang]) {
    if (typeof text !== "string") continue;
    const quoted = /^[^{]*(\{.*\})[^}]*$/s.exec(text)?.[1];
    return quoted !== undefined && isObject(parse(quoted)) ? wordsOf(quoted) : text;
  }
  if (Array.isArray(detail)) return detail.map(validationWords).join("; ");
  return body.trim();
}

/** One line of FastAPI's list of what is wrong with a body. */
function validationWords(item: unknown): string {
  if (!isObject(item)) return String(item);
  const place = Array.isArray(item["loc"]) ? item["loc"].join(".") : "body";
  return `${place}: ${String(item["msg"])}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
