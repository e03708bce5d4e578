import { messageOf } from "#base/errors.ts";
import { type JsonObject, jsonEqual } from "#base/json.ts";
import { WorkQueue } from "#kube/workqueue.ts";
import { objectAt, stringAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import type { Change, ObjectName } from "../registry/object-api.ts";
import {
  type CollectionPlan,
  finalizersOf,
  isDeleting,
  isWaiting,
  type OwnerState,
  planCollection,
  referencesOf,
  uidOf,
  uidOfReference,
} from "./collection-plan.ts";
import { BACKOFF_MAX_MS, type ControllerDeps, ignoreAbsence, nameOf, turn } from "./controller.ts";

interface Node {
  readonly group: string;
  readonly kind: string;
  readonly name: ObjectName;
  readonly owners: readonly JsonObject[];
}

/** Objects that have gone, of which it is remembered that they have; as many as in Kubernetes. */
const GONE_MAX = 500;
/** The queue's key for "the kinds have changed"; uids have no spaces. */
const KINDS_CHANGED = "all kinds";
/**
 * Deletes objects whose owners are gone and carries out deletions in the foreground or with orphans,
 * until `signal` is aborted. Knows nothing from before: every start looks at all objects.
 */
export async function runGarbageCollector(
  deps: ControllerDeps,
  signal: AbortSignal,
): Promise<void> {
  const queue = new WorkQueue({ clock: deps.clock, backoffMaxMs: BACKOFF_MAX_MS });
  const collector = new Collector(deps, (uid) => queue.add(uid));
  const unsubscribe = deps.api.onChange((change) => collector.hear(change));
  collector.lookAtAll();
  await queue.run(
    1,
    async (uid) => {
      if (collector.handle(uid)) await turn();
      return undefined;
    },
    (uid, error) => {
      deps.log.warn("Garbage collection will try again", { uid, error: messageOf(error) });
    },
    signal,
  );
  unsubscribe();
}

/** Who refers to whom, by uid, and what follows from it. */
class Collector {
  readonly #deps: ControllerDeps;
  readonly #add: (uid: string) => void;
  readonly #nodes = new Map<string, Node>();
  /** uid of an owner -> uids of what refers to it. */
  readonly #dependents = new Map<string, Set<string>>();
  /** uids of what has gone, the oldest first: its kind may go before its dependents are looked at. */
  readonly #gone = new Set<string>();
  #kindsSeen = "";

  constructor(deps: ControllerDeps, add: (uid: string) => void) {
    this.#deps = deps;
    this.#add = add;
  }

  /** Starts from what is there now. */
  lookAtAll(): void {
    this.#nodes.clear();
    this.#dependents.clear();
    this.#kindsSeen = this.#kindsNow();
    for (const kind of this.#deps.api.kinds()) {
      if (!isCollected(kind)) continue;
      for (const object of this.#deps.api.list(kind)) {
        this.#enter(kind, object);
        if (referencesOf(object).length > 0 || isDeleting(object)) this.#add(uidOf(object));
      }
    }
  }

  hear({ kind, before, after }: Change): void {
    // Whether kinds are served is known when everybody has heard of the change.
    if (kind.kind === "CustomResourceDefinition") this.#add(KINDS_CHANGED);
    if (!isCollected(kind)) return;
    const uid = uidOf(after ?? before ?? {});
    const old = referencesOf(before ?? {});
    const references = referencesOf(after ?? {});
    if (after === undefined) this.#forget(uid);
    else this.#enter(kind, after);
    // Before the owner itself, which may go at once: how they are deleted depends on seeing it wait.
    if (after === undefined || (isWaiting(after) && !isWaiting(before ?? {}))) {
      for (const dependent of this.#dependents.get(uid) ?? []) this.#add(dependent);
    }
    if (after !== undefined && (references.length > 0 || isDeleting(after))) this.#add(uid);
    // Owners may have waited for this one.
    if (after === undefined || !jsonEqual(old, references)) {
      for (const reference of old) {
        const owner = uidOfReference(reference);
        if (this.#nodes.has(owner)) this.#add(owner);
      }
    }
  }

  /** Does what has to be done about one object; tells whether something was written. */
  handle(uid: string): boolean {
    if (uid === KINDS_CHANGED) {
      if (this.#kindsNow() !== this.#kindsSeen) this.lookAtAll();
      return false;
    }
    const found = this.#find(uid);
    if (found === undefined) return false;
    const { kind, object } = found;
    const owners = referencesOf(object).map((reference) => this.#stateOf(reference, object));
    const dependents = [...(this.#dependents.get(uid) ?? [])]
      .map((dependent) => this.#find(dependent)?.object)
      .filter((dependent) => dependent !== undefined);
    return this.#act(kind, object, planCollection(object, owners, dependents));
  }

  #act(kind: Kind, object: JsonObject, plan: CollectionPlan): boolean {
    const { api, log } = this.#deps;
    let latest = object;
    for (const { object: changed, ownerReferences } of plan.references) {
      const changedKind = this.#find(uidOf(changed))?.kind;
      if (changedKind === undefined) continue;
      const references = ownerReferences.length === 0 ? null : [...ownerReferences];
      const written = this.#patch(changedKind, changed, { ownerReferences: references });
      if (uidOf(changed) === uidOf(object) && written !== undefined) latest = written;
    }
    if (plan.finalizer !== undefined) {
      const finalizers = finalizersOf(latest).filter((name) => name !== plan.finalizer);
      this.#patch(kind, latest, { finalizers: finalizers.length === 0 ? null : finalizers });
    }
    if (plan.deletion !== undefined) {
      const name = nameOf(latest);
      log.debug("Collecting garbage", { kind: kind.kind, ...name, policy: plan.deletion });
      const preconditions = {
        uid: uidOf(latest),
        resourceVersion: stringAt(objectAt(latest, "metadata"), "resourceVersion"),
      };
      ignoreAbsence(() => {
        const propagationPolicy = plan.deletion ?? "Background";
        api.delete(kind, name, { preconditions, propagationPolicy });
        return undefined;
      });
    }
    return (
      plan.references.length > 0 || plan.finalizer !== undefined || plan.deletion !== undefined
    );
  }

  /** Changes metadata of exactly the version that the decision was about. */
  #patch(kind: Kind, object: JsonObject, change: JsonObject): JsonObject | undefined {
    const { resourceVersion = "" } = objectAt(object, "metadata");
    const metadata = { uid: uidOf(object), resourceVersion, ...change };
    return ignoreAbsence(() => this.#deps.api.patch(kind, nameOf(object), { metadata }));
  }

  /** What an ownerReference of `object` leads to. */
  #stateOf(reference: JsonObject, object: JsonObject): OwnerState {
    const { api } = this.#deps;
    if (this.#gone.has(uidOfReference(reference))) return "absent";
    const kind = api.kindNamed(stringAt(reference, "apiVersion"), stringAt(reference, "kind"));
    if (kind === undefined) return "unknown";
    const { namespace } = nameOf(object);
    // An object outside all namespaces cannot say which one its owner is in.
    if (kind.namespaced && namespace === "") return "unknown";
    const owner = api.get(kind, {
      namespace: kind.namespaced ? namespace : "",
      name: stringAt(reference, "name"),
    });
    if (owner === undefined || uidOf(owner) !== uidOfReference(reference)) return "absent";
    return isWaiting(owner) ? "waiting" : "solid";
  }

  /** The object as it is now, under the kind as it is served now. */
  #find(uid: string): { kind: Kind; object: JsonObject } | undefined {
    const node = this.#nodes.get(uid);
    if (node === undefined) return undefined;
    const { api } = this.#deps;
    const kind = api
      .kinds()
      .find((candidate) => candidate.kind === node.kind && candidate.group === node.group);
    const object = kind === undefined ? undefined : api.get(kind, node.name);
    if (kind === undefined || object === undefined || uidOf(object) !== uid) return undefined;
    return { kind, object };
  }

  #enter(kind: Kind, object: JsonObject): void {
    const uid = uidOf(object);
    this.#leave(uid);
    const owners = referencesOf(object);
    this.#nodes.set(uid, { group: kind.group, kind: kind.kind, name: nameOf(object), owners });
    for (const owner of owners.map(uidOfReference)) {
      const known = this.#dependents.get(owner);
      if (known === undefined) this.#dependents.set(owner, new Set([uid]));
      else known.add(uid);
    }
  }

  #leave(uid: string): void {
    for (const owner of this.#nodes.get(uid)?.owners.map(uidOfReference) ?? []) {
      const known = this.#dependents.get(owner);
      known?.delete(uid);
      if (known?.size === 0) this.#dependents.delete(owner);
    }
    this.#nodes.delete(uid);
  }

  #forget(uid: string): void {
    this.#leave(uid);
    this.#gone.add(uid);
    const [oldest = ""] = this.#gone;
    if (this.#gone.size > GONE_MAX) this.#gone.delete(oldest);
  }

  #kindsNow(): string {
    const names = this.#deps.api.kinds().map(({ group, kind }) => `${group}/${kind}`);
    return names.sort().join(" ");
  }
}

/** Events refer to objects otherwise, come in great numbers and go by themselves. */
const isCollected = (kind: Kind) => kind.kind !== "Event" || kind.custom;
