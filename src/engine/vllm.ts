/** vLLM from 0.7 to 0.32, through its OpenAI-compatible server. */
import { isObject } from "#base/json.ts";
import type { Engine, HeldAdapter } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions } from "./http.ts";

/** The edge to a vLLM. */
export function vllmEngine(options: EngineHttpOptions = ENGINE_HTTP_DEFAULTS): Engine {
  const engine: Engine = {
    inventory: async (target, signal) =>
      parseModels(await ask(target, "/v1/models", undefined, options, signal)),

    load: async (target, { name, path, replace }, signal) => {
      const body = { lora_name: name, lora_path: path, ...(replace ? { load_inplace: true } : {}) };
      try {
        await ask(target, "/v1/load_lora_adapter", body, options, signal);
      } catch (error) {
        if (!isAlreadyLoaded(error)) throw error;
        await settleLoaded(engine, target, { name, path, replace }, signal);
      }
    },

    unload: async (target, name, signal) => {
      try {
        await ask(target, "/v1/unload_lora_adapter", { lora_name: name }, options, signal);
      } catch (error) {
        // What it does not know is unloaded already.
        const unknown =
          error instanceof EngineError &&
          error.code !== "UpdatingDisabled" &&
          /cannot be found/.test(error.message);
        if (!unknown) throw error;
      }
    },
  };
  return engine;
}

const isAlreadyLoaded = (error: unknown) =>
  error instanceof EngineError && /has already been (loaded|added)/.test(error.message);

/**
 * The engine says that it has the adapter: a success when it is from the wanted path. Otherwise another version is there, and an
 * engine that cannot replace in place (vLLM 0.7) must let go of it first.
 */
async function settleLoaded(
  engine: Engine,
  target: Parameters<Engine["load"]>[0],
  request: Parameters<Engine["load"]>[1],
  signal: AbortSignal,
): Promise<void> {
  const held = await engine.inventory(target, signal);
  if (held.find(({ name }) => name === request.name)?.root === request.path) return;
  if (!request.replace) {
    await engine.load(target, { ...request, replace: true }, signal);
    return;
  }
  await engine.unload(target, request.name, signal);
  await engine.load(target, { ...request, replace: false }, signal);
}

/** The adapters of a model list: those models that have a parent. */
export function parseModels(text: string): HeldAdapter[] {
  let data: unknown;
  try {
    const value: unknown = JSON.parse(text);
    data = isObject(value) ? value["data"] : undefined;
  } catch {
    data = undefined;
  }
  if (!Array.isArray(data)) {
    throw new EngineError(
      "Unavailable",
      true,
      "service unavailable: /v1/models is not a model list",
    );
  }
  return data.flatMap((model): HeldAdapter[] => {
    if (!isObject(model) || typeof model["id"] !== "string") return [];
    if (model["parent"] === null || model["parent"] === undefined) return [];
    const root = typeof model["root"] === "string" ? model["root"] : undefined;
    return [{ name: model["id"], root }];
  });
}
