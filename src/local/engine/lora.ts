import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isObject } from "#base/json.ts";
import {
  type AdapterWeights,
  blockOf,
  PROJECTIONS,
  type Projection,
  projectionShape,
} from "./llama.ts";
import type { ModelConfig } from "./model-config.ts";
import { parseJson, pythonRepr } from "./python-json.ts";
import { readSafetensors, type Tensor } from "./safetensors.ts";

/** There is no adapter at the path: no folder, or no `adapter_config.json` in it. */
export class AdapterNotFoundError extends Error {
  override readonly name = "AdapterNotFoundError";
}

/** What the loader checks an adapter against. */
export type AdapterLimits = { model: ModelConfig; rankMax: number };

/** The fields of `adapter_config.json` that decide how the weights are used. */
type PeftConfig = {
  rank: number;
  alpha: number;
  isRankStabilized: boolean;
  rankPattern: [string, number][];
  alphaPattern: [string, number][];
};

/** Also accepted by vLLM in a Llama adapter, but not run by this engine. */
const UNSUPPORTED_MODULES = ["embed_tokens", "lm_head"];

/**
 * Reads a PEFT adapter folder. The messages are vLLM's, because operators and the parts around the
 * engine tell the cases apart by them.
 * @throws AdapterNotFoundError, or an Error that says what is wrong with the adapter
 */
export function readAdapter(folder: string, limits: AdapterLimits): AdapterWeights {
  const config = readPeftConfig(folder, limits.rankMax);
  const path = join(folder, "adapter_model.safetensors");
  if (!existsSync(path)) throw new Error(`${folder} doesn't contain tensors`);
  const tensors = readSafetensors(path);
  const names = [...tensors.keys()].toSorted();
  refuseUnknownModules(folder, names);
  return toWeights(tensors, names, config, limits.model);
}

function readPeftConfig(folder: string, rankMax: number): PeftConfig {
  const raw = parseJson(readConfigText(join(folder, "adapter_config.json")));
  if (!isObject(raw)) throw new Error("adapter_config.json must be a JSON object");
  const missing = ["r", "lora_alpha", "target_modules"].filter((key) => !(key in raw));
  if (missing.length > 0) {
    throw new Error(
      `Missing required configuration fields: {${missing.map(pythonRepr).join(", ")}}`,
    );
  }
  const { r: rank, lora_alpha: alpha } = raw;
  if (!isRank(rank)) {
    throw new Error(`LoRA rank \`r\` must be a positive integer, got ${pythonRepr(rank)}.`);
  }
  if (typeof alpha !== "number")
    throw new Error(`lora_alpha must be a number, got ${pythonRepr(alpha)}.`);
  const rankPattern = patternOf(raw["rank_pattern"], "rank_pattern");
  for (const [key, value] of rankPattern) {
    if (!isRank(value)) {
      throw new Error(
        `LoRA rank for \`${key}\` in \`rank_pattern\` must be a positive integer, got ${value}.`,
      );
    }
  }
  const complaints = unsupportedFeatures(raw);
  const highest = Math.max(rank, ...rankPattern.map(([, value]) => value));
  if (highest > rankMax) {
    complaints.push(`LoRA rank ${highest} is greater than max_lora_rank ${rankMax}.`);
  }
  if ((raw["bias"] ?? "none") !== "none") complaints.push("Adapter bias is not supported.");
  if (complaints.length > 0) throw new Error(complaints.join(" "));
  return {
    rank,
    alpha,
    isRankStabilized: raw["use_rslora"] === true,
    rankPattern,
    alphaPattern: patternOf(raw["alpha_pattern"], "alpha_pattern"),
  };
}

function readConfigText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT") throw new AdapterNotFoundError(path);
    if (code === "ENOTDIR") throw new Error(`[Errno 20] Not a directory: ${pythonRepr(path)}`);
    if (code === "EACCES") throw new Error(`[Errno 13] Permission denied: ${pythonRepr(path)}`);
    throw error;
  }
}

const isRank = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) > 0;

function patternOf(value: unknown, field: string): [string, number][] {
  if (value === undefined || value === null) return [];
  const entries = isObject(value) ? Object.entries(value) : undefined;
  if (entries?.every((entry): entry is [string, number] => typeof entry[1] === "number"))
    return entries;
  throw new Error(`${field} must map module names to numbers`);
}

