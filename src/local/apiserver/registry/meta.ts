import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { type FieldError, forbidden, invalid } from "../schema/field-error.ts";
import { badRequest } from "./api-error.ts";

export const metadataOf = (object: JsonObject | undefined) => objectAt(object, "metadata");
export const isDeleting = (object: JsonObject) =>
  typeof metadataOf(object)["deletionTimestamp"] === "string";
export const finalizersOf = (object: JsonObject) => stringsAt(metadataOf(object), "finalizers");

/** The object with some members of its metadata set; those that are undefined go. */
export function withMetadata(
  object: JsonObject,
  changes: { readonly [name: string]: Json | undefined },
): JsonObject {
  const merged = Object.entries({ ...metadataOf(object), ...changes });
  const metadata = Object.fromEntries(
    merged.filter((entry): entry is [string, Json] => entry[1] !== undefined),
  );
  return { ...object, metadata };
}

/** The object with or without a top-level field, as another has it. */
export function withFieldOf(object: JsonObject, name: string, other: JsonObject): JsonObject {
  const { [name]: _, ...rest } = object;
  return other[name] === undefined ? rest : { ...rest, [name]: other[name] };
}

/** Built-in kinds whose generation counts; all custom ones do. */
const WITH_GENERATION = new Set([
  "pods",
  "deployments",
  "replicasets",
  "endpointslices",
  "customresourcedefinitions",
  "validatingwebhookconfigurations",
  "mutatingwebhookconfigurations",
]);

export const hasGeneration = (kind: Kind) => kind.custom || WITH_GENERATION.has(kind.plural);

/** Whether an update changes what the generation counts: what is wanted, not what is. */
export function bumpsGeneration(kind: Kind, before: JsonObject, after: JsonObject): boolean {
  if (!hasGeneration(kind)) return false;
  const isSame = (name: string) => jsonEqual(before[name], after[name]);
  const isSameMeta = (name: string) =>
    jsonEqual(metadataOf(before)[name] ?? {}, metadataOf(after)[name] ?? {});
  if (kind.custom || kind.plural === "endpointslices") {
    const ignored = kind.subresources.includes("status") ? ["metadata", "status"] : ["metadata"];
    const names = new Set([...Object.keys(before), ...Object.keys(after)]);
    const isEqual = [...names].every((name) => ignored.includes(name) || isSame(name));
    return !isEqual || (!kind.custom && !isSameMeta("labels"));
  }
  if (kind.plural.endsWith("webhookconfigurations")) return !isSame("webhooks");
  return !isSame("spec") || (kind.plural === "deployments" && !isSameMeta("annotations"));
}

/** Fields that no client sets at creation. */
const SYSTEM_FIELDS = [
  "uid",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "generation",
  "selfLink",
];

export function withoutSystemFields(object: JsonObject): JsonObject {
  return withMetadata(
    object,
    Object.fromEntries(SYSTEM_FIELDS.map((name) => [name, undefined] as const)),
  );
}

/**
 * The object in the namespace that the request names.
 * @throws ApiError (400) when it names another itself.
 */
export function inNamespace(kind: Kind, object: JsonObject, namespace: string): JsonObject {
  const own = stringAt(metadataOf(object), "namespace");
  const expected = kind.namespaced ? namespace : "";
  if (own !== "" && own !== expected) {
    throw badRequest(
      "the namespace of the provided object does not match the namespace sent on the request",
    );
  }
  return withMetadata(object, { namespace: expected === "" ? undefined : expected });
}

/** Drops owner references that say the same twice, as the API server does. */
export function withoutDuplicateOwners(
  object: JsonObject,
  warn: (text: string) => void,
): JsonObject {
  const owners = objectsAt(metadataOf(object), "ownerReferences");
  const unique = owners.filter(
    (owner, index) => !owners.slice(0, index).some((other) => jsonEqual(other, owner)),
  );
  if (unique.length === owners.length) return object;
  const uids = owners
    .filter((owner) => !unique.includes(owner))
    .map((owner) => stringAt(owner, "uid"));
  warn(
    `.metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ${[...new Set(uids)].join(",")}`,
  );
  return withMetadata(object, { ownerReferences: unique });
}

const IMMUTABLE = [
  "name",
  "namespace",
  "uid",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
];

/** What an update may not do to metadata. */
export function metadataUpdateErrors(before: JsonObject, after: JsonObject): FieldError[] {
  const [old, now] = [metadataOf(before), metadataOf(after)];
  const errors: FieldError[] = [];
  const added = finalizersOf(after).filter((name) => !finalizersOf(before).includes(name));
  if (isDeleting(before) && added.length > 0) {
    const shown = added.map((name) => JSON.stringify(name)).join(", ");
    errors.push(
      forbidden(
        "metadata.finalizers",
        `no new finalizers can be added if the object is being deleted, found new finalizers []string{${shown}}`,
      ),
    );
  }
  if (stringAt(now, "resourceVersion") === "") {
    errors.push(invalid("metadata.resourceVersion", "", "must be specified for an update"));
  }
  for (const name of IMMUTABLE) {
    if (jsonEqual(old[name], now[name])) continue;
    errors.push(invalid(`metadata.${name}`, now[name] ?? "", "field is immutable"));
  }
  return errors;
}

/** Metadata that an update cannot touch, put back; `generation` as it was, to be bumped later. */
export function withKeptMetadata(before: JsonObject, after: JsonObject): JsonObject {
  const old = metadataOf(before);
  const now = metadataOf(after);
  return withMetadata(after, {
    uid: stringAt(now, "uid") === "" ? old["uid"] : now["uid"],
    creationTimestamp: old["creationTimestamp"],
    generation: old["generation"],
    selfLink: undefined,
    deletionTimestamp: old["deletionTimestamp"],
    deletionGracePeriodSeconds:
      now["deletionGracePeriodSeconds"] ?? old["deletionGracePeriodSeconds"],
  });
}

/** Whether a list of the object's metadata or the like holds anything. */
export const isEmptyList = (value: Json | undefined) =>
  value === undefined || (Array.isArray(value) && value.length === 0);

export const asObject = (value: Json): JsonObject => (isObject(value) ? value : {});
