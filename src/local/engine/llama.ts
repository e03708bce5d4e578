import { join } from "node:path";
import { assert } from "#base/assert.ts";
import { dot, type Matrix, multiply, type Span } from "./linear.ts";
import { type ModelConfig, readModelConfig } from "./model-config.ts";
import { readSafetensors, type Tensor } from "./safetensors.ts";

/** The matrices of a layer that an adapter can change, by their names in the weight files. */
export const PROJECTIONS = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** The low-rank change of one matrix: W x + up (down x); the adapter's scale is already in `up`. */
export type LowRank = { down: Matrix; up: Matrix };
/** An adapter's changes, one entry a layer. */
export type AdapterWeights = Partial<Record<Projection, LowRank>>[];

type Layer = Record<Projection, Matrix> & { inputNorm: Float32Array; outputNorm: Float32Array };

/** The keys and values of one sequence so far, one pair of arrays a layer. */
export type KeyValueCache = { keys: Float32Array[]; values: Float32Array[]; capacity: number };

/** One token to compute: of which sequence, where in it, with which adapter. */
export type StepToken = {
  token: number;
  position: number;
  cache: KeyValueCache;
  adapter: AdapterWeights | undefined;
  /** The scores of the next token are wanted: true for the last token of a prompt or answer. */
  wantsLogits: boolean;
};

/** Caches grow by this many positions at first, then by doubling. */
const CACHE_POSITIONS_MIN = 64;

/** A Llama model that computes tokens of many sequences and adapters in one step. */
export class Llama {
  readonly config: ModelConfig;
  readonly #embedding: Float32Array;
  readonly #head: Matrix;
  readonly #finalNorm: Float32Array;
  readonly #layers: Layer[];
  readonly #rotation: { cos: Float32Array; sin: Float32Array };
  #scratch: Scratch | undefined;

