import type { Clock } from "#base/clock.ts";
import { UserError } from "#base/errors.ts";
import { describeError, networkWords } from "#base/network-error.ts";
import { KubeApiError } from "#kube/client.ts";

/** One look at something that is awaited. */
export type Look<T> =
  | { readonly done: T }
  | {
      /** What it still needs, for example `2/3 pods ready`. */
      readonly waitsFor: string;
      /** What stands in the way so far; shown while it is waited for. */
      readonly because?: string | undefined;
      /** Why waiting longer is useless; ends the waiting. */
      readonly hopeless?: string | undefined;
    };

export interface WaitOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly pollMs: number;
  /** Told what is waited for, at every look. */
  readonly onWait: (waitsFor: string) => void;
  /** What stood in the way, found out when it took too long; with what to do about it. */
  readonly explain?: () => Promise<string>;
}

/** True for what passes by itself: the API server is being started again, or is busy. */
export function isPassing(error: unknown): boolean {
  if (error instanceof KubeApiError) return error.code >= 500 || error.code === 429;
  return networkWords(error) !== undefined;
}

async function lookOnce<T>(look: () => Promise<Look<T>>, signal: AbortSignal): Promise<Look<T>> {
  try {
    return await look();
  } catch (error) {
    signal.throwIfAborted();
    if (!isPassing(error)) throw error;
    return { waitsFor: `the Kubernetes API does not answer (${describeError(error)})` };
  }
}

/**
 * Looks again and again until `look` is done. That the API server is away for a moment counts as not
 * being done yet.
 * @throws UserError with what was waited for and why it did not come.
 */
export async function waitFor<T>(look: () => Promise<Look<T>>, options: WaitOptions): Promise<T> {
  const { clock, signal, timeoutMs, pollMs } = options;
  const startMs = clock.now();
  for (;;) {
    const seen = await lookOnce(look, signal);
    if ("done" in seen) return seen.done;
    options.onWait(
      seen.because === undefined ? seen.waitsFor : `${seen.waitsFor}; ${seen.because}`,
    );
    const isLate = clock.now() - startMs >= timeoutMs;
    if (seen.hopeless !== undefined || isLate) {
      const why = seen.hopeless ?? (await options.explain?.());
      const after = isLate ? ` after ${Math.round(timeoutMs / 1000)} s` : "";
      throw new UserError(`${seen.waitsFor}${after}${why === undefined ? "" : `: ${why}`}`);
    }
    await clock.sleep(pollMs, signal);
  }
}
