import { EngineError } from "./errors.ts";

/** What an engine is asked for one adapter. */
interface Orders {
  readonly load: (path: string) => Promise<void>;
  readonly unload: () => Promise<void>;
}

/**
 * Another version for an engine that cannot replace one in place: the earlier one goes first, and comes back when the new one is
 * refused. @param earlier the path of what the engine has
 */
export async function replaceByUnload(
  { load, unload }: Orders,
  path: string,
  earlier: string | undefined,
): Promise<void> {
  await unload();
  try {
    await load(path);
  } catch (error) {
    const isRefused = error instanceof EngineError && error.code !== "Unreachable";
    if (isRefused && earlier !== undefined && earlier !== path) {
      // What is told is why the new one was refused; that the earlier one is gone as well is seen by the next list.
      await load(earlier).catch(() => {});
    }
    throw error;
  }
}
