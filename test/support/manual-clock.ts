import { abortReason } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";

interface Timer {
  atMs: number;
  run: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<Timer>();

  constructor(startMs = 1_767_225_600_000) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortReason(signal));
      const leave = () => {
        cancel();
        reject(abortReason(signal as AbortSignal));
      };
      const cancel = this.after(ms, () => {
        signal?.removeEventListener("abort", leave);
        resolve();
      });
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, ms), run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** How many timers wait; a test can wait until the code under test has armed one. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time by `ms`, running what falls due in order; what it sets off runs before this resolves. */
  async advance(ms: number): Promise<void> {
    // What was set off before must have armed its timers at the time of that.
    await settle();
    const end = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers]
        .filter((timer) => timer.atMs <= end)
        .reduce<Timer | undefined>(
          (a, b) => (a === undefined || b.atMs < a.atMs ? b : a),
          undefined,
        );
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.run();
      await settle();
    }
    this.#nowMs = end;
    await settle();
  }
}

/** Lets promises that are already decided run to their end. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