function unsupportedFeatures(raw: Record<string, unknown>): string[] {
  const complaints: string[] = [];
  const isSet = (key: string) => {
    const value = raw[key];
    return Array.isArray(value) ? value.length > 0 : Boolean(value);
  };
  if (isSet("modules_to_save")) {
    complaints.push(
      `vLLM only supports modules_to_save being either None or ["classifier", "score"] for classification models. Unsupported modules_to_save: ${pythonRepr(raw["modules_to_save"])}`,
    );
  }
  if (isSet("use_dora")) complaints.push("vLLM does not yet support DoRA.");
  if (isSet("lora_bias")) complaints.push("vLLM does not support LoRA bias (lora_bias).");
  if (isSet("alora_invocation_tokens"))
    complaints.push("vLLM does not support Activated LoRA (aLoRA).");
  if (isSet("layer_replication")) complaints.push("vLLM does not support layer_replication.");
  if (isSet("use_bdlora")) complaints.push("vLLM does not support block-diagonal LoRA (BD-LoRA).");
  if (isSet("use_qalora")) complaints.push("vLLM does not support QALoRA.");
  return complaints;
}

const TENSOR_NAME = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/;

function moduleOf(name: string): { module: string; side: "A" | "B" } {
  const match = TENSOR_NAME.exec(name);
  if (match === null) throw new Error(`${name} is unsupported LoRA weight`);
  return { module: match[1] as string, side: match[2] as "A" | "B" };
}

function refuseUnknownModules(folder: string, names: string[]): void {
  const known: string[] = [...PROJECTIONS, ...UNSUPPORTED_MODULES];
  const modules = names.map((name) => moduleOf(name).module);
  const unknown = modules.filter((module) => !known.includes(lastPart(module)));
  if (unknown.length > 0) {
    throw new Error(
      `While loading ${folder}, expected target modules in {${known.map(pythonRepr).join(", ")}} but received ${pythonRepr(unknown)}. Please verify that the loaded LoRA module is correct`,
    );
  }
}

const lastPart = (module: string): string => module.slice(module.lastIndexOf(".") + 1);

function toWeights(
  tensors: Map<string, Tensor>,
  names: string[],
  config: PeftConfig,
  model: ModelConfig,
): AdapterWeights {
  const weights: AdapterWeights = Array.from({ length: model.layers }, () => ({}));
  for (const name of names) {
    const { module, side } = moduleOf(name);
    if (side === "B") {
      if (!tensors.has(name.replace(/lora_B\.weight$/, "lora_A.weight"))) {
        throw new Error(`${module} has lora_B but no lora_A`);
      }
      continue;
    }
    const a = tensors.get(name);
    const b = tensors.get(name.replace(/lora_A\.weight$/, "lora_B.weight"));
    if (a === undefined || b === undefined) throw new Error(`${module} has lora_A but no lora_B`);
    const { layer, projection } = placeOf(module, model);
    const { rank, scale } = rankAndScale(config, module);
    const { rows, columns } = projectionShape(model, projection);
    checkShape(a, [rank, columns]);
    checkShape(b, [rows, rank]);
    (weights[layer] as AdapterWeights[number])[projection] = {
      down: { rows: rank, columns, data: a.data },
      up: { rows, columns: rank, data: b.data.map((value) => value * scale) },
    };
  }
  return weights;
}

function placeOf(module: string, model: ModelConfig): { layer: number; projection: Projection } {
  const match = /^model\.layers\.(\d+)\.(self_attn|mlp)\.(\w+)$/.exec(module);
  const projection = PROJECTIONS.find((name) => name === match?.[3] && blockOf(name) === match[2]);
  const layer = Number(match?.[1]);
  if (projection === undefined || !(layer < model.layers)) {
    throw new Error(`${module} is not a module that the built-in engine can adapt`);
  }
  return { layer, projection };
}

/** PEFT's rule: a pattern counts for a module whose name ends with it, at a dot; the first one wins. */
function rankAndScale(config: PeftConfig, module: string): { rank: number; scale: number } {
  const pick = (pattern: [string, number][]) =>
    pattern.find(([key]) => module === key || module.endsWith(`.${key}`))?.[1];
  const rank = pick(config.rankPattern) ?? config.rank;
  const alpha = pick(config.alphaPattern) ?? config.alpha;
  return { rank, scale: alpha / (config.isRankStabilized ? Math.sqrt(rank) : rank) };
}

function checkShape(tensor: Tensor, expected: [number, number]): void {
  const differing =
    tensor.shape.length === 2 ? [1, 0].find((i) => tensor.shape[i] !== expected[i]) : 0;
  if (differing === undefined) return;
  throw new Error(
    `The size of tensor a (${expected[differing]}) must match the size of tensor b (${tensor.shape[differing]}) at non-singleton dimension ${differing}`,
  );
}
