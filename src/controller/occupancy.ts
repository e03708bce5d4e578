const LISTED = 1;
const ASSIGNED = 2;

/** How many adapters each pod has: those that its engine lists, and those that are meant for it. */
export class Occupancy {
  readonly #pods = new Map<string, Map<string, number>>();
  readonly #assigned = new Map<string, readonly string[]>();

  /** Adapters on a pod other than `adapter`. */
  others(pod: string, adapter: string): number {
    const held = this.#pods.get(pod);
    if (held === undefined) return 0;
    return held.size - (held.has(adapter) ? 1 : 0);
  }

  /** The engine of `pod` lists `adapter`, or no longer does. */
  listed(pod: string, adapter: string, isListed: boolean): void {
    this.#set(pod, adapter, LISTED, isListed);
  }

  /** `adapter` is meant for these pods, and no others. */
  assign(adapter: string, pods: readonly string[]): void {
    const before = this.#assigned.get(adapter) ?? [];
    for (const pod of before) if (!pods.includes(pod)) this.#set(pod, adapter, ASSIGNED, false);
    for (const pod of pods) this.#set(pod, adapter, ASSIGNED, true);
    if (pods.length === 0) this.#assigned.delete(adapter);
    else this.#assigned.set(adapter, pods);
  }

  forgetPod(pod: string): void {
    this.#pods.delete(pod);
  }

  #set(pod: string, adapter: string, flag: number, isSet: boolean): void {
    const held = this.#pods.get(pod) ?? new Map<string, number>();
    const before = held.get(adapter) ?? 0;
    const after = isSet ? before | flag : before & ~flag;
    if (after === 0) held.delete(adapter);
    else held.set(adapter, after);
    if (held.size === 0) this.#pods.delete(pod);
    else this.#pods.set(pod, held);
  }
}
