/** A load that our sidecar goes on with by itself: asked for until it has ended. */
import { isObject, type JsonObject } from "#base/json.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import type { EngineTarget, LoadProgress } from "./engine.ts";
import { EngineError, sidecarError } from "./errors.ts";
import { ask, type EngineHttpOptions } from "./http.ts";

/** A load that takes longer than this is followed, and given up by the sidecar when nobody has asked for so long. */
const WAIT_S = 5;
const FOLLOW_S = 30;
export const PREFER_ASYNC = `respond-async, wait=${WAIT_S}, follow=${FOLLOW_S}`;
const PAUSE_MS = 1000;
/** A sidecar may be silent for this long without its load being given up for lost. */
const SILENCE_MAX_MS = 15_000;

/** Where the sidecar tells how a load stands. */
export const statusPath = (name: string) =>
  `/v1/lora_adapter/status?lora_name=${encodeURIComponent(name)}`;

export interface Followed {
  readonly name: string;
  readonly by: string;
  readonly onProgress: ((progress: LoadProgress) => void) | undefined;
}

/**
 * Resolves to what the status says of the load when it has succeeded.
 * @throws EngineError of the load; or when it does not move for as long as a change may take. The signal's reason
 */
export async function followLoad(
  target: EngineTarget,
  { name, by, onProgress }: Followed,
  options: EngineHttpOptions,
  signal: AbortSignal,
): Promise<JsonObject> {
  const { clock = systemClock, changeTimeoutMs } = options;
  const question = { path: statusPath(name), by };
  let heardMs = clock.now();
  let movedMs = heardMs;
  let before = "";
  for (;;) {
    await clock.sleep(PAUSE_MS, signal);
    const text = await ask(target, question, options, signal).catch((error: unknown) => {
      if (clock.now() - heardMs > SILENCE_MAX_MS || !isPassing(error)) throw lostIn(error);
      return undefined;
    });
    if (text === undefined) continue;
    heardMs = clock.now();
    if (text !== before) movedMs = heardMs;
    before = text;
    const status = statusIn(text);
    if (status["state"] === "loaded") return status;
    if (heardMs - movedMs > changeTimeoutMs) {
      const words = `timeout: no progress within ${changeTimeoutMs} ms`;
      throw new EngineError("Unreachable", true, words);
    }
    const progress = progressIn(status);
    if (progress !== undefined) onProgress?.(progress);
  }
}

const isPassing = (error: unknown) => error instanceof EngineError && error.retriable;

/** @throws EngineError of a load that failed */
function statusIn(text: string): JsonObject {
  const status: unknown = JSON.parse(text);
  if (!isObject(status)) throw lost();
  if (status["state"] === "failed") throw sidecarError(status) ?? lost();
  return status;
}

function progressIn({ state, bytes_done: done, bytes_total: total }: JsonObject) {
  if (state !== "downloading" || typeof done !== "number") return undefined;
  return { bytesDone: done, bytesTotal: typeof total === "number" ? total : undefined };
}

/** Of an earlier process of the sidecar it knows nothing. */
function lost(): EngineError {
  const words = "service unavailable: the runtime sidecar was restarted during the load";
  return new EngineError("Unavailable", true, words);
}

function lostIn(error: unknown): unknown {
  return error instanceof EngineError && error.code === "NotFound" ? lost() : error;
}
