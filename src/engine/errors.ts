import { messageOf } from "#base/errors.ts";
import { isObject } from "#base/json.ts";
import { describeError, networkWords } from "#base/network-error.ts";

export type EngineErrorCode =
  | "Unreachable"
  | "Unauthorized"
  | "UpdatingDisabled"
  | "NotFound"
  | "Rejected"
  | "Unavailable";

/** An engine refused, or could not be asked. The message is for the adapter's status and names the cure where there is one. */
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
  504: "gateway timeout",
};
/** Engines answer some refusals with a 500 although trying again cannot help. */
const FINAL_WORDS =
  /Call to add_lora method failed|has already been loaded|is not supported|invalid/i;
/** An engine's answer is shown up to this length. */
const SHOWN_MAX = 1000;

/** The error of a request that got no answer. */
export function unreachable(error: unknown): EngineError {
  const known = networkWords(error) !== undefined || RETRIABLE_WORDS.test(messageOf(error));
  const text = describeError(error);
  return new EngineError("Unreachable", true, known ? text : `connection failed: ${text}`, error);
}

/** The error of an answer that is not a success. */
export function refusal(status: number, body: string, changing: boolean): EngineError {
  const said = wordsOf(body).slice(0, SHOWN_MAX);
  if (status === 401 || status === 403) {
    return new EngineError(
      "Unauthorized",
      false,
      `${said || "Unauthorized"}: set additionalConfig.api-key (or apiKeySecretRef) to the engine's API key`,
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
  const retriable = (status >= 500 && !FINAL_WORDS.test(said)) || RETRIABLE_WORDS.test(said);
  const message = `the engine answered ${status}: ${said}`;
  return new EngineError(retriable ? "Unavailable" : "Rejected", retriable, message);
}

/**
 * The sentence inside an error body: nested as vLLM 0.32 writes it, flat as vLLM 0.7 does, `detail` of
 * FastAPI, `error_message` of SGLang, or the text as it is.
 */
export function wordsOf(body: string): string {
  try {
    const value: unknown = JSON.parse(body);
    if (!isObject(value)) return body.trim();
    const { error, message, detail, error_message: sglang } = value;
    if (isObject(error) && typeof error["message"] === "string") return error["message"];
    for (const text of [error, message, detail, sglang]) if (typeof text === "string") return text;
    return body.trim();
  } catch {
    return body.trim();
  }
}
