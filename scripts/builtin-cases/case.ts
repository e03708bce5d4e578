import { isObject, type JsonObject } from "#base/json.ts";

/** A change of an object: a merge patch, or what stands in its place from then on. */
export interface Update {
  readonly patch?: JsonObject;
  readonly put?: JsonObject;
  readonly subresource?: "status";
}
/** An object that is created, and what is then tried on it, each time anew. */
export interface Case {
  /** `group/Kind`; the group is empty for the core group. */
  readonly kind: string;
  readonly object: JsonObject;
  readonly updates?: readonly Update[];
}

export const metadata = (name: string, more: JsonObject = {}): JsonObject => ({ name, ...more });
/** Most cases differ in little from an object that is in order. */
const merged = (base: JsonObject, patch: JsonObject): JsonObject => {
  const result = { ...base };
  for (const [name, value] of Object.entries(patch)) {
    const before = result[name];
    result[name] = isObject(before) && isObject(value) ? merged(before, value) : value;
  }
  return result;
};
export const kindOf =
  (kind: string, base: JsonObject) =>
  (patch: JsonObject = {}, updates?: readonly Update[]): Case => {
    const object = merged(base, patch);
    return updates === undefined ? { kind, object } : { kind, object, updates };
  };
export const patches = (...list: JsonObject[]): Update[] => list.map((patch) => ({ patch }));
export const statuses = (...list: JsonObject[]): Update[] =>
  list.map((status) => ({ patch: { status }, subresource: "status" }));

export const CONTAINER = { name: "c", image: "nginx" };
