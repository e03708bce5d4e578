import { Semaphore } from "./semaphore.ts";

/** One holder at a time for each key, in the order in which they came. Keys that nobody holds cost nothing. */
export class KeyedMutex {
  readonly #locks = new Map<string, { semaphore: Semaphore; users: number }>();

  /** Runs `work` while holding `key`. `signal` only ends the waiting. */
  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const lock = this.#locks.get(key) ?? { semaphore: new Semaphore(1), users: 0 };
    this.#locks.set(key, lock);
    lock.users++;
    try {
      return await lock.semaphore.run(work, signal);
    } finally {
      if (--lock.users === 0) this.#locks.delete(key);
    }
  }

  isHeld(key: string): boolean {
    return this.#locks.has(key);
  }
}
