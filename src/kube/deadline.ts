import { abortReason } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";

/**
 * Runs `work` with a signal that fires at the caller's abort, or after `timeoutMs` with a TimeoutError
 * that says `what`. Whatever `work` then throws, the rejection is the signal's reason.
 */
export async function withDeadline<R>(
  clock: Clock,
  timeoutMs: number,
  what: string,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<R>,
): Promise<R> {
  if (signal?.aborted) throw abortReason(signal);
  const controller = new AbortController();
  const cancel = clock.after(timeoutMs, () =>
    controller.abort(new DOMException(`timeout: ${what} within ${timeoutMs} ms`, "TimeoutError")),
  );
  const forward = () => controller.abort(signal?.reason);
  signal?.addEventListener("abort", forward, { once: true });
  try {
    return await work(controller.signal);
  } catch (error) {
    throw controller.signal.aborted ? abortReason(controller.signal) : error;
  } finally {
    cancel();
    signal?.removeEventListener("abort", forward);
  }
}
