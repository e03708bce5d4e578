import { randomUUID } from "node:crypto";
import { type Clock, toTimestamp } from "#base/clock.ts";
import { isObject, type JsonObject, jsonEqual } from "#base/json.ts";
import { applyMergePatch } from "#base/merge-patch.ts";
import { objectAt, stringAt, stringsAt } from "#local/apiserver/json-access.ts";
import { builtinKinds } from "#local/apiserver/kinds/builtin-kinds.ts";
import { kindsOfCrd } from "#local/apiserver/kinds/crd-kinds.ts";
import type { Kind } from "#local/apiserver/kinds/kind.ts";
import {
  ApiError,
  alreadyExists,
  conflict,
  forbidden,
  modifiedSince,
  notFound,
} from "#local/apiserver/registry/api-error.ts";
import type {
  Change,
  DeleteRequest,
  ObjectApi,
  ObjectName,
  Preconditions,
} from "#local/apiserver/registry/object-api.ts";

const GC_FINALIZERS = { Orphan: ["orphan"], Foreground: ["foregroundDeletion"], Background: [] };
const POLICY_FINALIZERS = ["orphan", "foregroundDeletion"];

/**
 * The embedded API's objects in memory, without schemas, for tests of its controllers. What it does
 * with uids, versions, finalizers, graceful pods and namespaces is what the real one does.
 */
