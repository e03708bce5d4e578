import type { Clock } from "#base/clock.ts";

/** `qps` calls a second on average, `burst` at once. */
export interface RateLimit {
  readonly qps: number;
  readonly burst: number;
}

/** A token bucket: the returned function resolves when its caller may go. Callers go in the order in which they came. */
export function tokenBucket(
  clock: Clock,
  limit: RateLimit,
): (signal?: AbortSignal) => Promise<void> {
  let tokens = limit.burst;
  let filledAtMs = clock.now();
  return async (signal) => {
    const now = clock.now();
    tokens = Math.min(limit.burst, tokens + ((now - filledAtMs) / 1000) * limit.qps);
    filledAtMs = now;
    // Going below zero is what queues: each later caller waits for its own token.
    tokens -= 1;
    if (tokens >= 0) return;
    try {
      await clock.sleep((-tokens / limit.qps) * 1000, signal);
    } catch (error) {
      tokens += 1;
      throw error;
    }
  };
}
