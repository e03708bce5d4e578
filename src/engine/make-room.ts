import type { Engine, EngineTarget } from "./engine.ts";
import { EngineError } from "./errors.ts";

/** True for the refusal of a name that is taken. */
export const isAlreadyLoaded = (error: unknown) =>
  error instanceof EngineError && /already (been )?(loaded|added|exists)/i.test(error.message);

/** One name on one engine. */
export interface Slot {
  /** Loads it from a path, when the name is free. */
  readonly load: (path: string) => Promise<unknown>;
  readonly unload: () => Promise<void>;
}

/**
 * Loads from `path` what the engine has from `root`, where it cannot replace in place: the earlier one goes first. It comes back when
 * the new one is refused, so that a bad version takes nothing away.
 */
export async function loadMakingRoom(
  { load, unload }: Slot,
  path: string,
  root: string | undefined,
): Promise<void> {
  await unload();
  try {
    await load(path);
  } catch (error) {
    if (root !== undefined && error instanceof EngineError) await load(root).catch(() => {});
    throw error;
  }
}

/** What an engine lists under a name; undefined: nothing. */
export async function heldUnder(
  engine: Engine,
  target: EngineTarget,
  name: string,
  signal: AbortSignal,
) {
  return (await engine.inventory(target, signal)).find((one) => one.name === name);
}
