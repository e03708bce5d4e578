import type { Pod } from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import { Semaphore } from "#base/semaphore.ts";
import type { Engine, EngineTarget } from "#engine/engine.ts";

/** Lists under way at once, over all pods. */
const LISTS_MAX = 32;

/** What a pod's engine listed: adapter -> the path it was loaded from. */
export type Listed = ReadonlyMap<string, string | undefined>;

export interface InventoryDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  /** The pods to ask, and how. */
  readonly targets: () => readonly { pod: Pod; target: EngineTarget }[];
  /** A pod's list is another than before. */
  readonly onChange: (pod: Pod) => void;
}

/**
 * What each engine holds, by asking it: one list a pod and poll, whatever the number of adapters. A pod that does not answer is
 * unknown, never empty.
 */
export class Inventory {
  readonly #deps: InventoryDeps;
  readonly #lists = new Map<string, Listed>();
  readonly #silent = new Set<string>();
  readonly #asking = new Set<string>();
  readonly #places = new Semaphore(LISTS_MAX);

  constructor(deps: InventoryDeps) {
    this.#deps = deps;
  }

  /** `unknown`: not asked yet; `silent`: asked, without an answer. */
  of(pod: Pod): Listed | "unknown" | "silent" {
    const id = idOf(pod);
    return this.#lists.get(id) ?? (this.#silent.has(id) ? "silent" : "unknown");
  }

  /** The engine may have forgotten everything: its container or its readiness changed. */
  forget(pod: Pod): void {
    this.#lists.delete(idOf(pod));
    this.#silent.delete(idOf(pod));
  }

  /** Notes what an answered load or unload says, before the next list confirms it. */
  note(pod: Pod, adapter: string, root: string | undefined, held: boolean): void {
    const list = new Map(this.#lists.get(idOf(pod)) ?? []);
    if (held) list.set(adapter, root);
    else list.delete(adapter);
    this.#lists.set(idOf(pod), list);
  }

  /** Asks all pods every `pollMs` until `signal` is aborted. */
  async run(pollMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const targets = this.#deps.targets();
      const present = new Set(targets.map(({ pod }) => idOf(pod)));
      for (const id of [...this.#lists.keys(), ...this.#silent]) {
        if (present.has(id)) continue;
        this.#lists.delete(id);
        this.#silent.delete(id);
      }
      // A pod that hangs delays itself only: nobody waits for it here.
      for (const { pod, target } of targets) void this.ask(pod, target, signal);
      await this.#deps.clock.sleep(pollMs, signal).catch(() => undefined);
    }
  }

  /** Asks one pod now. */
  async ask(pod: Pod, target: EngineTarget, signal: AbortSignal): Promise<void> {
    const id = idOf(pod);
    if (this.#asking.has(id)) return;
    this.#asking.add(id);
    const before = this.of(pod);
    try {
      await this.#places.run(async () => {
        const held = await this.#deps.engine.inventory(target, signal);
        this.#lists.set(id, new Map(held.map(({ name, root }) => [name, root])));
        this.#silent.delete(id);
      }, signal);
    } catch {
      // Why it does not answer is told by the load that fails, and by the pod's own readiness.
      this.#lists.delete(id);
      this.#silent.add(id);
    } finally {
      this.#asking.delete(id);
    }
    if (!signal.aborted && !sameList(before, this.of(pod))) this.#deps.onChange(pod);
  }
}

const idOf = (pod: Pod) => pod.metadata.uid ?? `${pod.metadata.namespace}/${pod.metadata.name}`;

function sameList(a: Listed | string, b: Listed | string): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.size === b.size && [...a].every(([name, root]) => b.has(name) && b.get(name) === root);
}
