import type { AdapterRef } from "./adapter-cache.ts";
import type { StopRules } from "./detokenizer.ts";
import type { SamplingRules, TokenLogprob } from "./sampler.ts";

/** Messages between the HTTP thread and the thread that computes. */

/** What the computing thread is started with. */
export type WorkerOptions = {
  modelFolder: string;
  modelLengthMax: number;
  sequencesMax: number;
  /** Adapters in one batch. */
  adaptersMax: number;
  /** Adapters in memory. */
  residentAdaptersMax: number;
  rankMax: number;
};

/** One sequence to generate. */
export type SequenceRequest = {
  id: number;
  prompt: number[];
  adapter: AdapterRef | undefined;
  sampling: SamplingRules;
  stop: StopRules;
  /** At least 1; prompt and answer fit into the model's length. */
  tokensMax: number;
  /** Do not end at an end token. */
  ignoreEnd: boolean;
  stopTokens: number[];
};

export type ToWorker =
  | { kind: "generate"; request: SequenceRequest }
  | { kind: "abort"; id: number }
  | { kind: "load"; call: number; adapter: AdapterRef }
  | { kind: "unload"; adapterId: number };

export type FinishReason = "stop" | "length" | "abort";

/** Why a sequence ended; `stopReason` is the stop text or token, null for the model's end token. */
export type Finish = { reason: FinishReason; stopReason: string | number | null };

/** What one step added to one sequence. */
export type SequenceOutput = {
  id: number;
  /** Undefined only when the sequence was aborted. */
  token: number | undefined;
  /** Text that has become certain; often one token's, sometimes empty. */
  text: string;
  logprobs: TokenLogprob[] | undefined;
  finish: Finish | undefined;
  /** Set with the first token: when the sequence was queued and scheduled, in ms since the epoch. */
  started: { queuedAt: number; scheduledAt: number } | undefined;
};

/** The scheduler's state after a step. */
export type SchedulerStats = {
  running: number;
  waiting: number;
  /** Of the waiting ones, those held back because the batch has no place for their adapter. */
  deferred: number;
  /** Share of the key-value cache in use, 0 to 1. */
  cacheUsage: number;
};

export type FromWorker =
  | { kind: "ready"; vocabularySize: number }
  | { kind: "step"; at: number; outputs: SequenceOutput[]; stats: SchedulerStats }
  | { kind: "loaded"; call: number; error: { message: string; isNotFound: boolean } | undefined }
  | { kind: "died"; message: string };
