/** The runtime sidecar: ours, and AIBrix's from 0.3.0 on. */
import { isObject, type JsonObject } from "#base/json.ts";
import { explained, knowsNoArtifacts, knowsNoCleanup } from "./aibrix-sidecar.ts";
import type { ArtifactRequest, EngineTarget, Runtime } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { followLoad, PREFER_ASYNC, statusPath } from "./follow-load.ts";
import { ask, ENGINE_HTTP_DEFAULTS, type EngineHttpOptions, type Question } from "./http.ts";
import { heldUnder, isAlreadyLoaded, loadMakingRoom } from "./make-room.ts";
import { parseModels } from "./models.ts";
import { isUnknownAdapter } from "./vllm.ts";

const LOAD = "/v1/lora_adapter/load";
const UNLOAD = "/v1/lora_adapter/unload";

/** Adapters of hundreds of megabytes come over slow lines, too, and not every sidecar tells how far they are. */
const RUNTIME_HTTP_DEFAULTS: EngineHttpOptions = {
  ...ENGINE_HTTP_DEFAULTS,
  changeTimeoutMs: 900_000,
};

const by = "the runtime sidecar";

/** The edge to a sidecar. */
export function runtimeEngine(options: EngineHttpOptions = RUNTIME_HTTP_DEFAULTS): Runtime {
  const put = (target: EngineTarget, question: Omit<Question, "by">, signal: AbortSignal) =>
    ask(target, { ...question, by }, options, signal);

  /** Runs a change; its error says what it can. */
  const change = async <T>(target: EngineTarget, signal: AbortSignal, run: () => Promise<T>) => {
    try {
      return await run();
    } catch (error) {
      const isEngineThere = () =>
        runtime.inventory(target, signal).then(
          () => true,
          () => false,
        );
      throw await explained(error, target.apiKey !== undefined, isEngineThere);
    }
  };

  const runtime: Runtime = {
    inventory: async (target, signal) =>
      parseModels(await put(target, { path: "/v1/models" }, signal)),

    load: (target, { name, path }, signal) =>
      change(target, signal, async () => {
        const load = (from: string) =>
          put(target, { path: LOAD, body: { lora_name: name, lora_path: from } }, signal);
        try {
          await load(path);
        } catch (error) {
          // Ours replaces what the engine has under the name; AIBrix's pass the engine's refusal on.
          if (!isAlreadyLoaded(error)) throw error;
          const held = await heldUnder(runtime, target, name, signal);
          if (held?.root === path) return;
          const unload = () => runtime.unload(target, name, signal);
          await loadMakingRoom({ load, unload }, path, held?.root);
        }
      }),

    loadArtifact: (target, request, signal) =>
      change(target, signal, async () => {
        const { name, onProgress } = request;
        const body = bodyOf(request);
        if (!(await isOurs(target, name, options, signal))) {
          return loadThroughAibrix(runtime, { target, request, body }, put, signal);
        }
        const answer = parse(await put(target, { path: LOAD, body, prefer: PREFER_ASYNC }, signal));
        if (typeof answer["status_url"] !== "string") return loadedPath(answer);
        return loadedPath(await followLoad(target, { name, by, onProgress }, options, signal));
      }),

    unload: (target, name, signal) =>
      change(target, signal, async () => {
        const order = (more: object) => {
          const body = { lora_name: name, ...more };
          return put(target, { path: UNLOAD, body, isUnload: true }, signal);
        };
        try {
          await order({ cleanup_local: true });
        } catch (error) {
          if (knowsNoCleanup(error)) await order({}).catch(unlessUnknown);
          else unlessUnknown(error);
          return;
        }
        // AIBrix's says so whatever the engine answered: the list tells.
        if (await isOurs(target, name, options, signal)) return;
        if ((await heldUnder(runtime, target, name, signal)) !== undefined) throw stillThere();
      }),
  };
  return runtime;
}

function bodyOf({ name, artifactUrl, credentials, additionalConfig }: ArtifactRequest): JsonObject {
  return {
    lora_name: name,
    artifact_url: artifactUrl,
    ...(credentials === undefined ? {} : { credentials }),
    ...(additionalConfig === undefined ? {} : { additional_config: additionalConfig }),
  };
}

function unlessUnknown(error: unknown): void {
  if (!isUnknownAdapter(error)) throw error;
}

/** Only ours tells how loads stand. */
async function isOurs(
  target: EngineTarget,
  name: string,
  options: EngineHttpOptions,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await ask(target, { path: statusPath(name), by }, options, signal);
    return true;
  } catch (error) {
    if (!(error instanceof EngineError) || error.code === "Unreachable") throw error;
    // It may know of no load yet, and says so; a server without the route says no more than these two words.
    return error.code !== "NotFound" || error.message !== "Not Found";
  }
}

async function loadThroughAibrix(
  runtime: Runtime,
  { target, request, body }: { target: EngineTarget; request: ArtifactRequest; body: JsonObject },
  put: (target: EngineTarget, question: Question, signal: AbortSignal) => Promise<string>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { name, directPath } = request;
  // Whatever its folder holds under the name, it would be taken for what is wanted.
  const cleanUp = { path: UNLOAD, body: { lora_name: name, cleanup_local: true }, isUnload: true };
  try {
    await put(target, cleanUp, signal);
  } catch (error) {
    // One that is older keeps no files.
    if (!knowsNoCleanup(error)) unlessUnknown(error);
  }
  try {
    return loadedPath(parse(await put(target, { path: LOAD, body }, signal)));
  } catch (error) {
    if (!knowsNoArtifacts(error)) throw error;
  }
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

function stillThere(): EngineError {
  const words =
    "service unavailable: the runtime sidecar says that it unloaded the adapter, but the engine still lists it";
  return new EngineError("Unavailable", true, words);
}

/** Our sidecar tells the version's own folder, AIBrix's only the folder of the adapter. */
function loadedPath(answer: unknown): string | undefined {
  if (!isObject(answer)) return undefined;
  const { loaded_path: loaded, local_path: local } = answer;
  if (typeof loaded === "string") return loaded;
  return typeof local === "string" ? local : undefined;
}

/** A JSON object; AIBrix's sidecars answer some requests with plain text. */
function parse(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}
