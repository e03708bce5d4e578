/** SGLang from 0.5 on, through its HTTP server. */
import type { Engine } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions } from "./http.ts";
import { parseModels } from "./models.ts";
import { replaceByUnload } from "./replace.ts";

/** The edge to an SGLang. It cannot replace an adapter in place: the old one is unloaded first. */
export function sglangEngine(options: EngineHttpOptions = ENGINE_HTTP_DEFAULTS): Engine {
  const engine: Engine = {
    inventory: async (target, signal) =>
      parseModels(await ask(target, { path: "/v1/models" }, options, signal)),

    load: async (target, { name, path, replace }, signal) => {
      const load = async (from: string) => {
        const body = { lora_name: name, lora_path: from };
        await ask(target, { path: "/load_lora_adapter", body }, options, signal);
      };
      const held = async () => {
        const list = await engine.inventory(target, signal);
        return list.find((one) => one.name === name)?.root;
      };
      const unload = () => engine.unload(target, name, signal);
      if (replace) return await replaceByUnload({ load, unload }, path, await held());
      try {
        await load(path);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        // It refuses a name that it holds: fine when it is from the wanted path, else it has to make room.
        const root = await held();
        if (root === path) return;
        if (root === undefined) throw error;
        await replaceByUnload({ load, unload }, path, root);
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
