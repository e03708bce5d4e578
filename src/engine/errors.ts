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

/** What was asked, as far as the words of its refusal depend on it. */
export interface Asked {
  /** It was a load or an unload. */
  readonly changing: boolean;
  /** A key was sent along. */
  readonly hasKey?: boolean | undefined;
  /** Who answered; left out: the engine. */
  readonly by?: string | undefined;
  /** Why a route for changes may be missing, and the cure; left out: vLLM's. */
  readonly noRoute?: string | undefined;
}

const KEY_CURE = "set additionalConfig.api-key (or spec.apiKeySecretRef) to the engine's API key";
const VLLM_NO_ROUTE =
  "runtime LoRA updating is disabled: set VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in the engine's container";

/** The error of an answer that is not a success. */
export function refusal(status: number, body: string, asked: Asked): EngineError {
  const { changing, hasKey = false, by = "the engine", noRoute = VLLM_NO_ROUTE } = asked;
  const { words, code } = saidIn(body);
  const said = words.slice(0, SHOWN_MAX);
  const typed = sidecarError(parse(body));
  if (typed !== undefined) return typed;
  if (status === 401 || /^unauthorized$/i.test(said)) {
    const sent = hasKey ? ": the one that was sent is refused" : "";
    return new EngineError("Unauthorized", false, `Unauthorized: ${KEY_CURE}${sent}`);
  }
  // The routes for changes do not exist at all when the engine was started without the switch.
  if (status === 404 && changing && said === "Not Found") {
    return new EngineError("UpdatingDisabled", false, noRoute);
  }
  if (status === 404) return new EngineError("NotFound", false, withCure(said));
  const known = STATUS_WORDS[status];
  if (known !== undefined) {
    return new EngineError("Unavailable", true, said === "" ? known : `${known}: ${said}`);
  }
  // A sidecar that quotes the engine's refusal may answer with a status of its own.
  const isQuoted = status >= 500 && code !== undefined && code >= 400 && code < 500;
  const retriable = isWorthRetrying(isQuoted ? code : status, said);
  const who = isQuoted ? `the engine answered ${code}` : `${by} answered ${status}`;
  const message = said === "" ? who : `${who}: ${withCure(said)}`;
  return new EngineError(retriable ? "Unavailable" : "Rejected", retriable, message);
}

function isWorthRetrying(status: number, said: string): boolean {
  // Names and paths are the user's words, not the engine's.
  const words = said.replace(/'[^']*'|"[^"]*"|\S*\/\S*/g, "");
  if (RETRIABLE_WORDS.test(words)) return true;
  return status >= 500 && !FINAL_WORDS.test(words);
}

/** The ranks that vLLM can be started with. */
const RANK_LIMITS = [1, 8, 16, 32, 64, 128, 256, 320, 512];

/** An engine's words, with what to do where it does not say so itself. */
function withCure(said: string): string {
  const rank = /LoRA rank (\d+) is greater than max_lora_rank \d+/i.exec(said)?.[1];
  if (rank !== undefined) {
    const limit = RANK_LIMITS.find((one) => one >= Number(rank)) ?? rank;
    return `${said}: start the engine with --max-lora-rank ${limit} or more, or train with a lower r`;
  }
  if (/No adapter found for /.test(said)) {
    return `${said}: check spec.artifactURL; a path has to be mounted in the engine's container`;
  }
  const isOff = /LoRA is not enabled/i.test(said) && !said.includes("--enable-lora");
  return isOff ? `${said}: start the engine with --enable-lora` : said;
}

/** Our sidecar says itself what kind of error it is, and whether to try again. Undefined: it is nobody's who does. */
export function sidecarError(value: unknown): EngineError | undefined {
  if (!isObject(value)) return undefined;
  const { error, code, retriable } = value;
  if (typeof error !== "string" || typeof retriable !== "boolean") return undefined;
  const known = CODES.find((one) => one === code);
  return new EngineError(known ?? "Rejected", retriable, error.slice(0, SHOWN_MAX));
}

/** What an error body says. */
interface Said {
  readonly words: string;
  /** The status that it names. */
  readonly code?: number | undefined;
}

/**
 * The sentence inside an error body: nested as vLLM 0.32 writes it, flat as vLLM 0.7 and AIBrix's sidecar 0.3 do, `error` of AIBrix's
 * later ones, `detail` of FastAPI, `error_message` of SGLang, or the text as it is. AIBrix's sidecars quote
 * the engine's whole body at the end of their own sentence: what counts is in there.
 */
function saidIn(body: string): Said {
  const value = parse(body);
  if (!isObject(value)) return { words: body.trim() };
  const { error, message, detail, error_message: sglang } = value;
  if (isObject(error) && typeof error["message"] === "string") {
    return { words: error["message"], code: numberIn(error["code"]) };
  }
  for (const text of [error, message, detail, sglang]) {
    if (typeof text !== "string") continue;
    const quoted = /^[^{]*(\{.*\})[^}]*$/s.exec(text)?.[1];
    if (quoted !== undefined && isObject(parse(quoted))) return saidIn(quoted);
    return { words: text, code: numberIn(value["code"]) };
  }
  if (Array.isArray(detail)) return { words: detail.map(validationWords).join("; ") };
  return { words: body.trim() };
}

const numberIn = (value: unknown) => (typeof value === "number" ? value : undefined);

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
