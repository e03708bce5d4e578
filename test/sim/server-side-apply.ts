/** Server-side apply, as far as Services and EndpointSlices need it. */
import { isObject, type Json, type JsonObject } from "#base/json.ts";

/** Lists whose items are told apart by keys; every other list is replaced as a whole. */
const KEYED: Readonly<Record<string, readonly string[]>> = {
  "Service.spec.ports": ["port", "protocol"],
  "Service.metadata.ownerReferences": ["uid"],
  "EndpointSlice.metadata.ownerReferences": ["uid"],
};

/**
 * What an object is after `wanted` was applied by a manager that applied `last` before: what it names is so, what it named
 * and no longer does is gone, and what others added stays.
 */
export function serverSideApply(
  kind: string,
  before: JsonObject,
  last: JsonObject | undefined,
  wanted: JsonObject,
): JsonObject {
  return merged(kind, before, last ?? {}, wanted) as JsonObject;
}

function merged(
  path: string,
  before: Json | undefined,
  last: Json | undefined,
  wanted: Json,
): Json {
  const keys = KEYED[path];
  if (keys !== undefined && Array.isArray(wanted) && Array.isArray(before)) {
    return mergedList(path, keys, before, Array.isArray(last) ? last : [], wanted);
  }
  if (!isObject(wanted) || !isObject(before)) return wanted;
  const owned = isObject(last) ? last : {};
  const result: JsonObject = {};
  for (const [key, value] of Object.entries(before)) {
    if (key in wanted || !(key in owned)) result[key] = value;
  }
  for (const [key, value] of Object.entries(wanted)) {
    result[key] = merged(`${path}.${key}`, before[key], owned[key], value);
  }
  return result;
}

function mergedList(
  path: string,
  keys: readonly string[],
  before: readonly Json[],
  last: readonly Json[],
  wanted: readonly Json[],
): Json[] {
  const idOf = (item: Json) => JSON.stringify(keys.map((key) => (isObject(item) ? item[key] : 0)));
  const ours = new Set(wanted.map(idOf));
  const dropped = new Set(last.map(idOf).filter((id) => !ours.has(id)));
  const kept = before.filter((item) => !dropped.has(idOf(item)) && !ours.has(idOf(item)));
  const present = wanted.map((item) => {
    const old = before.find((one) => idOf(one) === idOf(item));
    const owned = last.find((one) => idOf(one) === idOf(item));
    return old === undefined ? item : merged(`${path}[]`, old, owned, item);
  });
  return [...present, ...kept];
}
