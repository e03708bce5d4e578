/** How many adapters are meant for each pod, loaded there already or not. */
export class Occupancy {
  readonly #pods = new Map<string, Set<string>>();
  readonly #assigned = new Map<string, readonly string[]>();

  /** Adapters on a pod other than `adapter`. */
  others(pod: string, adapter: string): number {
    const held = this.#pods.get(pod);
    if (held === undefined) return 0;
    return held.size - (held.has(adapter) ? 1 : 0);
  }

  /** `adapter` is meant for these pods, and no others. */
  assign(adapter: string, pods: readonly string[]): void {
    for (const pod of this.#assigned.get(adapter) ?? []) {
      if (!pods.includes(pod)) this.#remove(pod, adapter);
    }
    for (const pod of pods) {
      const held = this.#pods.get(pod) ?? new Set<string>();
      this.#pods.set(pod, held.add(adapter));
    }
    if (pods.length === 0) this.#assigned.delete(adapter);
    else this.#assigned.set(adapter, pods);
  }

  forgetPod(pod: string): void {
    this.#pods.delete(pod);
  }

  #remove(pod: string, adapter: string): void {
    const held = this.#pods.get(pod);
    held?.delete(adapter);
    if (held?.size === 0) this.#pods.delete(pod);
  }
}
