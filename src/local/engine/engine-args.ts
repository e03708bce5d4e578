import { UserError } from "#base/errors.ts";

/** The settings of an engine, from `vllm serve`'s command line and environment. */
export type EngineOptions = {
  /** What the user named; the bundled model runs when it is not one that this engine can run. */
  model: string | undefined;
  /** The first one is the name in answers; all of them are accepted. */
  servedModelNames: string[];
  host: string;
  /** 0 takes a free one. */
  port: number;
  apiKeys: string[];
  isLoraEnabled: boolean;
  /** VLLM_ALLOW_RUNTIME_LORA_UPDATING: the load and unload routes exist. */
  isLoraUpdatingAllowed: boolean;
  loraRankMax: number;
  /** Adapters in one batch. */
  lorasMax: number;
  /** Adapters in memory. */
  cpuLorasMax: number;
  loraModules: { name: string; path: string }[];
  /** Folder that VLLM_LORA_RESOLVER_CACHE_DIR names: unknown models are looked up there. */
  loraResolverFolder: string | undefined;
  /** Undefined takes the model's own. */
  modelLengthMax: number | undefined;
  sequencesMax: number;
  isAccessLogged: boolean;
  hub: HubOptions;
  /** Flags that are accepted for the sake of real command lines, and change nothing here. */
  ignoredFlags: string[];
};

/** Where and how adapters named `org/repo` are fetched. */
export type HubOptions = {
  endpoint: string;
  token: string | undefined;
  cacheFolder: string;
  isOffline: boolean;
};

/** vLLM's own default on a CPU is the same. */
const SEQUENCES_DEFAULT = 128;
/** More sequences than this would only wait for each other in a pure TypeScript engine. */
const SEQUENCES_LIMIT = 1024;
const RANKS = [1, 8, 16, 32, 64, 128, 256, 320, 512];
const UVICORN_LEVELS = ["critical", "error", "warning", "info", "debug", "trace"];

type Environment = Record<string, string | undefined>;

/** Every value of each flag, in order; a flag without values is there with an empty list. */
type Flags = Map<string, string[]>;

/**
 * Reads the words after `vllm`: `serve [MODEL] --flag value ...`. Flags take the forms `--flag value`,
 * `--flag=value`, `--some-flag` and `--some_flag`, as vLLM's do.
 * @throws UserError that names the flag and what it takes
 */
