import type { JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import type { DeleteRequest } from "../registry/object-api.ts";

/** The object stays until those of its dependents that block it are gone. */
export const FOREGROUND = "foregroundDeletion";
/** The object stays until its dependents no longer refer to it. */
export const ORPHAN = "orphan";

/**
 * What an ownerReference leads to:
 * - `solid`: an owner that is there, even when it is being deleted;
 * - `waiting`: an owner that is being deleted and waits for its dependents to go first;
 * - `absent`: nothing, or an object with another uid;
 * - `unknown`: a kind that is not served, or an owner that the object cannot have.
 */
export type OwnerState = "solid" | "waiting" | "absent" | "unknown";

/** What to do about one object, in this order. */
export interface CollectionPlan {
  /** Objects that get other ownerReferences: the object itself or its dependents. */
  readonly references: readonly {
    readonly object: JsonObject;
    readonly ownerReferences: readonly JsonObject[];
  }[];
  /** A finalizer of the object that has done its work. */
  readonly finalizer?: typeof FOREGROUND | typeof ORPHAN;
  readonly deletion?: NonNullable<DeleteRequest["propagationPolicy"]>;
}

const NOTHING: CollectionPlan = { references: [] };

/**
 * Decides what garbage collection means for one object now.
 * @param owners what each of its ownerReferences leads to, in their order
 * @param dependents all objects that have its uid in an ownerReference
 */
export function planCollection(
  object: JsonObject,
  owners: readonly OwnerState[],
  dependents: readonly JsonObject[],
): CollectionPlan {
  const finalizers = finalizersOf(object);
  const uid = uidOf(object);
  if (isDeleting(object)) {
    if (finalizers.includes(ORPHAN)) {
      return { references: dependents.map((one) => without(one, [uid])), finalizer: ORPHAN };
    }
    const isHeld = dependents.some((one) => uidOf(one) !== uid && blocks(one, uid));
    if (finalizers.includes(FOREGROUND) && !isHeld)
      return { references: [], finalizer: FOREGROUND };
    // Being deleted is a one-way trip that others finish.
    return NOTHING;
  }
  // Who does not know all owners does not know whether the object is wanted.
  if (owners.length === 0 || owners.includes("unknown")) return NOTHING;
  if (owners.includes("solid")) {
    const gone = referencesOf(object).filter((_, index) => owners[index] !== "solid");
    return gone.length === 0
      ? NOTHING
      : { references: [without(object, gone.map(uidOfReference))] };
  }
  if (owners.includes("waiting") && dependents.length > 0) {
    // Where owners and dependents wait, there may be a circle, in which each would wait for the next.
    const references = dependents.some(isWaiting) ? [unblocked(object)] : [];
    return { references, deletion: "Foreground" };
  }
  if (finalizers.includes(ORPHAN)) return { references: [], deletion: "Orphan" };
  return {
    references: [],
    deletion: finalizers.includes(FOREGROUND) ? "Foreground" : "Background",
  };
}

export const uidOf = (object: JsonObject) => stringAt(objectAt(object, "metadata"), "uid");
export const referencesOf = (object: JsonObject) =>
  objectsAt(objectAt(object, "metadata"), "ownerReferences");
export const uidOfReference = (reference: JsonObject) => stringAt(reference, "uid");
export const finalizersOf = (object: JsonObject) =>
  stringsAt(objectAt(object, "metadata"), "finalizers");
export const isDeleting = (object: JsonObject) =>
  stringAt(objectAt(object, "metadata"), "deletionTimestamp") !== "";

/** Whether the object is being deleted and waits for its dependents to go first. */
export const isWaiting = (object: JsonObject) =>
  isDeleting(object) && finalizersOf(object).includes(FOREGROUND);

const blocks = (object: JsonObject, uid: string) =>
  referencesOf(object).some(
    (reference) => uidOfReference(reference) === uid && reference["blockOwnerDeletion"] === true,
  );

const without = (object: JsonObject, uids: readonly string[]) => ({
  object,
  ownerReferences: referencesOf(object).filter(
    (reference) => !uids.includes(uidOfReference(reference)),
  ),
});

const unblocked = (object: JsonObject) => ({
  object,
  ownerReferences: referencesOf(object).map((reference) => ({
    ...reference,
    blockOwnerDeletion: false,
  })),
});
