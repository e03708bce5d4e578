/** SGLang from 0.5 on, through its HTTP server. */
import type { Engine } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions } from "./http.ts";
import { heldUnder, loadMakingRoom } from "./make-room.ts";
import { parseModels } from "./models.ts";

const noRoute =
  "the engine has no route for LoRA adapters: use SGLang 0.5 or newer, started with --enable-lora";

/** The edge to an SGLang. It cannot replace an adapter in place: the old one is unloaded first. */
export function sglangEngine(options: EngineHttpOptions = ENGINE_HTTP_DEFAULTS): Engine {
  const engine: Engine = {
    inventory: async (target, signal) =>
      parseModels(await ask(target, { path: "/v1/models" }, options, signal)),

    load: async (target, { name, path, replace }, signal) => {
      const order = (from: string) => {
        const body = { lora_name: name, lora_path: from };
        return ask(target, { path: "/load_lora_adapter", body, noRoute }, options, signal);
      };
      const replaceIt = async (root: string | undefined) => {
        const unload = () => engine.unload(target, name, signal);
        await loadMakingRoom({ load: order, unload }, path, root);
      };
      if (replace) {
        await replaceIt((await heldUnder(engine, target, name, signal))?.root);
        return;
      }
      try {
        await order(path);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        // It refuses a name that it holds: fine when it is from the wanted path, else it has to make room.
        const held = await heldUnder(engine, target, name, signal);
        if (held === undefined) throw error;
        if (held.root !== path) await replaceIt(held.root);
      }
    },

    unload: async (target, name, signal) => {
      const body = { lora_name: name };
      try {
        const path = "/unload_lora_adapter";
        await ask(target, { path, body, isUnload: true, noRoute }, options, signal);
      } catch (error) {
        // Its words for a name that it does not hold differ by version: the list tells.
        if (!isRefusal(error)) throw error;
        if ((await heldUnder(engine, target, name, signal)) !== undefined) throw error;
      }
    },
  };
  return engine;
}

const isRefusal = (error: unknown) => error instanceof EngineError && error.code === "Rejected";