  private constructor(config: ModelConfig, tensors: Map<string, Tensor>) {
    this.config = config;
    const { hiddenSize, vocabularySize } = config;
    const take = (name: string, ...shape: number[]): Float32Array => {
      const tensor = tensors.get(name);
      if (tensor === undefined || tensor.shape.join() !== shape.join()) {
        throw new Error(
          `tensor ${name} must have shape [${shape}], found ${tensor ? `[${tensor.shape}]` : "none"}`,
        );
      }
      return tensor.data;
    };
    this.#embedding = take("model.embed_tokens.weight", vocabularySize, hiddenSize);
    const head = config.hasTiedEmbeddings
      ? this.#embedding
      : take("lm_head.weight", vocabularySize, hiddenSize);
    this.#head = { rows: vocabularySize, columns: hiddenSize, data: head };
    this.#finalNorm = take("model.norm.weight", hiddenSize);
    this.#layers = Array.from({ length: config.layers }, (_, layer) => {
      const prefix = `model.layers.${layer}`;
      const matrices = PROJECTIONS.map((name) => {
        const { rows, columns } = projectionShape(config, name);
        const data = take(`${prefix}.${blockOf(name)}.${name}.weight`, rows, columns);
        return [name, { rows, columns, data }];
      });
      return {
        ...(Object.fromEntries(matrices) as Record<Projection, Matrix>),
        inputNorm: take(`${prefix}.input_layernorm.weight`, hiddenSize),
        outputNorm: take(`${prefix}.post_attention_layernorm.weight`, hiddenSize),
      };
    });
    this.#rotation = rotationTable(config);
  }

  /** Reads `config.json` and `model.safetensors` of a folder. @throws Error when they do not fit. */
  static read(folder: string): Llama {
    const config = readModelConfig(folder);
    return new Llama(config, readSafetensors(join(folder, "model.safetensors")));
  }

  /** An empty cache for a sequence. */
  newCache(): KeyValueCache {
    const empty = () => Array.from({ length: this.config.layers }, () => new Float32Array(0));
    return { keys: empty(), values: empty(), capacity: 0 };
  }

  /**
   * Computes all `tokens` at once and returns, in their order, the logits of those that want them.
   * Tokens of one sequence must come in order of position; tokens of one adapter should lie
   * together. The returned arrays are valid until the next call.
   */
  step(tokens: StepToken[]): Float32Array[] {
    const { config } = this;
    const all = { from: 0, to: tokens.length };
    const groups = adapterGroups(tokens);
    const s = this.#scratchFor(tokens.length);
    tokens.forEach(({ token, position, cache }, item) => {
      assert(position < config.positionsMax, "a position is inside the model's window");
      growCache(config, cache, position + 1);
      const from = token * config.hiddenSize;
      s.hidden.set(
        this.#embedding.subarray(from, from + config.hiddenSize),
        item * config.hiddenSize,
      );
    });
    for (const [index, layer] of this.#layers.entries()) {
      const project = (name: Projection, x: Float32Array, y: Float32Array) => {
        multiply(layer[name], x, y, all);
        for (const group of groups) addLowRank(group.adapter[index]?.[name], x, y, group.span, s);
      };
      normalize(config, layer.inputNorm, s.hidden, s.normed, all);
      project("q_proj", s.normed, s.query);
      project("k_proj", s.normed, s.key);
      project("v_proj", s.normed, s.value);
      this.#attend(index, tokens, s);
      project("o_proj", s.attended, s.update);
      add(s.hidden, s.update, tokens.length * config.hiddenSize);
      normalize(config, layer.outputNorm, s.hidden, s.normed, all);
      project("gate_proj", s.normed, s.gate);
      project("up_proj", s.normed, s.up);
      gateWithSilu(s.gate, s.up, tokens.length * config.intermediateSize);
      project("down_proj", s.gate, s.update);
      add(s.hidden, s.update, tokens.length * config.hiddenSize);
    }
    return this.#logits(tokens, s);
  }

  /** Stores keys and values of the new tokens, then lets each look back over its own sequence. */
  #attend(layer: number, tokens: StepToken[], s: Scratch): void {
    const { heads, keyValueHeads, headSize } = this.config;
    const width = keyValueHeads * headSize;
    for (const [item, { position, cache }] of tokens.entries()) {
      this.#rotate(s.query, item * heads * headSize, heads, position);
      this.#rotate(s.key, item * width, keyValueHeads, position);
      const from = item * width;
      cache.keys[layer]?.set(s.key.subarray(from, from + width), position * width);
      cache.values[layer]?.set(s.value.subarray(from, from + width), position * width);
    }
    const share = heads / keyValueHeads;
    for (const [item, { position, cache }] of tokens.entries()) {
      const keys = cache.keys[layer];
      const values = cache.values[layer];
      assert(keys !== undefined && values !== undefined, "a cache has an array for each layer");
      for (let head = 0; head < heads; head++) {
        const at = (item * heads + head) * headSize;
        const offset = Math.floor(head / share) * headSize;
        const span = { offset, width, headSize, count: position + 1 };
        const total = weigh(s, at, keys, span);
        blend(s, at, values, span, 1 / total);
      }
    }
  }

  /** Rotary position embedding: turns pairs (i, i + half) of each head by an angle of the position. */
  #rotate(x: Float32Array, from: number, heads: number, position: number): void {
    const half = this.config.headSize / 2;
    const { cos, sin } = this.#rotation;
    for (let head = 0; head < heads; head++) {
      const start = from + head * this.config.headSize;
      for (let i = 0; i < half; i++) {
        const c = cos[position * half + i] as number;
        const z = sin[position * half + i] as number;
        const u = x[start + i] as number;
        const w = x[start + i + half] as number;
        x[start + i] = u * c - w * z;
        x[start + i + half] = w * c + u * z;
      }
    }
  }

  #logits(tokens: StepToken[], s: Scratch): Float32Array[] {
    const { hiddenSize, vocabularySize } = this.config;
    const wanted = tokens.flatMap((token, item) => (token.wantsLogits ? [item] : []));
    const outputs = { from: 0, to: wanted.length };
    // Only the wanted tokens go through the head, the largest matrix: pack them to the front.
    for (const [to, from] of wanted.entries()) {
      s.hidden.copyWithin(to * hiddenSize, from * hiddenSize, (from + 1) * hiddenSize);
    }
    normalize(this.config, this.#finalNorm, s.hidden, s.normed, outputs);
    if (s.logits.length < wanted.length * vocabularySize) {
      s.logits = new Float32Array(wanted.length * vocabularySize);
    }
    multiply(this.#head, s.normed, s.logits, outputs);
    return wanted.map((_, i) => s.logits.subarray(i * vocabularySize, (i + 1) * vocabularySize));
  }

  #scratchFor(count: number): Scratch {
    if (this.#scratch === undefined || this.#scratch.capacity < count) {
      this.#scratch = newScratch(this.config, count, this.#scratch?.logits);
    }
    return this.#scratch;
  }
}

