/** vLLM from 0.7 to 0.32, through its OpenAI-compatible server. */
import type { Engine } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions } from "./http.ts";
import { heldUnder, isAlreadyLoaded, loadMakingRoom } from "./make-room.ts";
import { parseModels } from "./models.ts";

/** The edge to a vLLM. */
export function vllmEngine(options: EngineHttpOptions = ENGINE_HTTP_DEFAULTS): Engine {
  const engine: Engine = {
    inventory: async (target, signal) =>
      parseModels(await ask(target, { path: "/v1/models" }, options, signal)),

    load: async (target, { name, path, replace }, signal) => {
      const order = (from: string, inPlace: boolean) => {
        const body = { lora_name: name, lora_path: from };
        const how = inPlace ? { load_inplace: true } : {};
        const question = { path: "/v1/load_lora_adapter", body: { ...body, ...how } };
        return ask(target, question, options, signal);
      };
      try {
        await order(path, replace);
      } catch (error) {
        if (!isAlreadyLoaded(error)) throw error;
        // A success when it is from the wanted path. Otherwise another version is there: replaced in place, if the engine can
        // (vLLM 0.7 cannot).
        const held = await heldUnder(engine, target, name, signal);
        if (held?.root === path) return;
        if (!replace) {
          await engine.load(target, { name, path, replace: true }, signal);
          return;
        }
        const unload = () => engine.unload(target, name, signal);
        await loadMakingRoom({ load: (from) => order(from, false), unload }, path, held?.root);
      }
    },

    unload: async (target, name, signal) => {
      const body = { lora_name: name };
      try {
        await ask(
          target,
          { path: "/v1/unload_lora_adapter", body, isUnload: true },
          options,
          signal,
        );
      } catch (error) {
        // What it does not know is unloaded already.
        if (!isUnknownAdapter(error)) throw error;
      }
    },
  };
  return engine;
}

/** True for the refusal to unload what is not there. */
export const isUnknownAdapter = (error: unknown) =>
  error instanceof EngineError &&
  error.code !== "UpdatingDisabled" &&
  /cannot be found|not found/i.test(error.message);
