import { abortReason } from "./abort.ts";

/**
 * One piece of work that several callers wait for. Each may leave by its own signal; the work is
 * aborted when the last one has left, or by `cancel`.
 */
export class SharedTask<T> {
  readonly #stop: Abortable;
  readonly #result: Promise<T>;
  #callers = 0;
  #isSettled = false;

  /** @param stop what the work listens to; made by the caller, as this room has no AbortController. */
  constructor(stop: Abortable, work: (signal: AbortSignal) => Promise<T>) {
    this.#stop = stop;
    this.#result = work(stop.signal).finally(() => {
      this.#isSettled = true;
    });
    // Everybody may have left by the time it fails.
    this.#result.catch(() => {});
  }

  /** False once it has ended or nobody wants it any more. */
  get isJoinable(): boolean {
    return !this.#isSettled && !this.#stop.signal.aborted;
  }

  /** Resolves with the work; rejects with the reason of `signal` when this caller leaves before. */
  join(signal?: AbortSignal): Promise<T> {
    this.#callers++;
    return new Promise((resolve, reject) => {
      const leave = () => {
        const reason = abortReason(signal as AbortSignal);
        reject(reason);
        if (--this.#callers === 0 && !this.#isSettled) this.#stop.abort(reason);
      };
      if (signal?.aborted) {
        leave();
        return;
      }
      signal?.addEventListener("abort", leave, { once: true });
      const stay = () => signal?.removeEventListener("abort", leave);
      this.#result.then(resolve, reject).finally(stay);
    });
  }

  cancel(reason: Error): void {
    if (!this.#isSettled) this.#stop.abort(reason);
  }
}

interface Abortable {
  readonly signal: AbortSignal;
  abort(reason: Error): void;
}
