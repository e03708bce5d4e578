import type { AdapterRef } from "./adapter-cache.ts";
import type { AnswerStream } from "./answer-stream.ts";
import type { EngineMetrics } from "./engine-metrics.ts";
import { checkGenerationParams, type GenerationParams } from "./generation-params.ts";
import { ApiError, parameterError } from "./http-errors.ts";
import { EngineDeadError, type Inference } from "./inference.ts";
import type { ModelRegistry } from "./model-registry.ts";
import type { SequenceOutput, SequenceRequest } from "./protocol.ts";
import type { TokenLogprob } from "./sampler.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What the routes that generate share. */
export type GenerationDeps = {
  inference: Inference;
  models: ModelRegistry;
  metrics: EngineMetrics;
  tokenizer: Tokenizer;
  modelLengthMax: number;
  systemFingerprint: string;
};

/** More open sequences than this are turned away: they would wait for minutes. */
const SEQUENCES_OPEN_MAX = 2048;

/** A prompt and the limit of its answers. */
export type Prompt = { tokens: number[]; tokensMax: number };

/** One of the sequences of a request: answer `index` of all, to prompt `promptIndex`. */
export type Answer = { index: number; promptIndex: number; request: SequenceRequest };

/** A request that is ready to run; one of the two is called, once. */
export type PreparedRun = {
  isStream: boolean;
  /** The body of the answer. */
  answer: (signal: AbortSignal) => Promise<unknown>;
  stream: (stream: AnswerStream, signal: AbortSignal) => Promise<void>;
};

let nextSequenceId = 1;

/** Turns a text into tokens. @throws ApiError when it is longer than the model's window */
export function encodePrompt(deps: GenerationDeps, text: string): number[] {
  const { tokenizer, modelLengthMax } = deps;
  const charactersMax = modelLengthMax * tokenizer.longestToken;
  if (text.length > charactersMax) {
    throw parameterError(
      `This model's maximum context length is ${modelLengthMax} tokens. However, your prompt contains ${text.length} characters (more than ${charactersMax} characters, which is the upper bound for ${modelLengthMax} input tokens). Please reduce the length of the input prompt.`,
      "input_text",
      text.length,
    );
  }
  return tokenizer.encode(text);
}

/** Checks that the wanted answer can exist at all. @throws ApiError */
export function checkTokensMax(
  deps: GenerationDeps,
  parameter: string,
  tokensMax: number | undefined,
): void {
  const { modelLengthMax } = deps;
  if (tokensMax === undefined || tokensMax <= modelLengthMax) return;
  throw parameterError(
    `${parameter}=${tokensMax} cannot be greater than max_model_len=${modelLengthMax}. Please request fewer output tokens.`,
    parameter,
    tokensMax,
  );
}

/** The prompt with the room that is left for its answer. @throws ApiError */
export function toPrompt(
  deps: GenerationDeps,
  tokens: number[],
  wanted: number | undefined,
): Prompt {
  const { modelLengthMax } = deps;
  if (tokens.length > modelLengthMax) {
    const qualifier = tokens.length === modelLengthMax + 1 ? "at least " : "";
    throw parameterError(
      `This model's maximum context length is ${modelLengthMax} tokens. However, your prompt contains ${qualifier}${tokens.length} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.`,
      "input_tokens",
      tokens.length,
    );
  }
  const left = modelLengthMax - tokens.length;
  return { tokens, tokensMax: Math.min(left, wanted ?? left) };
}

/** Prepares the sequences of a request. @throws ApiError when it cannot be run, EngineDeadError */
export function prepareAnswers(
  deps: GenerationDeps,
  params: GenerationParams,
  prompts: Prompt[],
  adapter: AdapterRef | undefined,
): Answer[] {
  for (const { tokensMax } of prompts) checkGenerationParams(params, tokensMax);
  if (deps.inference.isDead) throw new EngineDeadError();
  if (deps.inference.open + prompts.length * params.n > SEQUENCES_OPEN_MAX) {
    deps.metrics.onRejected();
    const message =
      "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.";
    throw new ApiError(503, "Service Unavailable", message);
  }
  const arrivedAt = performance.timeOrigin + performance.now();
  return prompts.flatMap(({ tokens, tokensMax }, promptIndex) => {
    const group = { n: params.n, open: params.n, longest: 0 };
    return Array.from({ length: params.n }, (_, i): Answer => {
      const id = nextSequenceId++;
      deps.metrics.track(id, {
        arrivedAt,
        promptTokens: tokens.length,
        tokensMax,
        adapterName: adapter?.name,
        group,
      });
      const { sampling } = params;
      const seed = sampling.seed === undefined ? undefined : sampling.seed + i;
      const request = {
        id,
        prompt: tokens,
        adapter,
        sampling: { ...sampling, seed },
        stop: params.stop,
        tokensMax,
        ignoreEnd: params.ignoreEnd,
        stopTokens: params.stopTokens,
      };
      return { index: promptIndex * params.n + i, promptIndex, request };
    });
  });
}

/** A finished answer. */
export type Generated = {
  text: string;
  tokens: number[];
  logprobs: (TokenLogprob[] | undefined)[];
  finishReason: string | null;
  stopReason: string | number | null;
};

/** Runs all sequences to their ends, side by side. */
export function generateAll(
  deps: GenerationDeps,
  answers: Answer[],
  signal: AbortSignal,
): Promise<Generated[]> {
  return together(signal, answers, async (answer, both) => {
    const generated: Generated = {
      text: "",
      tokens: [],
      logprobs: [],
      finishReason: null,
      stopReason: null,
    };
    for await (const output of deps.inference.generate(answer.request, both)) {
      generated.text += output.text;
      if (output.token !== undefined) generated.tokens.push(output.token);
      generated.logprobs.push(output.logprobs);
      generated.finishReason = output.finish?.reason ?? null;
      generated.stopReason = output.finish?.stopReason ?? null;
    }
    return generated;
  });
}

/** Runs all sequences side by side and hands over each output as it comes. */
export async function generateEach(
  deps: GenerationDeps,
  answers: Answer[],
  signal: AbortSignal,
  onOutput: (answer: Answer, output: SequenceOutput) => void,
): Promise<void> {
  await together(signal, answers, async (answer, both) => {
    for await (const output of deps.inference.generate(answer.request, both))
      onOutput(answer, output);
  });
}

/** When one sequence fails, the others of its request are given up too. */
async function together<T>(
  signal: AbortSignal,
  answers: Answer[],
  run: (answer: Answer, signal: AbortSignal) => Promise<T>,
): Promise<T[]> {
  const failure = new AbortController();
  const both = AbortSignal.any([signal, failure.signal]);
  try {
    return await Promise.all(answers.map((answer) => run(answer, both)));
  } catch (error) {
    failure.abort(error);
    throw error;
  }
}

/** Tokens of the prompts and of the answers. */
export function usageOf(promptTokens: number, completionTokens: number): Record<string, number> {
  return {
    prompt_tokens: promptTokens,
    total_tokens: promptTokens + completionTokens,
    completion_tokens: completionTokens,
  };
}
