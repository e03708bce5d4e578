import type { JsonObject } from "#base/json.ts";
import type { AnswerStream } from "./answer-stream.ts";
import { decodeUtf8 } from "./detokenizer.ts";
import {
  type Answer,
  checkTokensMax,
  encodePrompt,
  type Generated,
  type GenerationDeps,
  generateAll,
  generateEach,
  type PreparedRun,
  type Prompt,
  prepareAnswers,
  toPrompt,
  usageOf,
} from "./generation.ts";
import { checkBody, type GenerationParams, readGenerationParams } from "./generation-params.ts";
import { parameterError } from "./http-errors.ts";
import type { SequenceOutput } from "./protocol.ts";
import { FieldReader } from "./request-fields.ts";
import type { TokenLogprob } from "./sampler.ts";

/** The default of the OpenAI API. */
const TOKENS_DEFAULT = 16;
const PROMPTS_MAX = 1024;

/** A request that can be run: what to generate and what its answer is called. */
type Prepared = {
  id: string;
  created: number;
  modelName: string;
  params: GenerationParams;
  prompts: Prompt[];
  answers: Answer[];
};

/** POST /v1/completions. @throws ApiError | EngineDeadError before anything was sent */
export async function createCompletion(
  deps: GenerationDeps,
  body: JsonObject,
  requestId: string,
): Promise<PreparedRun> {
  const { params, prompts, tokensMax } = readCompletion(body);
  const { name, adapter } = await deps.models.find(params.model);
  checkTokensMax(deps, "max_tokens", tokensMax);
  const tokens = prompts.map((prompt) =>
    typeof prompt === "string" ? encodePrompt(deps, prompt) : checkTokens(deps, prompt),
  );
  const ready = tokens.map((list) => toPrompt(deps, list, tokensMax));
  const answers = prepareAnswers(deps, params, ready, adapter);
  const prepared = {
    id: `cmpl-${requestId}`,
    created: Math.floor(Date.now() / 1000),
    modelName: name,
    params,
    prompts: ready,
    answers,
  };
  return {
    isStream: params.isStream,
    answer: async (signal) =>
      completionBody(deps, prepared, await generateAll(deps, answers, signal)),
    stream: (stream, signal) => streamCompletion(deps, prepared, stream, signal),
  };
}

type CompletionRequest = {
  params: GenerationParams;
  prompts: (string | number[])[];
  tokensMax: number;
};

function readCompletion(body: JsonObject): CompletionRequest {
  checkBody(body);
  const prompts = readPrompts(body["prompt"]);
  const fields = new FieldReader(body);
  const logprobs = fields.integer("logprobs");
  if (logprobs !== undefined && logprobs < 0) {
    throw parameterError("`logprobs` must be a positive value or -1.", "logprobs", logprobs);
  }
  const params = readGenerationParams(fields, logprobs);
  const tokensMax = fields.integer("max_tokens") ?? TOKENS_DEFAULT;
  fields.finish();
  return { params, prompts, tokensMax };
}

/** A text, a list of texts, a list of tokens, or a list of those. */
function readPrompts(prompt: unknown): (string | number[])[] {
  const isTokens = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length > 0 && value.every((item) => Number.isInteger(item));
  if (prompt === undefined || prompt === null || prompt === "") {
    throw parameterError(
      "Either prompt or prompt_embeds must be provided and non-empty.",
      "prompt",
    );
  }
  if (typeof prompt === "string" || isTokens(prompt)) return [prompt];
  const isList = Array.isArray(prompt) && prompt.length > 0;
  if (
    !isList ||
    !prompt.every((item) => (typeof item === "string" && item !== "") || isTokens(item))
  ) {
    throw parameterError(
      "`prompt` must be a text, a list of texts, or a list of token ids.",
      "prompt",
    );
  }
  if (prompt.length > PROMPTS_MAX) {
    throw parameterError(
      `prompt list length ${prompt.length} exceeds the maximum allowed count of ${PROMPTS_MAX}.`,
      "prompt",
    );
  }
  return prompt as (string | number[])[];
}

