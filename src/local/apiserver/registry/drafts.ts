import { toTimestamp } from "#base/clock.ts";
import { isObject, type JsonObject, jsonEqual } from "#base/json.ts";
import { asSeen, prepareBuiltin } from "../builtins/prepare.ts";
import { validateBuiltin } from "../builtins/validation.ts";
import { stringAt } from "../json-access.ts";
import { defaultCrd, validateCrd } from "../kinds/crd-kinds.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import { resetFieldsOf, updateManagedFields } from "../merge/managed-fields.ts";
import type { FieldError } from "../schema/field-error.ts";
import { finalizerRuleOf, nameRuleOf, validateObjectMeta } from "../schema/object-meta.ts";
import { validate } from "../schema/structural.ts";
import { ApiError, badRequest, invalidObject, modifiedSince } from "./api-error.ts";
import {
  bumpsGeneration,
  hasGeneration,
  inNamespace,
  metadataOf,
  metadataUpdateErrors,
  withFieldOf,
  withKeptMetadata,
  withMetadata,
  withoutDuplicateOwners,
  withoutSystemFields,
} from "./meta.ts";
import type { WriteOptions } from "./options.ts";

/** What changes from one write to the next, besides the object. */
export interface DraftContext {
  readonly kind: Kind;
  readonly options: Pick<WriteOptions, "fieldManager" | "warn">;
  readonly nowMs: number;
  /** Server-side apply has done the books itself. */
  readonly isApply: boolean;
}

/**
 * A new object as admission sees it: named, in its namespace, with system fields and an entry for its
 * manager. Pure.
 * @param object as `decode` returns it.
 * @throws ApiError (400, 422) for a name or namespace that cannot be.
 */
export function draftCreation(
  context: DraftContext,
  object: JsonObject,
  identity: { readonly namespace: string; readonly uid: string; readonly suffix: string },
): JsonObject {
  const { kind, options, nowMs } = context;
  const { resourceVersion, name, generateName } = metadataOf(object);
  if (
    !context.isApply &&
    typeof resourceVersion === "string" &&
    resourceVersion !== "" &&
    resourceVersion !== "0"
  ) {
    throw new ApiError(500, "", "resourceVersion should not be set on objects to be created");
  }
  const clean = withoutDuplicateOwners(
    withoutSystemFields(inNamespace(kind, asSeen(kind, object), identity.namespace)),
    options.warn,
  );
  const isGenerated =
    (name === undefined || name === "") && typeof generateName === "string" && generateName !== "";
  const named = withMetadata(clean, {
    resourceVersion: undefined,
    uid: identity.uid,
    creationTimestamp: toTimestamp(nowMs),
    ...(isGenerated ? { name: `${generateName.slice(0, NAME_PREFIX_MAX)}${identity.suffix}` } : {}),
  });
  return withManagers(context, undefined, named, "");
}

/** What a generated name keeps of its prefix, so that the whole stays within 63 characters. */
const NAME_PREFIX_MAX = 58;

/** Status is the system's to write: what a creation says of it counts only for nodes. */
const keepsStatusAtCreation = (kind: Kind) => kind.group === "" && kind.kind === "Node";

/**
 * The object as it will be stored, checked by all rules of its kind. Pure.
 * @param draft what admission made of `draftCreation`.
 * @param allocate gives a Service its addresses and ports.
 * @throws ApiError (422) that names each field and what is wrong with it.
 */
export function completeCreation(
  { kind }: DraftContext,
  draft: JsonObject,
  allocate: (object: JsonObject) => JsonObject,
): JsonObject {
  const hasStatus = kind.subresources.includes("status") && !keepsStatusAtCreation(kind);
  const { status: _, ...withoutStatus } = draft;
  const wanted = hasStatus ? withoutStatus : draft;
  const prepared = kind.custom ? wanted : allocate(preparedFor(kind, wanted, undefined));
  const object = withMetadata(prepared, { generation: hasGeneration(kind) ? 1 : undefined });
  requireValid(kind, object, objectErrors(kind, object, undefined, ""));
  return object;
}

function preparedFor(kind: Kind, object: JsonObject, old: JsonObject | undefined): JsonObject {
  const isCrd = kind.kind === "CustomResourceDefinition";
  return prepareBuiltin(kind, isCrd ? defaultCrd(object) : object, old);
}

/** Kinds of which an update must say which version it is of. */
const CONDITIONAL = new Set([
  "leases",
  "validatingwebhookconfigurations",
  "mutatingwebhookconfigurations",
  "customresourcedefinitions",
]);

/**
 * An update as admission sees it: on top of the newest version, with the fields that this endpoint
 * does not write as they are. Pure.
 * @param after as `decode` returns it, or what a patch made of `before`.
 * @throws ApiError (400, 409, 422) when the update is of another object or of an older version.
 */
