import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { objectAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { isBuiltinSchema } from "../schema/kubernetes-schema.ts";
import { propertySchemas } from "../schema/schema-walk.ts";
import {
  difference,
  EMPTY_SET,
  type FieldSet,
  fieldElement,
  intersection,
  isEmptySet,
  pathsOf,
  pathText,
  setOf,
  union,
} from "./field-set.ts";
import { lastAppliedSet, withLastApplied } from "./last-applied.ts";
import {
  capUpdateManagers,
  decodeManagers,
  encodeManagers,
  isReset,
  type ManagedFieldsEntry,
  type Manager,
  type Managers,
  managerKey,
  managerText,
} from "./managers.ts";
import { applyErrors, type MergeType, rootType } from "./merge-types.ts";
import {
  compareValues,
  dropNulls,
  fieldSetOf,
  mergeValues,
  removeFields,
  withNamedFields,
} from "./typed-values.ts";

/** The manager whose applies take over what `kubectl apply` set on the client's side. */
const KUBECTL_APPLIER = "kubectl";
const BEFORE_FIRST_APPLY = "before-first-apply";

const path = (...names: string[]) => names.map(fieldElement);
/** Fields that nobody owns. */
const UNOWNED = setOf(
  path("apiVersion"),
  path("kind"),
  path("metadata"),
  path("metadata", "name"),
  path("metadata", "namespace"),
  path("metadata", "creationTimestamp"),
  path("metadata", "selfLink"),
  path("metadata", "uid"),
  path("metadata", "clusterName"),
  path("metadata", "generation"),
  path("metadata", "managedFields"),
  path("metadata", "resourceVersion"),
);

interface Operation {
  schema: JsonObject;
  manager: string;
  /** Empty for the object itself. */
  subresource: string;
  apiVersion: string;
  /** RFC 3339 */
  now: string;
}

export interface ApplyRequest extends Operation {
  /** The object as it is stored; undefined when applying creates it. */
  live: JsonObject | undefined;
  applied: JsonObject;
  /** Takes fields away from others instead of answering with the conflicts. */
  force: boolean;
  /**
   * Top-level fields of `applied` that this endpoint ignores, see `resetFieldsOf`; `spec` of the status
   * subresource when left out.
   */
  resetFields?: readonly string[];
}

export interface UpdateRequest extends Operation {
  /** The object as it was stored; undefined when it is created. */
  before: JsonObject | undefined;
  after: JsonObject;
  operation: "Update";
}

/** A field that another manager holds with another value. */
export interface ApplyConflict {
  /** As messages name it, e.g. `"kubectl-edit" using apps/v1`. */
  manager: string;
  /** e.g. `.spec.replicas` */
  field: string;
}

/** The configuration to apply is not one; `code` is the HTTP status of the API server's answer. */
export class ApplyError extends Error {
  override readonly name = "ApplyError";
  readonly code: 400 | 500;

  constructor(code: ApplyError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** Top-level fields that a write to a kind, or to its subresource, leaves as they are. */
export function resetFieldsOf(kind: Kind, subresource: string): readonly string[] {
  if (subresource === "status") return ["spec"];
  return subresource === "" && kind.subresources.includes("status") ? ["status"] : [];
}

/**
 * Server-side apply: lays `applied` over `live`, removes what the manager applied before and does not
 * any more, and keeps the books in `metadata.managedFields`. The object that comes out has neither
 * been defaulted nor validated. Applying what is there already leaves the books' times as they are.
 * @throws ApplyError when `applied` does not fit the schema.
 */
export function applyServerSide(
  request: ApplyRequest,
): { object: JsonObject } | { conflicts: ApplyConflict[] } {
  const { live, applied, manager } = request;
  if (objectAt(applied, "metadata")["managedFields"] !== undefined) {
    throw new ApplyError(400, "metadata.managedFields must be nil");
  }
  const type = rootType(request.schema);
  requireTyped(type, applied);
  const result = applyOnce(request, type, request.force);
  if (!("conflicts" in result) || manager !== KUBECTL_APPLIER || live === undefined) {
    return "conflicts" in result ? { conflicts: result.conflicts.map(shownConflict) } : result;
  }
  // What `kubectl apply` itself set earlier must not keep `kubectl apply --server-side` out.
  const mine = lastAppliedSet(type, live, request.apiVersion);
  const theirs = result.conflicts.filter(({ path }) => isEmptySet(intersection(mine, setOf(path))));
  if (theirs.length > 0) return { conflicts: theirs.map(shownConflict) };
  return applyOnce(request, type, true) as { object: JsonObject };
}

interface Conflict {
  manager: Manager;
  path: string[];
}
const shownConflict = ({ manager, path }: Conflict): ApplyConflict => ({
  manager: managerText(manager),
  field: pathText(path),
});

/** The message of the API server's answer to conflicts. */
export function conflictMessage(conflicts: readonly ApplyConflict[]): string {
  const [first] = conflicts;
  if (first !== undefined && conflicts.length === 1) {
    return `Apply failed with 1 conflict: conflict with ${first.manager}: ${first.field}`;
  }
  const managers = [...new Set(conflicts.map(({ manager }) => manager))].sort();
  const lines = managers.flatMap((manager) => [
    `conflicts with ${manager}:`,
    ...conflicts.filter((item) => item.manager === manager).map(({ field }) => `- ${field}`),
  ]);
  return `Apply failed with ${conflicts.length} conflicts: ${lines.join("\n")}`;
}

function requireTyped(type: MergeType, applied: JsonObject): void {
  const errors = applyErrors(type, applied);
  if (errors.length === 0) return;
  const apiVersion = stringAt(applied, "apiVersion");
  const [version, group = ""] = apiVersion.split("/").reverse();
  const { namespace = "", name = "" } = objectAt(applied, "metadata");
  const identity = `${namespace}/${name}; ${group}/${version}, Kind=${stringAt(applied, "kind")}`;
  const text =
    errors.length === 1 ? errors[0] : `errors:\n${errors.map((e) => `  ${e}`).join("\n")}`;
  throw new ApplyError(500, `failed to create typed patch object (${identity}): ${text}`);
}

function applyOnce(
  request: ApplyRequest,
  type: MergeType,
  force: boolean,
): { object: JsonObject } | { conflicts: Conflict[] } {
  const { live, apiVersion, now, subresource } = request;
  // An object may be stored without saying what it is; that alone is no change.
  const { kind = "" } = request.applied;
  const base = live === undefined ? {} : { apiVersion, kind, ...withoutManagedFields(live) };
  let managers = decodeManagers(live);
  if (managers.size === 0 && live !== undefined) {
    const first = { ...request, manager: BEFORE_FIRST_APPLY };
    managers = afterUpdate(first, type, managers, emptyObject(request), base);
  }
  const reset = request.resetFields ?? (subresource === "status" ? ["spec"] : []);
  const applied = Object.fromEntries(
    Object.entries(request.applied).filter(([name]) => !reset.includes(name)),
  );
  const self: Manager = {
    manager: request.manager,
    operation: "Apply",
    apiVersion,
    subresource,
    time: undefined,
    fields: fieldSetOf(type, applied),
  };
  const key = managerKey(self);
  const last = managers.get(key);
  managers.set(key, { ...self, time: last?.time });

  const merged = (mergeValues(type, base, applied) ?? {}) as JsonObject;
  const next = last === undefined ? merged : pruned(type, merged, managers, last.fields);
  const conflicts = takeAway(type, managers, key, base, next, force);
  if (conflicts.length > 0) return { conflicts };
  const owned = difference(self.fields, UNOWNED);
  const isChanged = !jsonEqual(next, base);
  if (isEmptySet(owned)) managers.delete(key);
  else managers.set(key, { ...self, fields: owned, time: isChanged ? now : last?.time });
  const cleaned = dropNulls(type, isChanged ? next : base) as JsonObject;
  const object =
    request.manager === KUBECTL_APPLIER ? withLastApplied(cleaned, request.applied) : cleaned;
  return { object: withManagedFields(object, managers) };
}

/** `merged` without what the manager applied last time and nobody applies or set now. */
function pruned(
  type: MergeType,
  merged: JsonObject,
  managers: Managers,
  last: FieldSet,
): JsonObject {
  if (isEmptySet(last)) return merged;
  const named = (set: FieldSet) => withNamedFields(type, set);
  const mergedSet = named(fieldSetOf(type, merged));
  const lastSet = named(last);
  const remove = (set: FieldSet) => asObject(removeFields(type, merged, set));
  let result = remove(lastSet);
  // Fields that somebody owns come back, ...
  const owned = [...managers.values()].reduce((set, entry) => union(set, entry.fields), EMPTY_SET);
  const kept = union(named(fieldSetOf(type, result)), named(owned));
  result = remove(difference(mergedSet, kept));
  // ... and so do those that went only because something around them did.
  const lost = difference(mergedSet, named(fieldSetOf(type, result)));
  return remove(intersection(lost, lastSet));
}

const asObject = (value: Json): JsonObject => (isObject(value) ? value : {});

/**
 * Takes the fields that changed away from all managers but `self`. Without `force` nothing is taken, and
 * the fields that others hold are returned.
 */
function takeAway(
  type: MergeType,
  managers: Managers,
  self: string,
  before: JsonObject,
  after: JsonObject,
  force: boolean,
): Conflict[] {
  const { added, modified, removed } = compareValues(type, before, after);
  const changed = union(added, modified);
  const others = [...managers].filter(([key]) => key !== self);
  if (!force) {
    const conflicts = others.flatMap(([, manager]) =>
      pathsOf(intersection(manager.fields, changed)).map((path) => ({ manager, path })),
    );
    if (conflicts.length > 0) return conflicts;
  }
  for (const [key, entry] of others) {
    const fields = difference(difference(entry.fields, changed), removed);
    if (isEmptySet(fields)) managers.delete(key);
    else managers.set(key, { ...entry, fields });
  }
  return [];
}

/** The entries of `metadata.managedFields` after a create, update or patch. */
export function updateManagedFields(request: UpdateRequest): ManagedFieldsEntry[] {
  const { before, after, subresource } = request;
  const own = objectAt(after, "metadata")["managedFields"];
  let managers: Managers;
  if (subresource !== "") managers = decodeManagers(before);
  else if (isReset(own)) managers = new Map();
  else {
    // A client that does not know the field must not delete it by leaving it out.
    managers = decodeManagers(after);
    if (managers.size === 0) managers = decodeManagers(before);
  }
  // Objects that are not tracked stay so until somebody applies them.
  if (managers.size === 0 && before !== undefined) return [];
  const type = rootType(request.schema);
  const was = before === undefined ? emptyObject(request) : withoutManagedFields(before);
  return encodeManagers(afterUpdate(request, type, managers, was, withoutManagedFields(after)));
}

function afterUpdate(
  request: Operation,
  type: MergeType,
  managers: Managers,
  before: JsonObject,
  after: JsonObject,
): Managers {
  const result: Managers = new Map(managers);
  const { added, modified } = compareValues(type, before, after);
  // The manager's own earlier entry is treated like anybody's, then joined with the new one.
  takeAway(type, result, "", before, after, true);
  const fields = difference(union(added, modified), UNOWNED);
  if (isEmptySet(fields)) return result;
  const entry: Manager = {
    manager: request.manager,
    operation: "Update",
    apiVersion: request.apiVersion,
    subresource: request.subresource,
    time: request.now,
    fields,
  };
  const key = managerKey(entry);
  const previous = result.get(key)?.fields ?? EMPTY_SET;
  result.set(key, { ...entry, fields: union(fields, previous) });
  return capUpdateManagers(result);
}

function withoutManagedFields(object: JsonObject): JsonObject {
  const { metadata } = object;
  if (!isObject(metadata) || !("managedFields" in metadata)) return object;
  const { managedFields: _, ...rest } = metadata;
  return { ...object, metadata: rest };
}

function withManagedFields(object: JsonObject, managers: Managers): JsonObject {
  const entries = encodeManagers(managers);
  if (entries.length === 0) return object;
  const metadata = { ...objectAt(object, "metadata"), managedFields: entries as unknown as Json };
  return { ...object, metadata };
}

/** What there is before an object is created: of built-in kinds, the fields that Go cannot leave out. */
function emptyObject({ schema, apiVersion }: Operation): JsonObject {
  return isBuiltinSchema(schema) ? zeroOf(schema) : { apiVersion };
}

function zeroOf(schema: JsonObject): JsonObject {
  const required = new Set(stringsAt(schema, "required"));
  const entries = [...propertySchemas(schema)].flatMap(([name, field]): [string, Json][] => {
    if (field["x-always-present"] === true) return [[name, zeroOf(field)]];
    return required.has(name) ? [[name, null]] : [];
  });
  return Object.fromEntries(entries);
}
