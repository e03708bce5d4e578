import { abortReason } from "./abort.ts";

/** At most `limit` holders at once; waiters are served in the order in which they came. */
export class Semaphore {
  readonly #limit: () => number;
  #held = 0;
  readonly #waiters: (() => void)[] = [];

  /** @param limit may change; it is asked for whenever a holder comes or goes */
  constructor(limit: number | (() => number)) {
    this.#limit = typeof limit === "number" ? () => limit : limit;
  }

  /** Waits for a place; call the returned function once to give it back. */
  async acquire(signal?: AbortSignal): Promise<() => void> {
    if (signal?.aborted) throw abortReason(signal);
    const turn = this.#wait(signal);
    this.#admit();
    await turn;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#held--;
      // A free place goes straight to the next waiter, so a newcomer cannot overtake it.
      this.#admit();
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

  #admit(): void {
    while (this.#held < this.#limit()) {
      const next = this.#waiters.shift();
      if (next === undefined) return;
      this.#held++;
      next();
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