/** Working memory of a step, kept between steps. */
type Scratch = {
  capacity: number;
  hidden: Float32Array;
  normed: Float32Array;
  query: Float32Array;
  key: Float32Array;
  value: Float32Array;
  attended: Float32Array;
  update: Float32Array;
  gate: Float32Array;
  up: Float32Array;
  scores: Float32Array;
  lowRank: Float32Array;
  change: Float32Array;
  logits: Float32Array;
};

function newScratch(
  config: ModelConfig,
  capacity: number,
  logits: Float32Array | undefined,
): Scratch {
  const perToken = (size: number) => new Float32Array(capacity * size);
  const queryWidth = config.heads * config.headSize;
  const keyWidth = config.keyValueHeads * config.headSize;
  return {
    capacity,
    hidden: perToken(config.hiddenSize),
    normed: perToken(config.hiddenSize),
    query: perToken(queryWidth),
    key: perToken(keyWidth),
    value: perToken(keyWidth),
    attended: perToken(queryWidth),
    update: perToken(config.hiddenSize),
    gate: perToken(config.intermediateSize),
    up: perToken(config.intermediateSize),
    scores: new Float32Array(config.positionsMax),
    lowRank: new Float32Array(0),
    change: perToken(Math.max(config.hiddenSize, config.intermediateSize, queryWidth)),
    logits: logits ?? new Float32Array(0),
  };
}

/** Rows (outputs) and columns (inputs) of a projection of the base model. */
export function projectionShape(
  config: ModelConfig,
  name: Projection,
): { rows: number; columns: number } {
  const { hiddenSize, intermediateSize, heads, keyValueHeads, headSize } = config;
  switch (name) {
    case "q_proj":
      return { rows: heads * headSize, columns: hiddenSize };
    case "k_proj":
    case "v_proj":
      return { rows: keyValueHeads * headSize, columns: hiddenSize };
    case "o_proj":
      return { rows: hiddenSize, columns: heads * headSize };
    case "gate_proj":
    case "up_proj":
      return { rows: intermediateSize, columns: hiddenSize };
    case "down_proj":
      return { rows: hiddenSize, columns: intermediateSize };
  }
}

/** The block of a layer that holds a projection, as weight names spell it. */
export function blockOf(name: Projection): "self_attn" | "mlp" {
  return name === "gate_proj" || name === "up_proj" || name === "down_proj" ? "mlp" : "self_attn";
}

function rotationTable(config: ModelConfig): { cos: Float32Array; sin: Float32Array } {
  const half = config.headSize / 2;
  const cos = new Float32Array(config.positionsMax * half);
  const sin = new Float32Array(config.positionsMax * half);
  for (let i = 0; i < half; i++) {
    const frequency = config.ropeTheta ** ((-2 * i) / config.headSize);
    for (let position = 0; position < config.positionsMax; position++) {
      cos[position * half + i] = Math.cos(position * frequency);
      sin[position * half + i] = Math.sin(position * frequency);
    }
  }
  return { cos, sin };
}

type AdapterGroup = { adapter: AdapterWeights; span: Span };

/** Neighbouring tokens of one adapter, so that its small matrices are applied to all of them at once. */
function adapterGroups(tokens: StepToken[]): AdapterGroup[] {
  const groups: AdapterGroup[] = [];
  for (const [item, { adapter }] of tokens.entries()) {
    const last = groups.at(-1);
    if (adapter === undefined) continue;
    if (last?.adapter === adapter && last.span.to === item) last.span.to = item + 1;
    else groups.push({ adapter, span: { from: item, to: item + 1 } });
  }
  return groups;
}