function checkTokens(deps: GenerationDeps, tokens: number[]): number[] {
  const unknown = tokens.find((token) => token < 0 || token >= deps.tokenizer.size);
  if (unknown === undefined) return tokens;
  throw parameterError(`Token id ${unknown} is out of vocabulary`, "prompt", unknown);
}

function completionBody(deps: GenerationDeps, prepared: Prepared, all: Generated[]): unknown {
  const { params, prompts, answers } = prepared;
  const choices = all.map((generated, index) => ({
    index,
    text: generated.text,
    logprobs: logprobsOf(deps, params, generated.tokens, generated.logprobs),
    finish_reason: generated.finishReason,
    stop_reason: generated.stopReason,
    token_ids: params.returnsTokenIds ? generated.tokens : null,
    prompt_logprobs: null,
    prompt_token_ids: params.returnsTokenIds ? (answers[index]?.request.prompt ?? null) : null,
    routed_experts: null,
  }));
  const promptTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const completionTokens = all.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return {
    id: prepared.id,
    object: "text_completion",
    created: prepared.created,
    model: prepared.modelName,
    choices,
    service_tier: null,
    system_fingerprint: deps.systemFingerprint,
    usage: {
      ...usageOf(promptTokens, completionTokens),
      prompt_tokens_details: null,
      completion_tokens_details: null,
    },
    kv_transfer_params: null,
    ec_transfer_params: null,
    metrics: null,
  };
}

/** Logprobs in the old OpenAI form: parallel lists over the tokens. */
function logprobsOf(
  deps: GenerationDeps,
  params: GenerationParams,
  tokens: number[],
  logprobs: (TokenLogprob[] | undefined)[],
): unknown {
  if (params.sampling.logprobs === undefined) return null;
  const textOf = (token: number) => decodeUtf8(deps.tokenizer.bytesOf(token));
  const texts = tokens.map(textOf);
  let offset = 0;
  return {
    text_offset: texts.map((text) => {
      const start = offset;
      offset += [...text].length;
      return start;
    }),
    token_logprobs: logprobs.map((step) => step?.[0]?.logprob ?? null),
    tokens: texts,
    top_logprobs: logprobs.map((step) =>
      Object.fromEntries((step ?? []).map(({ token, logprob }) => [textOf(token), logprob])),
    ),
  };
}

async function streamCompletion(
  deps: GenerationDeps,
  prepared: Prepared,
  stream: AnswerStream,
  signal: AbortSignal,
): Promise<void> {
  const { params, prompts, answers } = prepared;
  const counts = answers.map(() => 0);
  const head = {
    id: prepared.id,
    object: "text_completion",
    created: prepared.created,
    model: prepared.modelName,
  };
  await generateEach(deps, answers, signal, ({ index, promptIndex, request }, output) => {
    const isFirst = counts[index] === 0;
    counts[index] = (counts[index] ?? 0) + 1;
    const promptTokens = prompts[promptIndex]?.tokens.length ?? 0;
    const showsIds = params.returnsTokenIds;
    const choice = {
      index,
      text: output.text,
      logprobs: logprobsOf(deps, params, tokensOf(output), [output.logprobs]),
      finish_reason: output.finish?.reason ?? null,
      stop_reason: output.finish?.stopReason ?? null,
      prompt_token_ids: showsIds && isFirst ? request.prompt : null,
      token_ids: showsIds ? tokensOf(output) : null,
    };
    const isLast = output.finish !== undefined && !params.includesUsage;
    stream.send({
      ...head,
      choices: [choice],
      ...(isLast ? { system_fingerprint: deps.systemFingerprint } : {}),
      ...(params.includesRunningUsage ? { usage: usageOf(promptTokens, counts[index] ?? 0) } : {}),
    });
  });
  if (!params.includesUsage) return;
  const promptTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const completionTokens = counts.reduce((sum, count) => sum + count, 0);
  stream.send({
    ...head,
    choices: [],
    usage: usageOf(promptTokens, completionTokens),
    system_fingerprint: deps.systemFingerprint,
  });
}

const tokensOf = ({ token }: SequenceOutput): number[] => (token === undefined ? [] : [token]);