export class MemoryObjects implements ObjectApi {
  /** Writes that changed something, as `verb plural namespace/name`. */
  readonly writes: string[] = [];
  readonly #clock: Clock;
  readonly #objects = new Map<string, { kind: Kind; object: JsonObject }>();
  readonly #listeners = new Set<(change: Change) => void>();
  #version = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  kinds(): readonly Kind[] {
    const crd = builtinKinds().find(({ kind }) => kind === "CustomResourceDefinition");
    const custom = crd === undefined ? [] : this.list(crd).flatMap(kindsOfCrd);
    return [...builtinKinds(), ...custom];
  }

  kindNamed(apiVersion: string, kind: string): Kind | undefined {
    return this.kinds().find(
      (one) =>
        one.kind === kind && apiVersion === [one.group, one.version].filter(Boolean).join("/"),
    );
  }

  /** The kind with this name that is served first. */
  kind(name: string): Kind {
    const found = this.kinds().find((kind) => kind.kind === name);
    if (found === undefined) throw new Error(`no kind ${name}`);
    return found;
  }

  get(kind: Kind, name: ObjectName): JsonObject | undefined {
    return this.#objects.get(keyOf(kind, name))?.object;
  }

  list(kind: Kind, namespace?: string): readonly JsonObject[] {
    return [...this.#objects]
      .filter(([, { kind: own }]) => own.plural === kind.plural && own.group === kind.group)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { object }]) => object)
      .filter((object) => namespace === undefined || nameOf(object).namespace === namespace);
  }

  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  create(kind: Kind, object: JsonObject): JsonObject {
    const metadata = objectAt(object, "metadata");
    const name = nameOf(object);
    if (this.get(kind, name) !== undefined) throw alreadyExists(kind, name.name, false);
    if (kind.namespaced) this.#checkNamespace(kind, name);
    const made: JsonObject = {
      apiVersion: [kind.group, kind.version].filter(Boolean).join("/"),
      kind: kind.kind,
      ...object,
      ...(kind.kind === "Namespace"
        ? { spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } }
        : {}),
      metadata: {
        ...metadata,
        uid: randomUUID(),
        creationTimestamp: toTimestamp(this.#clock.now()),
        generation: 1,
      },
    };
    return this.#store("create", kind, undefined, made);
  }

  patch(kind: Kind, name: ObjectName, patch: JsonObject, subresource?: "status"): JsonObject {
    const before = this.#existing(kind, name);
    const wanted = objectAt(patch, "metadata");
    check(kind, before, {
      uid: textOf(wanted["uid"]),
      resourceVersion: textOf(wanted["resourceVersion"]),
    });
    const merged = applyMergePatch(before, patch) as JsonObject;
    const old = objectAt(before, "metadata");
    const { finalizers, ownerReferences, labels, annotations } = objectAt(merged, "metadata");
    const changeable = { finalizers, ownerReferences, labels, annotations };
    const metadata = withoutUndefined({ ...old, ...changeable });
    const hasStatus = kind.subresources.includes("status");
    const after: JsonObject =
      subresource === "status"
        ? { ...before, status: merged["status"] ?? {} }
        : { ...merged, metadata, ...(hasStatus ? { status: before["status"] ?? {} } : {}) };
    const added = stringsAt(metadata, "finalizers").filter(
      (finalizer) => !stringsAt(old, "finalizers").includes(finalizer),
    );
    if (old["deletionTimestamp"] !== undefined && added.length > 0) {
      throw forbidden(
        kind,
        name.name,
        "no new finalizers can be added if the object is being deleted",
      );
    }
    if (jsonEqual(before, after)) return before;
    return this.#store("patch", kind, before, after);
  }

  delete(kind: Kind, name: ObjectName, request: DeleteRequest): void {
    const before = this.#existing(kind, name);
    check(kind, before, request.preconditions ?? {});
    const old = objectAt(before, "metadata");
    const policy = request.propagationPolicy;
    const kept = stringsAt(old, "finalizers").filter(
      (finalizer) => policy === undefined || !POLICY_FINALIZERS.includes(finalizer),
    );
    const finalizers = [...kept, ...(policy === undefined ? [] : GC_FINALIZERS[policy])];
    const grace = graceOf(kind, before, request);
    const after = {
      ...before,
      metadata: withoutUndefined({
        ...old,
        finalizers: finalizers.length === 0 ? undefined : finalizers,
        deletionTimestamp:
          old["deletionTimestamp"] ?? toTimestamp(this.#clock.now() + grace * 1000),
        deletionGracePeriodSeconds: grace,
      }),
    };
    if (!jsonEqual(before, after)) this.#store("delete", kind, before, after);
  }

  /** What PUT namespaces/<name>/finalize does: nobody but the objects' finalizers hold it now. */
  finalizeNamespace(name: string): void {
    const kind = this.kind("Namespace");
    const before = this.#existing(kind, { namespace: "", name });
    const finalizers = stringsAt(objectAt(before, "spec"), "finalizers");
    const spec = { finalizers: finalizers.filter((finalizer) => finalizer !== "kubernetes") };
    this.#store("finalize", kind, before, { ...before, spec });
  }

  #existing(kind: Kind, name: ObjectName): JsonObject {
    const object = this.get(kind, name);
    if (object === undefined) throw notFound(kind, name.name);
    return object;
  }

  #checkNamespace(kind: Kind, { namespace, name }: ObjectName): void {
    const namespaces = this.kind("Namespace");
    const found = this.#existing(namespaces, { namespace: "", name: namespace });
    if (objectAt(found, "metadata")["deletionTimestamp"] === undefined) return;
    const message = `unable to create new content in namespace ${namespace} because it is being terminated`;
    throw forbidden(kind, name, message);
  }

  /** Writes the object, or lets it go when nothing holds it any more, and tells. */
  #store(verb: string, kind: Kind, before: JsonObject | undefined, after: JsonObject): JsonObject {
    const name = nameOf(after);
    const key = keyOf(kind, name);
    this.writes.push(`${verb} ${kind.plural} ${name.namespace}/${name.name}`);
    const metadata = { ...objectAt(after, "metadata"), resourceVersion: String(++this.#version) };
    const object = { ...after, metadata };
    const isGone = isLetGo(kind, object);
    if (isGone) this.#objects.delete(key);
    else this.#objects.set(key, { kind, object });
    const change = { kind, before, after: isGone ? undefined : object };
    for (const listener of this.#listeners) listener(change);
    return object;
  }
}

function isLetGo(kind: Kind, object: JsonObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = objectAt(object, "metadata");
  const finalizers = stringsAt(objectAt(object, "metadata"), "finalizers");
  const own = kind.kind === "Namespace" ? stringsAt(objectAt(object, "spec"), "finalizers") : [];
  const isHeld = finalizers.length > 0 || own.length > 0 || deletionGracePeriodSeconds !== 0;
  return deletionTimestamp !== undefined && !isHeld;
}

/** Only pods that a kubelet runs take their time. */
function graceOf(kind: Kind, object: JsonObject, { gracePeriodSeconds }: DeleteRequest): number {
  const spec = objectAt(object, "spec");
  if (kind.kind !== "Pod" || stringAt(spec, "nodeName") === "") return 0;
  const held = objectAt(object, "metadata")["deletionGracePeriodSeconds"];
  const wanted = gracePeriodSeconds ?? Number(spec["terminationGracePeriodSeconds"] ?? 30);
  return typeof held === "number" ? Math.min(held, wanted) : wanted;
}

function check(
  kind: Kind,
  object: JsonObject,
  wanted: Record<keyof Preconditions, string | undefined> | Preconditions,
): void {
  const { name, uid, resourceVersion } = objectAt(object, "metadata");
  if (wanted.uid !== undefined && wanted.uid !== uid) {
    throw conflict(kind, String(name), `Precondition failed: UID in precondition: ${wanted.uid}`);
  }
  if (wanted.resourceVersion !== undefined && wanted.resourceVersion !== resourceVersion) {
    throw modifiedSince(kind, String(name));
  }
}

const textOf = (value: unknown) => (typeof value === "string" ? value : undefined);
const keyOf = (kind: Kind, { namespace, name }: ObjectName) =>
  `${kind.group}/${kind.plural}/${namespace}/${name}`;

function nameOf(object: JsonObject): ObjectName {
  const metadata = objectAt(object, "metadata");
  if (!isObject(metadata)) throw new ApiError(400, "BadRequest", "no metadata");
  return { namespace: stringAt(metadata, "namespace"), name: stringAt(metadata, "name") };
}

function withoutUndefined(object: { [name: string]: JsonObject[string] | undefined }): JsonObject {
  const entries = Object.entries(object).filter(
    (entry): entry is [string, JsonObject[string]] => entry[1] !== undefined,
  );
  return Object.fromEntries(entries);
}