function addLowRank(
  lowRank: LowRank | undefined,
  x: Float32Array,
  y: Float32Array,
  span: Span,
  s: Scratch,
): void {
  if (lowRank === undefined) return;
  const { down, up } = lowRank;
  if (s.lowRank.length < s.capacity * down.rows) {
    s.lowRank = new Float32Array(s.capacity * down.rows);
  }
  multiply(down, x, s.lowRank, span);
  multiply(up, s.lowRank, s.change, span);
  for (let i = span.from * up.rows; i < span.to * up.rows; i++) {
    y[i] = (y[i] as number) + (s.change[i] as number);
  }
}

function growCache(config: ModelConfig, cache: KeyValueCache, positions: number): void {
  if (positions <= cache.capacity) return;
  const width = config.keyValueHeads * config.headSize;
  const capacity = Math.min(
    config.positionsMax,
    Math.max(positions, CACHE_POSITIONS_MIN, 2 * cache.capacity),
  );
  const grow = (old: Float32Array) => {
    const grown = new Float32Array(capacity * width);
    grown.set(old);
    return grown;
  };
  cache.keys = cache.keys.map(grow);
  cache.values = cache.values.map(grow);
  cache.capacity = capacity;
}

/** RMS normalisation of each item of `span`, scaled by `weight`. */
function normalize(
  config: ModelConfig,
  weight: Float32Array,
  x: Float32Array,
  y: Float32Array,
  span: Span,
): void {
  const size = weight.length;
  for (let item = span.from; item < span.to; item++) {
    const from = item * size;
    const scale = 1 / Math.sqrt(dot(x, from, x, from, size) / size + config.normEpsilon);
    for (let i = 0; i < size; i++) {
      y[from + i] = (x[from + i] as number) * scale * (weight[i] as number);
    }
  }
}

type KeySpan = { offset: number; width: number; headSize: number; count: number };

/** Writes exp(score - highest) of every position to `s.scores` and returns their sum. */
function weigh(s: Scratch, query: number, keys: Float32Array, span: KeySpan): number {
  const { offset, width, headSize, count } = span;
  const scale = 1 / Math.sqrt(headSize);
  let highest = Number.NEGATIVE_INFINITY;
  for (let t = 0; t < count; t++) {
    const score = dot(s.query, query, keys, t * width + offset, headSize) * scale;
    s.scores[t] = score;
    if (score > highest) highest = score;
  }
  let total = 0;
  for (let t = 0; t < count; t++) {
    const weight = Math.exp((s.scores[t] as number) - highest);
    s.scores[t] = weight;
    total += weight;
  }
  return total;
}

/**
 * Writes the weighted mean of the values to `s.attended`; `share` is one over the sum of the
 * weights. Four numbers of a head at a time, so that a weight that was read serves all four.
 */
function blend(
  s: Scratch,
  to: number,
  values: Float32Array,
  { offset, width, headSize, count }: KeySpan,
  share: number,
): void {
  for (let i = 0; i < headSize; i += 4) {
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let t = 0; t < count; t++) {
      const weight = s.scores[t] as number;
      const from = t * width + offset + i;
      a += weight * (values[from] as number);
      b += weight * (values[from + 1] as number);
      c += weight * (values[from + 2] as number);
      d += weight * (values[from + 3] as number);
    }
    s.attended[to + i] = a * share;
    s.attended[to + i + 1] = b * share;
    s.attended[to + i + 2] = c * share;
    s.attended[to + i + 3] = d * share;
  }
}

function add(x: Float32Array, y: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) x[i] = (x[i] as number) + (y[i] as number);
}

/** gate := silu(gate) * up */
function gateWithSilu(gate: Float32Array, up: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) {
    const g = gate[i] as number;
    gate[i] = (g / (1 + Math.exp(-g))) * (up[i] as number);
  }
}
