import type { JsonObject } from "#base/json.ts";
import type { StopRules } from "./detokenizer.ts";
import { parameterError } from "./http-errors.ts";
import type { FieldReader } from "./request-fields.ts";
import { isGreedy, type SamplingRules } from "./sampler.ts";

/** The part of a request that completions and chat share. */
export type GenerationParams = {
  model: string | undefined;
  n: number;
  sampling: SamplingRules;
  stop: StopRules;
  stopTokens: number[];
  ignoreEnd: boolean;
  isStream: boolean;
  /** A last chunk with the usage. */
  includesUsage: boolean;
  /** The usage so far in every chunk. */
  includesRunningUsage: boolean;
  /** Token ids beside the texts. */
  returnsTokenIds: boolean;
};

/** vLLM's own limits. */
const STOP_TEXTS_MAX = 4;
const LOGPROBS_MAX = 20;
/** Answers to one prompt; far below vLLM's limit, since this engine computes on one thread. */
const ANSWERS_MAX = 128;

/** Features that change the meaning of a request and that this engine does not have. */
const UNSUPPORTED = [
  "echo",
  "suffix",
  "use_beam_search",
  "prompt_logprobs",
  "logit_bias",
  "allowed_token_ids",
  "logprob_token_ids",
  "bad_words",
  "prompt_embeds",
  "structured_outputs",
  "truncate_prompt_tokens",
  "continue_final_message",
];

/** Checks that come before the fields are read one by one. @throws ApiError */
export function checkBody(body: JsonObject): void {
  if (body["stream_options"] && !body["stream"]) {
    throw parameterError(
      "Stream options can only be defined when `stream=True`.",
      "stream_options",
    );
  }
  for (const name of UNSUPPORTED) {
    const value = body[name];
    const isUnset = value === undefined || value === null || value === false || value === "";
    if (isUnset || (Array.isArray(value) && value.length === 0)) continue;
    throw parameterError(`\`${name}\` is not supported by the built-in engine.`, name);
  }
  const format = body["response_format"] as { type?: unknown } | null | undefined;
  if (format?.type !== undefined && format.type !== "text") {
    throw parameterError(
      "`response_format` other than text is not supported by the built-in engine.",
      "response_format",
    );
  }
}

/** Reads the shared fields; `logprobs` is how many alternatives the caller asks for. */
export function readGenerationParams(
  fields: FieldReader,
  logprobs: number | undefined,
): GenerationParams {
  const streamOptions = fields.object("stream_options");
  const includesUsage = streamOptions?.["include_usage"] === true;
  return {
    model: fields.text("model"),
    n: fields.integer("n") ?? 1,
    sampling: {
      temperature: fields.number("temperature") ?? 1,
      topP: fields.number("top_p") ?? 1,
      topK: fields.integer("top_k") ?? 0,
      minP: fields.number("min_p") ?? 0,
      presencePenalty: fields.number("presence_penalty") ?? 0,
      frequencyPenalty: fields.number("frequency_penalty") ?? 0,
      repetitionPenalty: fields.number("repetition_penalty") ?? 1,
      seed: fields.integer("seed"),
      logprobs,
    },
    stop: {
      stop: fields.texts("stop", STOP_TEXTS_MAX),
      includeStop: fields.boolean("include_stop_str_in_output") ?? false,
      minTokens: fields.integer("min_tokens") ?? 0,
      skipSpecialTokens: fields.boolean("skip_special_tokens") ?? true,
    },
    stopTokens: fields.integers("stop_token_ids"),
    ignoreEnd: fields.boolean("ignore_eos") ?? false,
    isStream: fields.boolean("stream") ?? false,
    includesUsage,
    includesRunningUsage: includesUsage && streamOptions?.["continuous_usage_stats"] === true,
    returnsTokenIds: fields.boolean("return_token_ids") ?? false,
  };
}

/** Checks the values against each other, in vLLM's order and words. @throws ApiError */
export function checkGenerationParams(params: GenerationParams, tokensMax: number): void {
  const { n, sampling, stop } = params;
  const { temperature, topP, topK, minP } = sampling;
  if (n < 1) throw parameterError(`n must be at least 1, got ${n}.`);
  if (n > ANSWERS_MAX) throw parameterError(`n must be at most ${ANSWERS_MAX}, got ${n}.`);
  checkPenalties(sampling);
  if (temperature < 0) {
    throw parameterError(
      `temperature must be non-negative, got ${temperature}.`,
      "temperature",
      temperature,
    );
  }
  if (temperature > 2) {
    throw parameterError(
      `temperature must be in [0, 2], got ${temperature}.`,
      "temperature",
      temperature,
    );
  }
  if (!(topP > 0 && topP <= 1))
    throw parameterError(`top_p must be in (0, 1], got ${topP}.`, "top_p", topP);
  if (topK < -1) throw parameterError(`top_k must be 0 (disable), or at least 1, got ${topK}.`);
  if (!(minP >= 0 && minP <= 1)) throw parameterError(`min_p must be in [0, 1], got ${minP}.`);
  if (tokensMax < 1) {
    throw parameterError(
      `max_tokens must be at least 1, got ${tokensMax}.`,
      "max_tokens",
      tokensMax,
    );
  }
  if (stop.minTokens < 0) {
    throw parameterError(`min_tokens must be greater than or equal to 0, got ${stop.minTokens}.`);
  }
  if (stop.minTokens > tokensMax) {
    throw parameterError(
      `min_tokens must be less than or equal to max_tokens=${tokensMax}, got ${stop.minTokens}.`,
    );
  }
  if (stop.stop.includes("")) throw parameterError("stop cannot contain an empty string.");
  if (isGreedy(sampling) && n > 1) {
    throw parameterError(`n must be 1 when using greedy sampling, got ${n}.`);
  }
  if (sampling.logprobs !== undefined && sampling.logprobs > LOGPROBS_MAX) {
    throw parameterError(
      `Requested sample logprobs of ${sampling.logprobs}, which is greater than max allowed: ${LOGPROBS_MAX}`,
      "logprobs",
      sampling.logprobs,
    );
  }
}

function checkPenalties({
  presencePenalty,
  frequencyPenalty,
  repetitionPenalty,
}: SamplingRules): void {
  if (!(Math.abs(presencePenalty) <= 2)) {
    throw parameterError(`presence_penalty must be in [-2, 2], got ${presencePenalty}.`);
  }
  if (!(Math.abs(frequencyPenalty) <= 2)) {
    throw parameterError(`frequency_penalty must be in [-2, 2], got ${frequencyPenalty}.`);
  }
  if (!(repetitionPenalty > 0)) {
    throw parameterError(`repetition_penalty must be greater than zero, got ${repetitionPenalty}.`);
  }
}
