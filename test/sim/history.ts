/** When what happened, as far as invariants ask for it. */
import type { EndpointSlice, KubeObject } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { jsonEqual } from "#base/json.ts";
import { recordedPods } from "#controller/observe.ts";
import { keyOf } from "#kube/client.ts";
import type { Change } from "./api-server.ts";
import type { VirtualTime } from "./virtual-time.ts";

interface Mark {
  readonly atMs: number;
  readonly actor: string;
}

const NEVER: Mark = { atMs: Number.NEGATIVE_INFINITY, actor: "nobody" };

export class History {
  readonly #time: VirtualTime;
  readonly #specs = new Map<string, number>();
  readonly #pods = new Map<string, number>();
  readonly #doomed = new Map<string, number>();
  readonly #unpublished = new Map<string, Mark>();
  readonly #slices = new Map<string, Mark>();
  /** EndpointSlices whose last write was not answered. */
  readonly #lost = new Set<string>();
  readonly #held = new Map<string, number>();
  readonly #records = new Set<string>();
  readonly #secrets = new Map<string, number>();

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  note(change: Change): void {
    const { plural, before, after } = change;
    if (before === after) return;
    const object = after ?? before;
    const uid = object?.metadata.uid ?? "";
    const now = this.#time.now();
    if (plural === "pods") this.#pods.set(uid, now);
    if (plural === "secrets") this.#secrets.set(object === undefined ? "" : keyOf(object), now);
    if (plural === "endpointslices") this.#noteSlice(change);
    if (plural !== "modeladapters") return;
    if (after !== undefined) this.#noteRecord(after as ModelAdapter);
    if (!jsonEqual(specOf(before), specOf(after)) || !sameLabels(before, after)) {
      this.#specs.set(uid, now);
    }
    const wasDoomed = before?.metadata.deletionTimestamp !== undefined;
    if (!wasDoomed && after?.metadata.deletionTimestamp !== undefined) this.#doomed.set(uid, now);
  }

  /** When the spec was last changed, its making included. */
  specChangedMs(uid: string | undefined): number {
    return this.#specs.get(uid ?? "") ?? Number.NEGATIVE_INFINITY;
  }

  podChangedMs(uid: string): number {
    return this.#pods.get(uid) ?? Number.NEGATIVE_INFINITY;
  }

  secretChangedMs(key: string): number {
    return this.#secrets.get(key) ?? Number.NEGATIVE_INFINITY;
  }

  doomedMs(uid: string | undefined): number | undefined {
    return this.#doomed.get(uid ?? "");
  }

  /** When an EndpointSlice last stopped naming a pod, and who saw to it. */
  unpublished(slice: string, pod: string): Mark {
    return this.#unpublished.get(`${slice} ${pod}`) ?? NEVER;
  }

  /** The last write of an EndpointSlice. */
  sliceWritten(slice: string): Mark {
    return this.#slices.get(slice) ?? NEVER;
  }

  /** It was written down once that an adapter of the name may be on the pod. */
  wasRecorded(adapter: string, pod: string): boolean {
    return this.#records.has(`${adapter} ${pod}`);
  }

  #noteRecord(adapter: ModelAdapter): void {
    for (const pod of recordedPods(adapter)) this.#records.add(`${keyOf(adapter)} ${pod}`);
  }

  /** An engine has an adapter of the name from now on, or no longer. */
  noteHeld(adapter: string): void {
    this.#held.set(adapter, this.#time.now());
  }

  heldChangedMs(adapter: string): number {
    return this.#held.get(adapter) ?? 0;
  }

  /** Whoever wrote the object last does not know whether it did. */
  noteLost(plural: string, key: string): void {
    if (plural === "endpointslices") this.#lost.add(key);
  }

  isLost(slice: string): boolean {
    return this.#lost.has(slice);
  }

  #noteSlice({ before, after, actor }: Change): void {
    const mark = { atMs: this.#time.now(), actor };
    const slice = after ?? before;
    const key = slice === undefined ? "" : keyOf(slice);
    this.#slices.set(key, mark);
    this.#lost.delete(key);
    const now = namesIn(after);
    for (const pod of namesIn(before)) {
      if (!now.includes(pod)) this.#unpublished.set(`${key} ${pod}`, mark);
    }
  }
}

const specOf = (object: KubeObject | undefined) => (object as { spec?: unknown } | undefined)?.spec;

function sameLabels(a: KubeObject | undefined, b: KubeObject | undefined): boolean {
  return jsonEqual(a?.metadata.labels ?? {}, b?.metadata.labels ?? {});
}

export function namesIn(slice: KubeObject | undefined): string[] {
  const endpoints = (slice as EndpointSlice | undefined)?.endpoints ?? [];
  return endpoints.map((endpoint) => endpoint.targetRef?.name ?? "");
}
