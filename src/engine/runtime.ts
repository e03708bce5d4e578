/** The runtime sidecar: ours, and AIBrix's from 0.3.0 on. */
import { isObject } from "#base/json.ts";
import type { ArtifactRequest, EngineTarget, Runtime } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions } from "./http.ts";
import { parseModels } from "./models.ts";
import { isAlreadyLoaded, isUnknownAdapter } from "./vllm.ts";

const LOAD = "/v1/lora_adapter/load";
const UNLOAD = "/v1/lora_adapter/unload";

/** Adapters of hundreds of megabytes come over slow lines, too. */
const RUNTIME_HTTP_DEFAULTS: EngineHttpOptions = {
  ...ENGINE_HTTP_DEFAULTS,
  changeTimeoutMs: 900_000,
};

/** The edge to a sidecar. */
export function runtimeEngine(options: EngineHttpOptions = RUNTIME_HTTP_DEFAULTS): Runtime {
  const runtime: Runtime = {
    inventory: async (target, signal) =>
      parseModels(await ask(target, { path: "/v1/models" }, options, signal)),

    load: async (target, { name, path }, signal) => {
      const body = { lora_name: name, lora_path: path };
      const order = () => ask(target, { path: LOAD, body }, options, signal);
      const isThere = async () => {
        const held = await runtime.inventory(target, signal);
        return held.find((one) => one.name === name)?.root === path;
      };
      const makeRoom = () => runtime.unload(target, name, signal);
      await loadMakingRoom(order, isThere, makeRoom);
    },

    loadArtifact: async (target, request, signal) => {
      const { name, artifactUrl, credentials, additionalConfig } = request;
      const body = {
        lora_name: name,
        artifact_url: artifactUrl,
        ...(credentials === undefined ? {} : { credentials }),
        ...(additionalConfig === undefined ? {} : { additional_config: additionalConfig }),
      };
      const order = () => ask(target, { path: LOAD, body }, options, signal);
      // Which version it is that the engine has cannot be told by its path.
      const isThere = async () => false;
      const makeRoom = () => runtime.unload(target, name, signal);
      try {
        return loadedPath((await loadMakingRoom(order, isThere, makeRoom)) ?? "");
      } catch (error) {
        if (!knowsNoArtifacts(error)) throw error;
        return await loadDirectly(runtime, target, request, signal);
      }
    },

    unload: async (target, name, signal) => {
      const body = { lora_name: name, cleanup_local: true };
      try {
        await ask(target, { path: UNLOAD, body, isUnload: true }, options, signal);
      } catch (error) {
        if (knowsNoCleanup(error)) {
          const plain = { path: UNLOAD, body: { lora_name: name }, isUnload: true };
          await ask(target, plain, options, signal).catch(unlessUnknown);
        } else unlessUnknown(error);
      }
    },
  };
  return runtime;
}

/**
 * Ours replaces what the engine has under the name; AIBrix's sidecars pass the engine's refusal on, so that the earlier version has to
 * go first. Undefined: it is there already.
 */
async function loadMakingRoom(
  order: () => Promise<string>,
  isThere: () => Promise<boolean>,
  makeRoom: () => Promise<void>,
): Promise<string | undefined> {
  try {
    return await order();
  } catch (error) {
    if (!isAlreadyLoaded(error)) throw error;
    if (await isThere()) return undefined;
    await makeRoom();
    return await order();
  }
}

function unlessUnknown(error: unknown): void {
  if (!isUnknownAdapter(error)) throw error;
}

/** AIBrix's sidecars of before artifact URLs refuse the request: the path is missing, the rest too much. */
const knowsNoArtifacts = (error: unknown) =>
  error instanceof EngineError && /body\.lora_path: /.test(error.message);
const knowsNoCleanup = (error: unknown) =>
  error instanceof EngineError && /body\.cleanup_local: /.test(error.message);

async function loadDirectly(
  runtime: Runtime,
  target: EngineTarget,
  { name, directPath }: ArtifactRequest,
  signal: AbortSignal,
): Promise<string> {
  if (directPath === undefined) {
    throw new EngineError(
      "Unsupported",
      false,
      "this runtime sidecar is too old to fetch the artifact: use Loradock's, or AIBrix's 0.5 or newer",
    );
  }
  await runtime.load(target, { name, path: directPath, replace: false }, signal);
  return directPath;
}

/** Our sidecar tells the version's own folder, AIBrix's only the folder of the adapter. */
function loadedPath(text: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { loaded_path: loaded, local_path: local } = value;
  if (typeof loaded === "string") return loaded;
  return typeof local === "string" ? local : undefined;
}