export function parseEngineArgs(argv: readonly string[], env: Environment): EngineOptions {
  const words = argv[0] === "serve" ? argv.slice(1) : argv;
  const { positional, flags } = split(words);
  const take = takerOf(flags);
  const model = take.text("model") ?? positional;
  const named = take.list("served-model-name");
  const lorasMax = take.number("max-loras", { fallback: 1, min: 1 });
  const cpuLorasMax = take.number("max-cpu-loras", { fallback: lorasMax, min: 1 });
  if (cpuLorasMax < lorasMax) {
    throw new UserError(`max_cpu_loras (${cpuLorasMax}) must be >= max_loras (${lorasMax}).`);
  }
  const loraRankMax = take.number("max-lora-rank", { fallback: 16, min: 1 });
  if (!RANKS.includes(loraRankMax)) {
    throw new UserError(`--max-lora-rank must be one of ${RANKS.join(", ")}, got ${loraRankMax}`);
  }
  const level = take.text("uvicorn-log-level") ?? "info";
  if (!UVICORN_LEVELS.includes(level)) {
    throw new UserError(
      `--uvicorn-log-level must be one of ${UVICORN_LEVELS.join(", ")}, got ${level}`,
    );
  }
  const modelLengthMax = take.number("max-model-len", { fallback: 0, min: 1 });
  const isAccessLogOff = take.flag("disable-uvicorn-access-log");
  return {
    model,
    servedModelNames: named.length > 0 ? named : [model ?? "tiny-llama"],
    // On a single machine each pod has an address of its own, and "everywhere" means that one.
    host: take.text("host") ?? env["LORADOCK_BIND_ADDRESS"] ?? "0.0.0.0",
    port: take.number("port", { fallback: 8000, min: 0, max: 65_535 }),
    apiKeys: apiKeysOf(take.list("api-key"), env),
    isLoraEnabled: take.flag("enable-lora"),
    isLoraUpdatingAllowed: isTruthy(env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"]),
    loraRankMax,
    lorasMax,
    cpuLorasMax,
    loraModules: take.list("lora-modules").map(parseLoraModule),
    loraResolverFolder: resolverFolderOf(env),
    modelLengthMax: modelLengthMax === 0 ? undefined : modelLengthMax,
    sequencesMax: take.number("max-num-seqs", {
      fallback: SEQUENCES_DEFAULT,
      min: 1,
      max: SEQUENCES_LIMIT,
    }),
    isAccessLogged: !isAccessLogOff && ["info", "debug", "trace"].includes(level),
    hub: hubOptionsOf(env),
    ignoredFlags: take.rest(),
  };
}

/** Flags that stand alone, and flags that take one value; lists and unknown flags take all that follows. */
const SWITCHES = ["enable-lora", "disable-uvicorn-access-log"];
const SINGLES = [
  "model",
  "host",
  "port",
  "max-lora-rank",
  "max-loras",
  "max-cpu-loras",
  "max-model-len",
  "max-num-seqs",
  "uvicorn-log-level",
];

function split(words: readonly string[]): { positional: string | undefined; flags: Flags } {
  const flags: Flags = new Map();
  let positional: string | undefined;
  let name: string | undefined;
  for (const word of words) {
    if (word.startsWith("--")) {
      const equals = word.indexOf("=");
      name = (equals < 0 ? word.slice(2) : word.slice(2, equals)).replaceAll("_", "-");
      flags.set(name, equals < 0 ? [] : [word.slice(equals + 1)]);
      continue;
    }
    const values = name === undefined ? undefined : flags.get(name);
    if (name !== undefined && values !== undefined && takesMore(name, values.length))
      values.push(word);
    else positional ??= word;
  }
  return { positional, flags };
}

/** An unknown flag takes what follows it: a stray value must not become the model's name. */
function takesMore(name: string, count: number): boolean {
  if (SWITCHES.includes(name)) return false;
  return SINGLES.includes(name) ? count === 0 : true;
}

type NumberRule = { fallback: number; min: number; max?: number };

function takerOf(flags: Flags) {
  const list = (name: string): string[] => {
    const values = flags.get(name) ?? [];
    flags.delete(name);
    return values;
  };
  const text = (name: string): string | undefined => {
    const isGiven = flags.has(name);
    const value = list(name).at(-1);
    if (isGiven && value === undefined) throw new UserError(`--${name} needs a value`);
    return value;
  };
  return {
    list,
    text,
    flag: (name: string): boolean => flags.has(name) && list(name)[0]?.toLowerCase() !== "false",
    number: (
      name: string,
      { fallback, min, max = Number.MAX_SAFE_INTEGER }: NumberRule,
    ): number => {
      const given = text(name);
      if (given === undefined) return fallback;
      const value = /^\d+$/.test(given) ? Number(given) : Number.NaN;
      if (!(value >= min && value <= max)) {
        throw new UserError(`--${name} must be a whole number from ${min} to ${max}, got ${given}`);
      }
      return value;
    },
    rest: (): string[] => [...flags.keys()].map((name) => `--${name}`),
  };
}

function apiKeysOf(given: string[], env: Environment): string[] {
  const keys = given.length > 0 ? given : [env["VLLM_API_KEY"] ?? ""];
  return keys.filter((key) => key !== "");
}

/** vLLM's rule for its switches in the environment. */
function isTruthy(value: string | undefined): boolean {
  return ["1", "true"].includes(value?.trim().toLowerCase() ?? "");
}

/** `name=path`, or the JSON form `{"name": ..., "path": ...}`. */
function parseLoraModule(word: string): { name: string; path: string } {
  const module = word.startsWith("{") ? fromJson(word) : fromPair(word);
  if (module === undefined) throw new UserError(`--lora-modules takes name=path, got ${word}`);
  return module;
}

function fromPair(word: string): { name: string; path: string } | undefined {
  const equals = word.indexOf("=");
  if (equals < 1 || equals === word.length - 1) return undefined;
  return { name: word.slice(0, equals), path: word.slice(equals + 1) };
}

function fromJson(word: string): { name: string; path: string } | undefined {
  try {
    const { name, path } = JSON.parse(word) as { name?: unknown; path?: unknown };
    return typeof name === "string" && typeof path === "string" ? { name, path } : undefined;
  } catch {
    return undefined;
  }
}

/** The file system resolver is a plugin: VLLM_PLUGINS, when set, must name it. */
function resolverFolderOf(env: Environment): string | undefined {
  const plugins = env["VLLM_PLUGINS"]?.split(",").map((plugin) => plugin.trim());
  const isOn = plugins === undefined || plugins.includes("lora_filesystem_resolver");
  return isOn ? env["VLLM_LORA_RESOLVER_CACHE_DIR"] || undefined : undefined;
}

function hubOptionsOf(env: Environment): HubOptions {
  const home = env["HF_HOME"] || `${env["HOME"] || "/tmp"}/.cache/huggingface`;
  return {
    endpoint: (env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, ""),
    token: env["HF_TOKEN"] || undefined,
    cacheFolder: env["HF_HUB_CACHE"] || `${home}/hub`,
    isOffline: ["1", "on", "yes", "true"].includes(env["HF_HUB_OFFLINE"]?.toLowerCase() ?? ""),
  };
}
