import type { AdapterCache } from "./adapter-cache.ts";
import { Detokenizer } from "./detokenizer.ts";
import type { AdapterWeights, KeyValueCache, Llama, StepToken } from "./llama.ts";
import type { EndTokens } from "./model-config.ts";
import type {
  Finish,
  SchedulerStats,
  SequenceOutput,
  SequenceRequest,
  WorkerOptions,
} from "./protocol.ts";
import { Sampler } from "./sampler.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Tokens computed in one step at most: long prompts are cut so that running answers keep flowing. */
const STEP_TOKENS_MAX = 128;

/** Positions of the key-value cache are counted in blocks of this size. */
export const CACHE_BLOCK_POSITIONS = 16;

type Sequence = {
  request: SequenceRequest;
  queuedAt: number;
  scheduledAt: number;
  cache: KeyValueCache;
  adapter: AdapterWeights | undefined;
  sampler: Sampler;
  detokenizer: Detokenizer;
  /** Tokens whose keys and values are in the cache. */
  computed: number;
  generated: number;
  last: number;
};

type Waiting = { request: SequenceRequest; queuedAt: number };

export type SchedulerDeps = {
  model: Llama;
  tokenizer: Tokenizer;
  endTokens: EndTokens;
  adapters: AdapterCache;
  options: Pick<WorkerOptions, "modelLengthMax" | "sequencesMax" | "adaptersMax">;
  /** Milliseconds since the epoch, with fractions. */
  now: () => number;
  random: () => number;
};

/**
 * Continuous batching: every step computes the next tokens of all running sequences, whatever
 * their adapters; sequences join and leave between steps.
 */
export class Scheduler {
  readonly #deps: SchedulerDeps;
  #waiting: Waiting[] = [];
  #running: Sequence[] = [];
  #deferred = 0;

  constructor(deps: SchedulerDeps) {
    this.#deps = deps;
  }

  get hasWork(): boolean {
    return this.#running.length > 0 || this.#waiting.length > 0;
  }

  add(request: SequenceRequest): void {
    this.#waiting.push({ request, queuedAt: this.#deps.now() });
  }

  /** Drops a sequence, running or waiting; its place is free for the next step. */
  abort(id: number): SequenceOutput | undefined {
    const known = [...this.#running, ...this.#waiting].some(({ request }) => request.id === id);
    if (!known) return undefined;
    this.#running = this.#running.filter(({ request }) => request.id !== id);
    this.#waiting = this.#waiting.filter(({ request }) => request.id !== id);
    const finish: Finish = { reason: "abort", stopReason: null };
    return { id, token: undefined, text: "", logprobs: undefined, finish, started: undefined };
  }

  /** Computes one step. @throws when the files of a waiting sequence's adapter cannot be read */
  step(): { outputs: SequenceOutput[]; stats: SchedulerStats } {
    this.#admit();
    // Sequences of one adapter lie together so that its matrices are applied to all of them at once.
    const ordered = this.#running.toSorted(
      (a, b) => (a.request.adapter?.id ?? 0) - (b.request.adapter?.id ?? 0),
    );
    const { tokens, finished } = this.#plan(ordered);
    const logits = this.#deps.model.step(tokens);
    const outputs = finished.map((sequence, i) =>
      this.#advance(sequence, logits[i] as Float32Array),
    );
    const ended = new Set(outputs.filter(({ finish }) => finish !== undefined).map(({ id }) => id));
    this.#running = this.#running.filter(({ request }) => !ended.has(request.id));
    return { outputs, stats: this.stats() };
  }

  stats(): SchedulerStats {
    const { modelLengthMax, sequencesMax } = this.#deps.options;
    const blocks = (positions: number) => Math.ceil(positions / CACHE_BLOCK_POSITIONS);
    const used = this.#running.reduce((sum, { computed }) => sum + blocks(computed), 0);
    return {
      running: this.#running.length,
      waiting: this.#waiting.length,
      deferred: this.#deferred,
      cacheUsage: used / (sequencesMax * blocks(modelLengthMax)),
    };
  }

