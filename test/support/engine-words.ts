/** How engines answer to loads and unloads of adapters. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const RECORDINGS = join(import.meta.dirname, "../../fixtures/vllm-recordings");

export interface EngineAnswer {
  readonly status: number;
  readonly body: string;
  readonly type?: string | undefined;
}

/** Adapters by name, with the path that each was loaded from. */
export type Held = ReadonlyMap<string, string>;

/** One engine's routes and words. */
export interface EngineWords {
  readonly load: string;
  readonly unload: string;
  /** It replaces an adapter when it is told `load_inplace`. */
  readonly replaces: boolean;
  readonly loaded: (name: string, held: Held) => EngineAnswer;
  readonly unloaded: (name: string, held: Held) => EngineAnswer;
  readonly taken: (name: string, held: Held) => EngineAnswer;
  readonly unknown: (name: string, held: Held) => EngineAnswer;
  /** The path leads nowhere. */
  readonly missing: (name: string, path: string, held: Held) => EngineAnswer;
  /** @param what a recording of vLLM 0.32; of the others, their sentence */
  readonly refused: (what: string, held: Held) => EngineAnswer;
}

interface Recording {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A recorded answer of a real vLLM 0.32, about another adapter. */
export function recorded(name: string, replaced: Record<string, string> = {}): EngineAnswer {
  const text = readFileSync(join(RECORDINGS, `${name}.json`), "utf8");
  const { status, headers, body } = JSON.parse(text) as Recording;
  const said = Object.entries(replaced).reduce((all, [from, to]) => all.replaceAll(from, to), body);
  return { status, body: said, type: headers["content-type"] };
}

/** vLLM 0.32, in its recorded words. */
const VLLM_032: EngineWords = {
  load: "/v1/load_lora_adapter",
  unload: "/v1/unload_lora_adapter",
  replaces: true,
  loaded: (name) => recorded("main-05-load-ok", { "'sql'": `'${name}'` }),
  unloaded: (name) => recorded("main-45-unload-ok", { "'shout'": `'${name}'` }),
  taken: (name) => recorded("main-07-load-duplicate", { "'sql'": `'${name}'` }),
  unknown: (name) => recorded("main-28-unload-unknown", { "'ghost'": `'${name}'` }),
  missing: (name, path) =>
    recorded("main-09-load-missing-path", { ghost: name, "/no/such/adapter": path }),
  refused: (what) => recorded(what),
};

/** Errors lie flat in the body, and are all of one status. */
const flat = (message: string, type = "BadRequestError"): EngineAnswer => ({
  status: 400,
  body: JSON.stringify({ object: "error", message, type, param: null, code: 400 }),
  type: "application/json",
});

/** vLLM 0.7: it knows nothing of `load_inplace` and passes over it. */
const VLLM_07: EngineWords = {
  ...VLLM_032,
  replaces: false,
  loaded: (name) => ({ status: 200, body: `Success: LoRA adapter '${name}' added successfully.` }),
  unloaded: (name) => ({
    status: 200,
    body: `Success: LoRA adapter '${name}' removed successfully.`,
  }),
  taken: (name) => flat(`The lora adapter '${name}' has already been loaded.`, "InvalidUserInput"),
  unknown: (name) => flat(`The lora adapter '${name}' cannot be found.`, "InvalidUserInput"),
  missing: (name, path) => flat(`Loading lora ${name} failed: No adapter found for ${path}`),
  refused: (what) => flat(what),
};

const sglang = (words: string, held: Held): EngineAnswer => ({
  status: words === "" ? 200 : 400,
  body: JSON.stringify({
    success: words === "",
    error_message: words,
    loaded_adapters: Object.fromEntries(held),
  }),
  type: "application/json",
});

/** SGLang 0.5. */
const SGLANG_05: EngineWords = {
  load: "/load_lora_adapter",
  unload: "/unload_lora_adapter",
  replaces: false,
  loaded: (_, held) => sglang("", held),
  unloaded: (_, held) => sglang("", held),
  taken: (name, held) => sglang(`LoRA with name ${name} already exists`, held),
  unknown: (name, held) => sglang(`LoRA with name ${name} does not exist`, held),
  missing: (name, path, held) =>
    sglang(`Failed to load LoRA adapter ${name}: ${path} has no adapter_config.json`, held),
  refused: sglang,
};

export const ENGINES = { vllm: VLLM_032, "vllm-0.7": VLLM_07, sglang: SGLANG_05 } as const;
export type EngineName = keyof typeof ENGINES;
