import type { Clock } from "#base/clock.ts";
import { systemClock } from "#telemetry/system-clock.ts";

/** Real timers, `factor` times as fast: for tests with real sockets and long pauses. */
export function fastClock(factor: number): Clock {
  const startMs = systemClock.now();
  return {
    now: () => startMs + (systemClock.now() - startMs) * factor,
    sleep: (ms, signal) => systemClock.sleep(ms / factor, signal),
    after: (ms, run) => systemClock.after(ms / factor, run),
  };
}
