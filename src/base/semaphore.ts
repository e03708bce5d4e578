import { abortReason } from "./abort.ts";

/** At most `limit` holders at once; waiters are served in the order in which they came. */
export class Semaphore {
  readonly #limit: number;
  #held = 0;
  readonly #waiters: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Waits for a place; call the returned function once to give it back. */
  async acquire(signal?: AbortSignal): Promise<() => void> {
    if (signal?.aborted) throw abortReason(signal);
    if (this.#held < this.#limit) this.#held++;
    else await this.#wait(signal);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const next = this.#waiters.shift();
      // The place goes straight to the next waiter, so a newcomer cannot overtake it.
      if (next === undefined) this.#held--;
      else next();
    };
  }

  /** Runs `work` while holding a place. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const release = await this.acquire(signal);
    try {
      return await work();
    } finally {
      release();
    }
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = () => {
        signal?.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        this.#waiters.splice(this.#waiters.indexOf(enter), 1);
        reject(abortReason(signal as AbortSignal));
      };
      this.#waiters.push(enter);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }
}
