import { toTimestamp } from "#base/clock.ts";
import type { JsonObject } from "#base/json.ts";
import { numberAt, objectAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { conflict, forbidden } from "./api-error.ts";
import { finalizersOf, isDeleting, metadataOf, withMetadata } from "./meta.ts";
import type { DeleteRequest } from "./object-api.ts";

/** What a DELETE comes to. */
export type Removal =
  /** The object goes now; `object` is its last state. */
  | { readonly step: "remove"; readonly object: JsonObject }
  /** The object stays for now, marked as deleted. */
  | { readonly step: "mark"; readonly object: JsonObject }
  /** It is marked already, and this request changes nothing. */
  | { readonly step: "wait"; readonly object: JsonObject };

/** Keeps a CustomResourceDefinition that was deleted until its objects are gone. */
export const CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io";
const ORPHAN = "orphan";
const FOREGROUND = "foregroundDeletion";
const PROTECTED_NAMESPACES = ["default", "kube-system", "kube-public"];

/**
 * Decides what a DELETE does with an object: at once, after its finalizers, or after a pod's grace. Pure.
 * @throws ApiError (409) for a precondition that does not hold, (403) for a protected namespace.
 */
export function planRemoval(
  kind: Kind,
  object: JsonObject,
  request: DeleteRequest,
  nowMs: number,
): Removal {
  requirePreconditions(kind, object, request);
  if (kind.group === "" && kind.kind === "Namespace") return namespaceRemoval(kind, object, nowMs);
  const isPod = kind.group === "" && kind.kind === "Pod";
  if (isPod && isDeleting(object)) {
    const shortened = shorterGrace(object, request, nowMs);
    if (shortened !== "immediately") return shortened;
  }
  const finalizers = deletionFinalizers(kind, object, request);
  const marked = withMetadata(object, {
    finalizers: finalizers.length > 0 ? finalizers : undefined,
  });
  if (isPod && !isDeleting(object)) {
    const graceSeconds = podGrace(object, request);
    const dying = withDeletion(marked, nowMs + graceSeconds * 1000, graceSeconds);
    const isNow = graceSeconds === 0 && finalizers.length === 0;
    return { step: isNow ? "remove" : "mark", object: dying };
  }
  if (finalizers.length === 0) return { step: "remove", object };
  return { step: "mark", object: withDeletion(marked, nowMs, 0) };
}

function requirePreconditions(kind: Kind, object: JsonObject, request: DeleteRequest): void {
  const { uid, resourceVersion } = request.preconditions ?? {};
  const metadata = metadataOf(object);
  // Here the API names the kind where otherwise the resource stands.
  const target = { ...kind, plural: kind.kind };
  const name = stringAt(metadata, "name");
  if (uid !== undefined && uid !== metadata["uid"]) {
    throw conflict(
      target,
      name,
      `the UID in the precondition (${uid}) does not match the UID in record (${metadata["uid"]}). The object might have been deleted and then recreated`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== metadata["resourceVersion"]) {
    throw conflict(
      target,
      name,
      `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${metadata["resourceVersion"]}). The object might have been modified`,
    );
  }
}

/** The finalizers with which the object goes: those that garbage collection works off come and go with the policy. */
function deletionFinalizers(kind: Kind, object: JsonObject, request: DeleteRequest): string[] {
  const held = finalizersOf(object);
  // Events own nothing.
  if (kind.plural === "events") return held;
  const { propagationPolicy: policy } = request;
  const others = held.filter((name) => name !== ORPHAN && name !== FOREGROUND);
  const isWanted = (name: string, own: DeleteRequest["propagationPolicy"]) =>
    policy === undefined ? held.includes(name) : policy === own;
  const isDefinition = kind.kind === "CustomResourceDefinition" && !kind.custom;
  const cleans = isDefinition && !isDeleting(object) && !held.includes(CLEANUP_FINALIZER);
  return [
    ...others,
    ...(cleans ? [CLEANUP_FINALIZER] : []),
    ...(isWanted(ORPHAN, "Orphan") ? [ORPHAN] : []),
    ...(isWanted(FOREGROUND, "Foreground") ? [FOREGROUND] : []),
  ];
}

function withDeletion(object: JsonObject, atMs: number, graceSeconds: number): JsonObject {
  const { deletionTimestamp, generation } = metadataOf(object);
  return withMetadata(object, {
    deletionTimestamp: deletionTimestamp ?? toTimestamp(atMs),
    deletionGracePeriodSeconds: graceSeconds,
    // Being deleted is a change of what is wanted.
    ...(typeof generation === "number" && deletionTimestamp === undefined
      ? { generation: generation + 1 }
      : {}),
  });
}

/** How long a pod may take to end: what runs nowhere, or not any more, needs no time. */
function podGrace(pod: JsonObject, request: DeleteRequest): number {
  const spec = objectAt(pod, "spec");
  const phase = stringAt(objectAt(pod, "status"), "phase");
  if (stringAt(spec, "nodeName") === "" || phase === "Failed" || phase === "Succeeded") return 0;
  const asked = request.gracePeriodSeconds ?? numberAt(spec, "terminationGracePeriodSeconds");
  return asked < 0 ? 1 : asked;
}

/** A pod that is ending already: its time can only be cut short. */
function shorterGrace(
  pod: JsonObject,
  request: DeleteRequest,
  nowMs: number,
): Removal | "immediately" {
  const held = numberAt(metadataOf(pod), "deletionGracePeriodSeconds");
  if (held === 0) return "immediately";
  const given = request.gracePeriodSeconds;
  const asked = given !== undefined && given < 0 ? 1 : given;
  if (asked === undefined || asked >= held) return { step: "wait", object: pod };
  const startedMs = Date.parse(stringAt(metadataOf(pod), "deletionTimestamp")) - held * 1000;
  const endsMs = Math.max(startedMs + asked * 1000, nowMs);
  const graceSeconds = endsMs === nowMs && asked !== 0 ? 1 : asked;
  const hurried = withMetadata(pod, {
    deletionTimestamp: toTimestamp(endsMs),
    deletionGracePeriodSeconds: graceSeconds,
  });
  const isNow = graceSeconds === 0 && finalizersOf(pod).length === 0;
  return { step: isNow ? "remove" : "mark", object: hurried };
}

/** A namespace goes after all that is in it; whoever empties it takes the finalizer off its spec. */
function namespaceRemoval(kind: Kind, namespace: JsonObject, nowMs: number): Removal {
  const name = stringAt(metadataOf(namespace), "name");
  if (PROTECTED_NAMESPACES.includes(name)) {
    throw forbidden(kind, name, "this namespace may not be deleted");
  }
  const isEmpty = stringsAt(objectAt(namespace, "spec"), "finalizers").length === 0;
  if (isDeleting(namespace)) {
    if (isEmpty && finalizersOf(namespace).length === 0)
      return { step: "remove", object: namespace };
    throw conflict(
      kind,
      name,
      "The system is ensuring all content is removed from this namespace.  Upon completion, this namespace will automatically be purged by the system.",
    );
  }
  if (isEmpty && finalizersOf(namespace).length === 0) return { step: "remove", object: namespace };
  const { generation: _, ...metadata } = metadataOf(namespace);
  return {
    step: "mark",
    object: {
      ...namespace,
      metadata: { ...metadata, deletionTimestamp: toTimestamp(nowMs) },
      status: { ...objectAt(namespace, "status"), phase: "Terminating" },
    },
  };
}

/** Whether an object that was just written has nothing left that keeps it. */
export function isFinallyGone(kind: Kind, object: JsonObject): boolean {
  if (!isDeleting(object) || finalizersOf(object).length > 0) return false;
  if (kind.group === "" && kind.kind === "Namespace") {
    return stringsAt(objectAt(object, "spec"), "finalizers").length === 0;
  }
  return numberAt(metadataOf(object), "deletionGracePeriodSeconds") === 0;
}
