import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isObject } from "#base/json.ts";

/** The sizes of a Llama model, from `config.json`. */
export type ModelConfig = {
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  keyValueHeads: number;
  headSize: number;
  vocabularySize: number;
  /** The most tokens that a sequence can have. */
  positionsMax: number;
  normEpsilon: number;
  ropeTheta: number;
  hasTiedEmbeddings: boolean;
};

/** Which tokens end a sequence. */
export type EndTokens = {
  /** The tokenizer's own end token: it leaves no stop reason. */
  primary: number | undefined;
  /** Further ones of `generation_config.json`: the token id is the stop reason. */
  others: number[];
};

/** Reads and checks `config.json`. @throws Error when it is not a Llama that this engine can run. */
export function readModelConfig(folder: string): ModelConfig {
  const raw = readJsonObject(folder, "config.json");
  const number = (key: string, fallback?: number): number => {
    const value = raw[key] ?? fallback;
    if (typeof value !== "number" || !(value > 0)) {
      throw new Error(`${folder}/config.json: ${key} must be a positive number`);
    }
    return value;
  };
  const refuse = (what: string): never => {
    throw new Error(`${folder}/config.json: ${what} is not supported by the built-in engine`);
  };
  if (raw["model_type"] !== "llama") refuse(`model_type ${JSON.stringify(raw["model_type"])}`);
  if ((raw["hidden_act"] ?? "silu") !== "silu") refuse("hidden_act other than silu");
  if (raw["attention_bias"] === true || raw["mlp_bias"] === true) refuse("bias");
  const rope = isObject(raw["rope_parameters"]) ? raw["rope_parameters"] : {};
  const ropeType = rope["rope_type"] ?? (isObject(raw["rope_scaling"]) ? "scaled" : "default");
  if (ropeType !== "default") refuse(`rope type ${JSON.stringify(ropeType)}`);
  const heads = number("num_attention_heads");
  const hiddenSize = number("hidden_size");
  const headSize = number("head_dim", hiddenSize / heads);
  if (headSize % 4 !== 0) refuse("a head_dim that is not a multiple of 4");
  const ropeTheta = rope["rope_theta"] ?? raw["rope_theta"];
  return {
    hiddenSize,
    intermediateSize: number("intermediate_size"),
    layers: number("num_hidden_layers"),
    heads,
    keyValueHeads: number("num_key_value_heads", heads),
    headSize,
    vocabularySize: number("vocab_size"),
    positionsMax: number("max_position_embeddings"),
    normEpsilon: number("rms_norm_eps", 1e-6),
    ropeTheta: typeof ropeTheta === "number" ? ropeTheta : 10_000,
    hasTiedEmbeddings: raw["tie_word_embeddings"] === true,
  };
}

/** Reads the end tokens: `idOf` gives the id of a special token's text. */
export function readEndTokens(
  folder: string,
  idOf: (text: string) => number | undefined,
): EndTokens {
  const named = optionalJsonObject(folder, "tokenizer_config.json")["eos_token"];
  const text = isObject(named) ? named["content"] : named;
  const primary = typeof text === "string" ? idOf(text) : undefined;
  const listed = optionalJsonObject(folder, "generation_config.json")["eos_token_id"];
  const others = (Array.isArray(listed) ? listed : [listed]).filter(
    (id): id is number => typeof id === "number" && id !== primary,
  );
  return { primary, others };
}

function readJsonObject(folder: string, name: string): Record<string, unknown> {
  const value: unknown = JSON.parse(readFileSync(join(folder, name), "utf8"));
  if (!isObject(value)) throw new Error(`${folder}/${name} is not a JSON object`);
  return value;
}

function optionalJsonObject(folder: string, name: string): Record<string, unknown> {
  try {
    return readJsonObject(folder, name);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return {};
    throw error;
  }
}
