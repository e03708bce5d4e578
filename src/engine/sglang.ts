/** SGLang from 0.5 on, through its HTTP server. */
import type { Engine } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions } from "./http.ts";
import { parseModels } from "./models.ts";

/** The edge to an SGLang. It cannot replace an adapter in place: the old one is unloaded first. */
export function sglangEngine(options: EngineHttpOptions = ENGINE_HTTP_DEFAULTS): Engine {
  const engine: Engine = {
    inventory: async (target, signal) =>
      parseModels(await ask(target, { path: "/v1/models" }, options, signal)),

    load: async (target, { name, path, replace }, signal) => {
      if (replace) await engine.unload(target, name, signal);
      const body = { lora_name: name, lora_path: path };
      try {
        await ask(target, { path: "/load_lora_adapter", body }, options, signal);
      } catch (error) {
        // It refuses a name that it holds: fine when it is from the wanted path, else it has to make room.
        const root = await heldRoot(engine, target, name, error, signal);
        if (root === path) return;
        if (root === undefined || replace) throw error;
        await engine.load(target, { name, path, replace: true }, signal);
      }
    },

    unload: async (target, name, signal) => {
      const body = { lora_name: name };
      try {
        await ask(target, { path: "/unload_lora_adapter", body, isUnload: true }, options, signal);
      } catch (error) {
        // Its words for a name that it does not hold differ by version: the list tells.
        if (!isRefusal(error)) throw error;
        const held = await engine.inventory(target, signal);
        if (held.some((one) => one.name === name)) throw error;
      }
    },
  };
  return engine;
}

const isRefusal = (error: unknown) => error instanceof EngineError && error.code === "Rejected";

/** From where the engine holds `name`, after it refused to load it; undefined: it does not. */
async function heldRoot(
  engine: Engine,
  target: Parameters<Engine["load"]>[0],
  name: string,
  error: unknown,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (!isRefusal(error)) throw error;
  const held = await engine.inventory(target, signal);
  return held.find((one) => one.name === name)?.root;
}
