import type { LabelSelector, Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { LABEL } from "#api/names.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { keyOf } from "#kube/client.ts";
import { portOf } from "./objects.ts";
import { recordedPods } from "./observe.ts";
import { type Place, placeOf } from "./places.ts";
import { type Auth, authOf } from "./secrets.ts";

/** Adapters of one namespace with one selector and one port: a fleet has a handful of these, however many adapters there are. */
interface Group {
  readonly namespace: string;
  readonly selector: LabelSelector;
  readonly port: number;
  readonly members: Set<string>;
  /** The keys that the members name for the engine, and how many do. */
  readonly auths: Map<string, { auth: Auth; count: number }>;
}

/** Keys that one pod's engine is asked with, at most: more than a fleet has in the middle of a change of keys. */
const AUTHS_MAX = 8;

/**
 * Which adapters are about which pods, kept up to date so that neither a poll nor an event has to look at every
 * adapter.
 */
export class Fleet {
  readonly #enableRuntimeSidecar: boolean;
  readonly #groups = new Map<string, Group>();
  /** `namespace/pod` -> adapters that are on record there. */
  readonly #records = new Map<string, Set<string>>();
  readonly #ports = new Map<string, number>();
  readonly #auths = new Map<string, Auth>();

  constructor(enableRuntimeSidecar: boolean) {
    this.#enableRuntimeSidecar = enableRuntimeSidecar;
  }

  /** An adapter was made, changed or is gone. */
  update(before: ModelAdapter | undefined, after: ModelAdapter | undefined): void {
    if (before !== undefined) this.#remove(before);
    if (after !== undefined) this.#add(after);
  }

  /** Keys of the adapters that select the pod, or are on record there. */
  adaptersOn(pod: Pod): Set<string> {
    const keys = new Set(this.#records.get(keyOf(pod)));
    for (const group of this.#groupsOf(pod)) for (const key of group.members) keys.add(key);
    return keys;
  }

  /** Where the adapters of a pod are asked for; none for a pod that no adapter is about. */
  placesOf(pod: Pod): Place[] {
    const ports = new Set<number>();
    if (pod.metadata.labels?.[LABEL.adapterEnabled] === "true") {
      for (const group of this.#groupsOf(pod)) ports.add(group.port);
    }
    for (const key of this.#records.get(keyOf(pod)) ?? []) ports.add(this.#ports.get(key) ?? 0);
    const places = new Map<string, Place>();
    for (const port of ports) {
      const place = placeOf(pod, port, this.#enableRuntimeSidecar);
      if (place !== undefined) places.set(place.id, place);
    }
    return [...places.values()];
  }

  /** What the adapters of a pod name as the engine's key, each once; those that are only left there come last. */
  authsOf(pod: Pod): Auth[] {
    const auths = new Map<string, Auth>();
    for (const group of this.#groupsOf(pod)) {
      for (const [id, { auth }] of group.auths) if (auths.size < AUTHS_MAX) auths.set(id, auth);
    }
    for (const key of this.#records.get(keyOf(pod)) ?? []) {
      const auth = this.#auths.get(key);
      if (auth !== undefined && auths.size < AUTHS_MAX) auths.set(JSON.stringify(auth), auth);
    }
    return [...auths.values()];
  }

  *#groupsOf(pod: Pod): Generator<Group> {
    for (const group of this.#groups.values()) {
      if (group.namespace !== pod.metadata.namespace) continue;
      if (matchesSelector(group.selector, pod.metadata.labels)) yield group;
    }
  }

  #add(adapter: ModelAdapter): void {
    const key = keyOf(adapter);
    const id = groupId(adapter);
    const group = this.#groups.get(id) ?? {
      namespace: adapter.metadata.namespace ?? "",
      selector: adapter.spec.podSelector,
      port: portOf(adapter),
      members: new Set<string>(),
      auths: new Map<string, { auth: Auth; count: number }>(),
    };
    this.#groups.set(id, group);
    group.members.add(key);
    const auth = authOf(adapter);
    const counted = group.auths.get(JSON.stringify(auth)) ?? { auth, count: 0 };
    group.auths.set(JSON.stringify(auth), { auth, count: counted.count + 1 });
    this.#ports.set(key, portOf(adapter));
    this.#auths.set(key, auth);
    for (const pod of recordKeys(adapter)) {
      const keys = this.#records.get(pod) ?? new Set<string>();
      this.#records.set(pod, keys.add(key));
    }
  }

  #remove(adapter: ModelAdapter): void {
    const key = keyOf(adapter);
    const id = groupId(adapter);
    const group = this.#groups.get(id);
    group?.members.delete(key);
    if (group?.members.size === 0) this.#groups.delete(id);
    const authId = JSON.stringify(authOf(adapter));
    const counted = group?.auths.get(authId);
    if (counted !== undefined && counted.count > 1) counted.count--;
    else group?.auths.delete(authId);
    this.#ports.delete(key);
    this.#auths.delete(key);
    for (const pod of recordKeys(adapter)) {
      const keys = this.#records.get(pod);
      keys?.delete(key);
      if (keys?.size === 0) this.#records.delete(pod);
    }
  }
}

function groupId(adapter: ModelAdapter): string {
  const { namespace } = adapter.metadata;
  return JSON.stringify([namespace, adapter.spec.podSelector, portOf(adapter)]);
}

function recordKeys(adapter: ModelAdapter): string[] {
  return [...recordedPods(adapter)].map((name) => `${adapter.metadata.namespace}/${name}`);
}
