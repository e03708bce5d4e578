import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { isObject, type JsonObject } from "#base/json.ts";
import { ADAPTER_CONFIG, ADAPTER_PICKLE, ADAPTER_WEIGHTS } from "./adapter-files.ts";
import { ArtifactError } from "./errors.ts";
import { checkHeader, headerLength } from "./safetensors-header.ts";

const CONFIG_BYTES_MAX = 4 << 20;

export interface AdapterRules {
  readonly allowPickle: boolean;
  /** The engine's --max-lora-rank, when it is known. */
  readonly maxRank: number | undefined;
}

const invalid = (sentence: string) => new ArtifactError("InvalidArtifact", sentence);

/**
 * Refuses an adapter that no engine could load, before one is asked: some engines take a while to say
 * so, and say it as an internal error. What depends on the base model (shapes, module names) is the
 * engine's to judge.
 * @throws ArtifactError InvalidArtifact that names the file and the cure.
 */
export async function validateAdapter(folder: string, rules: AdapterRules): Promise<void> {
  checkConfig(await readConfig(join(folder, ADAPTER_CONFIG)), rules.maxRank);
  const path = join(folder, ADAPTER_WEIGHTS);
  if (await isFile(path)) return checkWeights(path);
  if (!(await isFile(join(folder, ADAPTER_PICKLE)))) throw noWeights();
  if (!rules.allowPickle) throw onlyPickle();
}

/** The same refusals as far as the names alone allow, before anything large is fetched. */
export function validateNames(names: readonly string[], rules: { allowPickle: boolean }): void {
  if (!names.includes(ADAPTER_CONFIG)) throw noConfig();
  if (names.includes(ADAPTER_WEIGHTS)) return;
  if (!names.includes(ADAPTER_PICKLE)) throw noWeights();
  if (!rules.allowPickle) throw onlyPickle();
}

const noConfig = () =>
  invalid(
    `The artifact has no ${ADAPTER_CONFIG}: publish the folder that PEFT's save_pretrained wrote`,
  );

const noWeights = () =>
  invalid(`The artifact has no ${ADAPTER_WEIGHTS}: publish the weights beside ${ADAPTER_CONFIG}`);

const onlyPickle = () =>
  invalid(
    `The artifact has its weights only as pickle (${ADAPTER_PICKLE}), which can run code in the engine: ` +
      `save them as ${ADAPTER_WEIGHTS}, or set ARTIFACT_ALLOW_PICKLE=1 in the sidecar if you trust it`,
  );

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function readConfig(path: string): Promise<JsonObject> {
  if (!(await isFile(path))) throw noConfig();
  if ((await stat(path)).size > CONFIG_BYTES_MAX) {
    throw invalid(`${ADAPTER_CONFIG} is larger than ${CONFIG_BYTES_MAX} bytes`);
  }
  let config: unknown;
  try {
    config = JSON.parse(await readFile(path, "utf8"));
  } catch {
    throw invalid(`${ADAPTER_CONFIG} is not valid JSON: publish the file that PEFT wrote`);
  }
  if (!isObject(config)) throw invalid(`${ADAPTER_CONFIG} is not a JSON object`);
  return config;
}

function checkConfig(config: JsonObject, maxRank: number | undefined): void {
  const { peft_type: type, r: rank, target_modules: targets } = config;
  if (type !== "LORA") {
    throw invalid(`${ADAPTER_CONFIG}: peft_type must be LORA, not ${shown(type)}`);
  }
  if (!Number.isSafeInteger(rank) || Number(rank) <= 0) {
    throw invalid(`${ADAPTER_CONFIG}: r must be a positive integer, not ${shown(rank)}`);
  }
  if (maxRank !== undefined && Number(rank) > maxRank) {
    throw invalid(
      `LoRA rank ${rank} is greater than max_lora_rank ${maxRank}: start the engine with ` +
        `--max-lora-rank ${rank} or more, or train with a lower r`,
    );
  }
  // A list of names, or one pattern as a string.
  const isNamed =
    (typeof targets === "string" && targets !== "") ||
    (Array.isArray(targets) &&
      targets.length > 0 &&
      targets.every((name) => typeof name === "string"));
  if (!isNamed) {
    throw invalid(`${ADAPTER_CONFIG}: target_modules is missing or names no module`);
  }
}

const shown = (value: unknown) => (JSON.stringify(value) ?? "missing").slice(0, 80);

async function checkWeights(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const first8 = await readExactly(file, 0, Math.min(8, size));
    const length = headerLength(first8, size);
    if (typeof length === "string") throw invalid(`${ADAPTER_WEIGHTS} ${length}`);
    const json = (await readExactly(file, 8, length)).toString("utf8");
    const names = checkHeader(json, size - 8 - length);
    if (typeof names === "string") throw invalid(`${ADAPTER_WEIGHTS} ${names}`);
    // lora_A, lora_B, lora_embedding_A, lora_magnitude_vector, ...
    if (!names.some((name) => /(^|\.)lora_/.test(name))) {
      throw invalid(
        `${ADAPTER_WEIGHTS} holds no LoRA tensors: is it a merged or a base model instead of the adapter?`,
      );
    }
  } finally {
    await file.close();
  }
}

async function readExactly(
  file: { read(b: Buffer, o: number, l: number, p: number): Promise<{ bytesRead: number }> },
  position: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw invalid(`${ADAPTER_WEIGHTS} changed while it was read`);
    done += bytesRead;
  }
  return buffer;
}
