import type { Pod } from "#api/kubernetes.ts";
import { type Clock, fromTimestamp } from "#base/clock.ts";
import { STABLE_MS } from "#core/adapter/select.ts";
import { uidOf } from "./memory.ts";

/**
 * Since when pods are Ready, by this process's clock. The machines' clocks differ, and are set: a pod's word counts as far as it can be
 * true here.
 */
export class Readiness {
  readonly #clock: Clock;
  readonly #since = new Map<string, { told: number; sinceMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A pod came, changed or is gone. */
  saw(before: Pod | undefined, after: Pod | undefined): void {
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid) {
      this.#since.delete(uidOf(before));
    }
    if (after === undefined) return;
    const uid = uidOf(after);
    const told = readySince(after);
    if (told === undefined) this.#since.delete(uid);
    else if (this.#since.get(uid)?.told !== told) {
      this.#since.set(uid, { told, sinceMs: this.#sinceMs(told, before === undefined) });
    }
  }

  /** Since when the pod is Ready; undefined while it is not. */
  sinceMs(pod: Pod): number | undefined {
    return this.#since.get(uidOf(pod))?.sinceMs;
  }

  #sinceMs(told: number, isFirst: boolean): number {
    const now = this.#clock.now();
    const sinceMs = told - (this.#clock.offsetMs?.() ?? 0);
    // What was Ready before anybody looked, by a clock far ahead of ours: most likely it has been for long, and it may be serving.
    if (isFirst && sinceMs > now + STABLE_MS) return now - STABLE_MS;
    return Math.min(sinceMs, now);
  }
}

/** Since when a pod says that it is Ready, by the clock of its machine; undefined while it is not. */
export function readySince(pod: Pod): number | undefined {
  const ready = pod.status?.conditions?.find((condition) => condition.type === "Ready");
  return ready?.status === "True" ? (fromTimestamp(ready.lastTransitionTime) ?? 0) : undefined;
}
