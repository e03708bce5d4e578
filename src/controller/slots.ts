import type { Clock } from "#base/clock.ts";
import { Semaphore } from "#base/semaphore.ts";

/** Operations under way at once on one pod, and over all pods, of those that have not become slow. */
const PER_POD_MAX = 4;
const OVERALL_MAX = 256;
/** What takes longer downloads, or hangs: others need not wait for it. */
const SLOW_MS = 10_000;
/** Slow ones and others on one pod. */
const PER_POD_SLOW_MAX = 32;

/** The operations on one pod, as one of them sees them. */
export interface Turns {
  /** When one of them last succeeded, or the first began: as long as they do, all will have their turn. Milliseconds since the epoch. */
  movedMs: number;
}

interface Pod extends Turns {
  users: number;
  /** All that are under way. */
  readonly all: Semaphore;
  /** Those that are not slow. */
  readonly quick: Semaphore;
}

/**
 * Places for the operations on engines, a share for each pod: what hangs on some pods takes nothing from the others, and what hangs on
 * one pod makes room for the rest there.
 */
export class Slots {
  readonly #clock: Clock;
  readonly #pods = new Map<string, Pod>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs `work` as soon as the pod has a place for it; `onQueue` hears at once in whose company. */
  async run(
    pod: string,
    work: () => Promise<void>,
    signal: AbortSignal,
    onQueue?: (turns: Turns) => void,
  ): Promise<void> {
    const entry = this.#pods.get(pod) ?? this.#fresh();
    this.#pods.set(pod, entry);
    entry.users++;
    onQueue?.(entry);
    try {
      const quick = () => whileQuick(entry.quick, this.#clock, SLOW_MS, work, signal);
      await entry.all.run(quick, signal);
      entry.movedMs = this.#clock.now();
    } finally {
      if (--entry.users === 0) this.#pods.delete(pod);
    }
  }

  #fresh(): Pod {
    const share = () =>
      Math.max(1, Math.min(PER_POD_MAX, Math.floor(OVERALL_MAX / this.#pods.size)));
    const movedMs = this.#clock.now();
    return { users: 0, movedMs, all: new Semaphore(PER_POD_SLOW_MAX), quick: new Semaphore(share) };
  }
}

/** Runs `work` with a place that it holds for `maxMs` at most: whatever takes longer, others need not wait for. */
export async function whileQuick<T>(
  places: Semaphore,
  clock: Clock,
  maxMs: number,
  work: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const leave = await places.acquire(signal);
  const disarm = clock.after(maxMs, leave);
  try {
    return await work();
  } finally {
    disarm();
    leave();
  }
}
