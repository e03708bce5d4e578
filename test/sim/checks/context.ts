import type { Calm } from "../calm.ts";
import type { Controllers } from "../controllers.ts";
import type { Facts } from "../facts.ts";
import type { History } from "../history.ts";
import type { VirtualTime } from "../virtual-time.ts";

/** What an invariant looks at, and where it tells that it does not hold. */
export interface CheckContext {
  readonly time: VirtualTime;
  readonly facts: Facts;
  readonly history: History;
  readonly calm: Calm;
  readonly controllers: () => Controllers;
  readonly report: (invariant: string, text: string) => void;
}

/** Since when something lasts, and whether that is longer than it may. */
export class Lasting {
  readonly #since = new Map<string, number>();
  #seen = new Set<string>();

  /** For how long `key` has lasted, not counting what was before `excusedMs`. */
  lastedMs(key: string, isSo: boolean, nowMs: number, excusedMs: number): number {
    if (!isSo) return 0;
    this.#seen.add(key);
    const since = this.#since.get(key) ?? nowMs;
    this.#since.set(key, since);
    return nowMs - Math.max(since, excusedMs);
  }

  /** Ends a look at everything: what was not said to be so is over. */
  endLook(): void {
    for (const key of this.#since.keys()) if (!this.#seen.has(key)) this.#since.delete(key);
    this.#seen = new Set();
  }
}