  /** Takes waiting sequences in while there is room; one whose adapter has no place waits aside. */
  #admit(): void {
    const { sequencesMax, adaptersMax } = this.#deps.options;
    const inBatch = new Set(this.#running.flatMap(({ request }) => request.adapter?.id ?? []));
    const staying: Waiting[] = [];
    this.#deferred = 0;
    for (const waiting of this.#waiting) {
      const id = waiting.request.adapter?.id;
      const fits = id === undefined || inBatch.has(id) || inBatch.size < adaptersMax;
      if (this.#running.length < sequencesMax && fits) {
        if (id !== undefined) inBatch.add(id);
        this.#running.push(this.#start(waiting));
      } else {
        if (this.#running.length < sequencesMax) this.#deferred++;
        staying.push(waiting);
      }
    }
    this.#waiting = staying;
  }

  #start({ request, queuedAt }: Waiting): Sequence {
    const { model, tokenizer, adapters, now, random } = this.#deps;
    return {
      request,
      queuedAt,
      scheduledAt: now(),
      cache: model.newCache(),
      // A sequence keeps the weights that it began with, also when its name is loaded anew meanwhile.
      adapter: request.adapter && adapters.use(request.adapter),
      sampler: new Sampler(request.sampling, request.prompt, random),
      detokenizer: new Detokenizer(tokenizer, request.stop),
      computed: 0,
      generated: 0,
      last: 0,
    };
  }

  /** The tokens of the next step, and the sequences that get a new token from it, in order. */
  #plan(sequences: Sequence[]): { tokens: StepToken[]; finished: Sequence[] } {
    const tokens: StepToken[] = [];
    const finished: Sequence[] = [];
    // Answers first, one token each; what is left of the budget goes to prompts.
    const answering = sequences.filter((sequence) => sequence.generated > 0).length;
    let budget = Math.max(1, STEP_TOKENS_MAX - answering);
    for (const sequence of sequences) {
      const { request, computed, generated } = sequence;
      const pending =
        generated > 0 ? [sequence.last] : request.prompt.slice(computed, computed + budget);
      if (generated === 0) budget -= pending.length;
      const isComplete = computed + pending.length >= request.prompt.length;
      for (const [i, token] of pending.entries()) {
        const wantsLogits = isComplete && i === pending.length - 1;
        tokens.push({
          token,
          position: computed + i,
          cache: sequence.cache,
          adapter: sequence.adapter,
          wantsLogits,
        });
      }
      sequence.computed += pending.length;
      if (isComplete && pending.length > 0) finished.push(sequence);
    }
    return { tokens, finished };
  }

  #advance(sequence: Sequence, logits: Float32Array): SequenceOutput {
    const { request, detokenizer } = sequence;
    const { endTokens } = this.#deps;
    const isFirst = sequence.generated === 0;
    const canEnd = sequence.generated >= request.stop.minTokens;
    const ends = request.ignoreEnd ? [] : [endTokens.primary ?? [], endTokens.others].flat();
    const choice = sequence.sampler.choose(logits, canEnd ? [] : [...ends, ...request.stopTokens]);
    sequence.last = choice.token;
    sequence.generated++;
    const finish = this.#finishOf(sequence, choice.token);
    return {
      id: request.id,
      token: choice.token,
      text: detokenizer.take(finish !== undefined),
      logprobs: choice.logprobs,
      finish,
      started: isFirst
        ? { queuedAt: sequence.queuedAt, scheduledAt: sequence.scheduledAt }
        : undefined,
    };
  }

  #finishOf(sequence: Sequence, token: number): Finish | undefined {
    const { request, detokenizer, generated } = sequence;
    const { endTokens } = this.#deps;
    const isPrimaryEnd = !request.ignoreEnd && token === endTokens.primary;
    const isOtherEnd =
      request.stopTokens.includes(token) ||
      (!request.ignoreEnd && endTokens.others.includes(token));
    if (isPrimaryEnd || isOtherEnd) {
      // The token that ends the answer is counted, but not shown.
      if (request.stop.includeStop) detokenizer.push(token);
      return { reason: "stop", stopReason: isPrimaryEnd ? null : token };
    }
    const stopText = detokenizer.push(token);
    if (stopText !== undefined) return { reason: "stop", stopReason: stopText };
    return generated >= request.tokensMax ? { reason: "length", stopReason: null } : undefined;
  }
}