export function draftUpdate(
  context: DraftContext,
  before: JsonObject,
  after: JsonObject,
  subresource: string,
): JsonObject {
  const { kind, options } = context;
  const old = metadataOf(before);
  const name = stringAt(old, "name");
  const given = metadataOf(after);
  if (stringAt(given, "name") !== name) {
    throw badRequest(
      `the name of the object (${stringAt(given, "name")}) does not match the name on the URL (${name})`,
    );
  }
  const own = inNamespace(kind, asSeen(kind, after), stringAt(old, "namespace"));
  const version = stringAt(given, "resourceVersion");
  const isUnconditional = version === "" || version === "0";
  if (isUnconditional && (kind.custom || CONDITIONAL.has(kind.plural))) {
    const target = { ...kind, kind: kind.plural };
    throw invalidObject(target, name, [
      {
        field: "metadata.resourceVersion",
        reason: "FieldValueInvalid",
        message: "Invalid value: 0: must be specified for an update",
      },
    ]);
  }
  if (!isUnconditional && version !== old["resourceVersion"]) throw modifiedSince(kind, name);
  const current = withMetadata(own, { resourceVersion: old["resourceVersion"] });
  const separated = separate(
    kind,
    before,
    withoutDuplicateOwners(current, options.warn),
    subresource,
  );
  return withManagers(context, before, separated, subresource);
}

/** Only the part that the endpoint is for: status by its subresource, everything else without it. */
function separate(
  kind: Kind,
  before: JsonObject,
  after: JsonObject,
  subresource: string,
): JsonObject {
  if (subresource === "status") {
    const { managedFields, resourceVersion } = metadataOf(after);
    if (kind.custom) {
      return withMetadata(withFieldOf(before, "status", after), {
        managedFields,
        resourceVersion,
      });
    }
    const kept = resetFieldsOf(kind, subresource).reduce(
      (object, name) => withFieldOf(object, name, before),
      after,
    );
    return withMetadata(kept, { ownerReferences: metadataOf(before)["ownerReferences"] });
  }
  return resetFieldsOf(kind, subresource).reduce(
    (object, name) => withFieldOf(object, name, before),
    after,
  );
}

/**
 * The update as it will be stored. Pure.
 * @throws ApiError (422) that names each field and what is wrong with it.
 */
export function completeUpdate(
  { kind }: DraftContext,
  before: JsonObject,
  draft: JsonObject,
  subresource: string,
  allocate: (object: JsonObject) => JsonObject,
): JsonObject {
  const kept = withKeptMetadata(before, draft);
  const prepared =
    kind.custom || subresource !== "" ? kept : allocate(preparedFor(kind, kept, before));
  const { generation } = metadataOf(before);
  const counts = subresource === "" && bumpsGeneration(kind, before, prepared);
  const object = counts
    ? withMetadata(prepared, {
        generation: (typeof generation === "number" ? generation : 0) + 1,
      })
    : prepared;
  const metadataErrors = metadataUpdateErrors(before, object);
  requireValid(kind, object, [
    ...metadataErrors,
    // The API checks what may not change once for all kinds and once for this one, and lists both.
    ...metadataErrors,
    ...objectErrors(kind, object, before, subresource),
  ]);
  return object;
}

function objectErrors(
  kind: Kind,
  object: JsonObject,
  before: JsonObject | undefined,
  subresource: string,
): FieldError[] {
  const metadata = validateObjectMeta(
    metadataOf(object),
    nameRuleOf(kind),
    "metadata",
    finalizerRuleOf(kind),
  );
  if (kind.custom) return [...metadata, ...validate(kind.schema, object, before)];
  // A Binding changes what no update may.
  if (subresource === "binding") return metadata;
  const own = validateBuiltin(kind, object, before, subresource);
  if (kind.kind !== "CustomResourceDefinition" || subresource !== "") return [...metadata, ...own];
  return [...metadata, ...own, ...validateCrd(object)];
}

function requireValid(kind: Kind, object: JsonObject, errors: readonly FieldError[]): void {
  if (errors.length === 0) return;
  throw invalidObject(kind, stringAt(metadataOf(object), "name"), errors);
}

function withManagers(
  { kind, options, nowMs, isApply }: DraftContext,
  before: JsonObject | undefined,
  after: JsonObject,
  subresource: string,
): JsonObject {
  if (isApply) return after;
  // What the endpoint ignores is nobody's.
  const seen = resetFieldsOf(kind, subresource).reduce(
    (object, name) => withFieldOf(object, name, before ?? {}),
    after,
  );
  const entries = updateManagedFields({
    schema: kind.schema,
    manager: options.fieldManager,
    subresource,
    apiVersion: groupVersionOf(kind),
    now: toTimestamp(nowMs),
    before,
    after: seen,
    operation: "Update",
  });
  return withMetadata(after, {
    managedFields: entries.length === 0 ? undefined : (entries as unknown as JsonObject[]),
  });
}

/** Whether a write would change nothing but the times in the books of field managers. */
export function isNoChange(before: JsonObject, after: JsonObject): boolean {
  return jsonEqual(withoutTimes(before), withoutTimes(after));
}

function withoutTimes(object: JsonObject): JsonObject {
  const { managedFields } = metadataOf(object);
  if (!Array.isArray(managedFields)) return object;
  const timeless = managedFields.map((entry) => {
    if (!isObject(entry)) return entry;
    const { time: _, ...rest } = entry;
    return rest;
  });
  return withMetadata(object, { managedFields: timeless });
}
