/** How the next token is chosen, from the request. */
export type SamplingRules = {
  /** 0 takes the likeliest token always. */
  temperature: number;
  /** Keeps the likeliest tokens up to this share of the probability, in (0, 1]. */
  topP: number;
  /** Keeps this many of the likeliest tokens; 0 or less keeps all. */
  topK: number;
  /** Drops tokens less likely than this share of the likeliest, in [0, 1]. */
  minP: number;
  presencePenalty: number;
  frequencyPenalty: number;
  repetitionPenalty: number;
  /** The same seed and request give the same answer. */
  seed: number | undefined;
  /** How many of the likeliest tokens to report with each; undefined reports none. */
  logprobs: number | undefined;
};

/** Log probability of a token. */
export type TokenLogprob = { token: number; logprob: number };
/** A chosen token; `logprobs` has the chosen one first, then the likeliest. */
export type Choice = { token: number; logprobs: TokenLogprob[] | undefined };

/** Below this, vLLM takes a temperature as zero. */
const TEMPERATURE_MIN = 1e-5;

/** True when the rules leave nothing to chance. */
export const isGreedy = (rules: Pick<SamplingRules, "temperature">): boolean =>
  rules.temperature < TEMPERATURE_MIN;

/** Chooses the tokens of one sequence. */
export class Sampler {
  readonly #rules: SamplingRules;
  readonly #random: () => number;
  readonly #promptTokens: Set<number>;
  readonly #counts = new Map<number, number>();

  /** `random` gives numbers in [0, 1) and is used when the request has no seed. */
  constructor(rules: SamplingRules, prompt: readonly number[], random: () => number) {
    this.#rules = rules;
    this.#random = rules.seed === undefined ? random : seededRandom(rules.seed);
    this.#promptTokens = new Set(rules.repetitionPenalty === 1 ? [] : prompt);
  }

  /** Chooses from `logits`, never one of `banned`; changes `logits`. */
  choose(logits: Float32Array, banned: readonly number[]): Choice {
    const { logprobs: count } = this.#rules;
    // Reported probabilities are the model's own, before penalties and temperature.
    const raw = count === undefined ? undefined : logits.slice();
    for (const token of banned) logits[token] = Number.NEGATIVE_INFINITY;
    this.#penalize(logits);
    const token = isGreedy(this.#rules) ? argmax(logits) : this.#draw(logits);
    this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
    return {
      token,
      logprobs: raw === undefined || count === undefined ? undefined : likeliest(raw, token, count),
    };
  }

  #penalize(logits: Float32Array): void {
    const { presencePenalty, frequencyPenalty, repetitionPenalty } = this.#rules;
    if (repetitionPenalty !== 1) {
      for (const token of new Set([...this.#promptTokens, ...this.#counts.keys()])) {
        const logit = logits[token] as number;
        logits[token] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
      }
    }
    if (presencePenalty === 0 && frequencyPenalty === 0) return;
    for (const [token, times] of this.#counts) {
      logits[token] = (logits[token] as number) - presencePenalty - frequencyPenalty * times;
    }
  }

  #draw(logits: Float32Array): number {
    const { temperature, topK, topP, minP } = this.#rules;
    const highest = logits[argmax(logits)] as number;
    let candidates = Array.from(logits, (logit, token) => ({
      token,
      weight: Math.exp((logit - highest) / temperature),
    }));
    if (minP > 0) candidates = candidates.filter(({ weight }) => weight >= minP);
    if (topK > 0 || topP < 1) {
      candidates.sort((a, b) => b.weight - a.weight || a.token - b.token);
      if (topK > 0) candidates.length = Math.min(candidates.length, topK);
      candidates = keepShare(candidates, topP);
    }
    const total = candidates.reduce((sum, { weight }) => sum + weight, 0);
    let rest = this.#random() * total;
    for (const { token, weight } of candidates) {
      rest -= weight;
      if (rest < 0) return token;
    }
    return argmax(logits);
  }
}

type Candidate = { token: number; weight: number };

/** The first of the sorted candidates that together reach the share `topP`; always at least one. */
function keepShare(sorted: Candidate[], topP: number): Candidate[] {
  const wanted = topP * sorted.reduce((sum, { weight }) => sum + weight, 0);
  let sum = 0;
  const end = sorted.findIndex(({ weight }) => {
    sum += weight;
    return sum >= wanted;
  });
  return end < 0 ? sorted : sorted.slice(0, end + 1);
}

/** The index of the highest number; the first one of several. */
function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if ((values[i] as number) > (values[best] as number)) best = i;
  }
  return best;
}

function likeliest(logits: Float32Array, chosen: number, count: number): TokenLogprob[] {
  const highest = logits[argmax(logits)] as number;
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0);
  const shift = highest + Math.log(total);
  const report = (token: number) => ({
    token,
    logprob: Math.fround((logits[token] as number) - shift),
  });
  const ranked = Array.from(logits, (_, token) => token).sort(
    (a, b) => (logits[b] as number) - (logits[a] as number) || a - b,
  );
  const others = ranked.slice(0, count).filter((token) => token !== chosen);
  return [report(chosen), ...others.map(report)];
}

/** A small generator (mulberry32) with 32 bits of state: good enough to draw words, the same everywhere. */
function seededRandom(seed: number): () => number {
  let state = (seed ^ Math.trunc(seed / 2 ** 32)) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
