import { isObject, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { decodeFieldSet, encodeFieldSet, type FieldSet, isEmptySet, union } from "./field-set.ts";

/** One entry of `metadata.managedFields`. */
export interface ManagedFieldsEntry {
  manager: string;
  operation: "Apply" | "Update";
  apiVersion: string;
  /** RFC 3339 */
  time?: string;
  fieldsType: "FieldsV1";
  fieldsV1: JsonObject;
  subresource?: string;
}

/** A manager with the fields that it owns. */
export interface Manager {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly apiVersion: string;
  /** Empty for the object itself. */
  readonly subresource: string;
  /** RFC 3339 of the last change that the manager made. */
  readonly time: string | undefined;
  readonly fields: FieldSet;
}

/** By `managerKey`. */
export type Managers = Map<string, Manager>;

/** Updating managers that an object remembers; the oldest ones beyond are thrown together. */
const UPDATE_MANAGERS_MAX = 10;
const OLDEST_MANAGERS = "ancient-changes";

/** What tells managers apart: appliers keep their entry when they go over to another version. */
export function managerKey(entry: Omit<Manager, "fields" | "time">): string {
  const { manager, operation, apiVersion, subresource } = entry;
  return JSON.stringify([manager, operation, operation === "Apply" ? "" : apiVersion, subresource]);
}

/** Reads an object's `managedFields`; none when there is an entry that cannot be read. */
export function decodeManagers(object: JsonObject | undefined): Managers {
  const managers: Managers = new Map();
  for (const entry of objectsAt(objectAt(object, "metadata"), "managedFields")) {
    const { operation } = entry;
    const fields = decodeFieldSet(entry["fieldsV1"] ?? {});
    const apiVersion = stringAt(entry, "apiVersion");
    const isReadable = entry["fieldsType"] === "FieldsV1" && apiVersion !== "";
    if (fields === undefined || !isReadable) return new Map();
    if (operation !== "Apply" && operation !== "Update") return new Map();
    const manager: Manager = {
      manager: stringAt(entry, "manager"),
      operation,
      apiVersion,
      subresource: stringAt(entry, "subresource"),
      time: stringAt(entry, "time") || undefined,
      fields,
    };
    managers.set(managerKey(manager), manager);
  }
  return managers;
}

/** The managers as `managedFields`: appliers first, then by time. */
export function encodeManagers(managers: Managers): ManagedFieldsEntry[] {
  const order = (manager: Manager) => [
    manager.operation,
    manager.time ?? "",
    manager.manager,
    manager.apiVersion,
    manager.subresource,
  ];
  return [...managers.values()]
    .filter((manager) => !isEmptySet(manager.fields))
    .sort((a, b) => compareLists(order(a), order(b)))
    .map((manager) => ({
      manager: manager.manager,
      operation: manager.operation,
      apiVersion: manager.apiVersion,
      ...(manager.time === undefined ? {} : { time: manager.time }),
      fieldsType: "FieldsV1",
      fieldsV1: encodeFieldSet(manager.fields),
      ...(manager.subresource === "" ? {} : { subresource: manager.subresource }),
    }));
}

function compareLists(a: readonly string[], b: readonly string[]): number {
  for (const [position, text] of a.entries()) {
    const other = b[position] ?? "";
    if (text !== other) return text < other ? -1 : 1;
  }
  return 0;
}

/** The manager as messages about conflicts name it. */
export function managerText({ manager, operation, apiVersion, subresource }: Manager): string {
  const of = subresource === "" ? "" : ` with subresource ${JSON.stringify(subresource)}`;
  return `${JSON.stringify(manager)}${of}${operation === "Update" ? ` using ${apiVersion}` : ""}`;
}

/** Throws the oldest updating managers of a version together until there are few enough. */
export function capUpdateManagers(managers: Managers): Managers {
  const updaters = [...managers]
    .filter(([, manager]) => manager.operation === "Update")
    .sort(([keyA, a], [keyB, b]) => compareLists([a.time ?? "", keyA], [b.time ?? "", keyB]));
  let excess = updaters.length - UPDATE_MANAGERS_MAX;
  if (excess <= 0) return managers;
  const result: Managers = new Map(managers);
  const firstKeys = new Map<string, string>();
  for (const [key, manager] of updaters) {
    if (excess <= 0) break;
    const { apiVersion } = manager;
    const first = firstKeys.get(apiVersion);
    if (first === undefined) {
      firstKeys.set(apiVersion, key);
      continue;
    }
    const bucket = { ...manager, manager: OLDEST_MANAGERS, subresource: "" };
    const bucketKey = managerKey(bucket);
    const known = result.get(bucketKey) ?? result.get(first);
    if (!result.has(bucketKey)) result.delete(first);
    result.delete(key);
    const fields = known === undefined ? manager.fields : union(known.fields, manager.fields);
    result.set(bucketKey, { ...bucket, fields });
    excess--;
  }
  return result;
}

/** Whether a `managedFields` value asks for the books to be started anew. */
export function isReset(managedFields: unknown): boolean {
  if (!Array.isArray(managedFields)) return false;
  const [only, ...others] = managedFields;
  if (only === undefined) return true;
  return others.length === 0 && isObject(only) && Object.keys(only).length === 0;
}
