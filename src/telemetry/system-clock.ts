import { setTimeout as delay } from "node:timers/promises";
import { abortReason } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";

/** The machine's clock and timers. */
export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      if (signal?.aborted) throw abortReason(signal);
      throw error;
    }
  },
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Less is no setting of a clock, only how it is kept right; it would make what is told flicker. */
const STEP_MS = 1000;

/**
 * `clock`, but with a `now()` that goes on whatever the machine's clock is set to: for whoever measures how long something takes, and
 * tells others the time of day beside that.
 */
export function steadyClock(clock: Clock): Clock {
  const aheadMs = clock.now() - performance.now();
  const now = () => aheadMs + performance.now();
  let offsetMs = 0;
  return {
    now,
    offsetMs: () => {
      const isMs = clock.now() - now();
      if (Math.abs(isMs - offsetMs) > STEP_MS) offsetMs = isMs;
      return offsetMs;
    },
    sleep: (ms, signal) => clock.sleep(ms, signal),
    after: (ms, run) => clock.after(ms, run),
  };
}
