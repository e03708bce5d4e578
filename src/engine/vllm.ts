/** vLLM from 0.7 to 0.32, through its OpenAI-compatible server. */
import type { Engine, EngineTarget, LoadRequest } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions } from "./http.ts";
import { parseModels } from "./models.ts";
import { replaceByUnload } from "./replace.ts";

/** The edge to a vLLM. */
export function vllmEngine(options: EngineHttpOptions = ENGINE_HTTP_DEFAULTS): Engine {
  const engine: Engine = {
    inventory: async (target, signal) =>
      parseModels(await ask(target, { path: "/v1/models" }, options, signal)),

    load: async (target, { name, path, replace }, signal) => {
      const order = async (body: object) => {
        await ask(target, { path: "/v1/load_lora_adapter", body }, options, signal);
      };
      const body = { lora_name: name, lora_path: path };
      try {
        await order(replace ? { ...body, load_inplace: true } : body);
      } catch (error) {
        if (!isAlreadyLoaded(error)) throw error;
        const load = (from: string) => order({ ...body, lora_path: from });
        await settleLoaded(engine, target, { name, path, replace }, load, signal);
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

/** True for the refusal of a name that is taken. */
export const isAlreadyLoaded = (error: unknown) =>
  error instanceof EngineError && /already (been )?(loaded|added|exists)/i.test(error.message);

/** True for the refusal to unload what is not there. */
export const isUnknownAdapter = (error: unknown) =>
  error instanceof EngineError &&
  error.code !== "UpdatingDisabled" &&
  /cannot be found|not found/i.test(error.message);

/**
 * The engine says that it has the adapter: a success when it is from the wanted path. Otherwise another version is there, and an
 * engine that cannot replace in place (vLLM 0.7) must let go of it first.
 */
async function settleLoaded(
  engine: Engine,
  target: EngineTarget,
  request: LoadRequest,
  load: (path: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { name, path, replace } = request;
  const held = await engine.inventory(target, signal);
  const root = held.find((one) => one.name === name)?.root;
  if (root === path) return;
  if (!replace) {
    await engine.load(target, { ...request, replace: true }, signal);
    return;
  }
  const unload = () => engine.unload(target, name, signal);
  await replaceByUnload({ load, unload }, path, root);
}
