import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { fieldSchema, itemSchema } from "../schema/schema-walk.ts";

/** A strategic merge patch that contradicts itself or the schema's merge rules. */
export class StrategicMergeError extends Error {
  override readonly name = "StrategicMergeError";
}

const PATCH = "$patch";
const RETAIN_KEYS = "$retainKeys";
const ELEMENT_ORDER = "$setElementOrder/";
const DELETE_PRIMITIVES = "$deleteFromPrimitiveList/";

/**
 * Applies a strategic merge patch and returns the new object; neither argument is changed. Lists
 * are merged where the schema says so (x-kubernetes-patch-strategy, x-kubernetes-patch-merge-key),
 * otherwise replaced. The resulting order of merged lists is that of the Kubernetes API.
 * @throws StrategicMergeError on a directive or list item that cannot be obeyed.
 */
export function strategicMerge(
  schema: JsonObject,
  object: JsonObject,
  patch: JsonObject,
): JsonObject {
  return mergeObject(schema, object, patch);
}

function mergeObject(
  schema: JsonObject | undefined,
  original: JsonObject,
  patch: JsonObject,
): JsonObject {
  const directive = patch[PATCH];
  if (directive === "delete") return {};
  if (directive === "replace") return withoutDirective(patch);
  if (directive !== undefined) throw unknownDirective(directive, patch);

  const result = new Map(Object.entries(retained(original, patch)));
  for (const [key, value] of Object.entries(patch)) {
    if (key === RETAIN_KEYS || key.startsWith(ELEMENT_ORDER)) continue;
    if (key.startsWith(DELETE_PRIMITIVES)) {
      const name = key.slice(DELETE_PRIMITIVES.length);
      const list = result.get(name);
      if (Array.isArray(list)) result.set(name, withoutItems(list, listOf(value, key)));
      continue;
    }
    const merged = mergeField(fieldSchema(schema, key), result.get(key), value);
    if (merged === undefined) result.delete(key);
    else result.set(key, merged);
  }
  for (const [key, value] of Object.entries(patch)) {
    if (!key.startsWith(ELEMENT_ORDER)) continue;
    const name = key.slice(ELEMENT_ORDER.length);
    const list = result.get(name);
    if (!Array.isArray(list)) continue;
    const mergeKey = mergeKeyOf(fieldSchema(schema, name));
    const order = listOf(value, key);
    requireSameOrder(patch[name], order, mergeKey);
    result.set(name, ordered(list, order, orderBefore(original[name], list, mergeKey), mergeKey));
  }
  return Object.fromEntries(result);
}

/** The value of a field after the patch; undefined when the field is to go. */
function mergeField(
  schema: JsonObject | undefined,
  original: Json | undefined,
  patch: Json,
): Json | undefined {
  if (patch === null) return undefined;
  if (isObject(patch) && isObject(original)) {
    return strategyOf(schema).has("replace") ? patch : mergeObject(schema, original, patch);
  }
  if (Array.isArray(patch) && Array.isArray(original)) {
    return strategyOf(schema).has("merge") ? mergeList(schema, original, patch) : patch;
  }
  return withoutDirectives(patch);
}

function mergeList(schema: JsonObject | undefined, original: Json[], patch: Json[]): Json[] {
  if (!isObject(patch[0] ?? original[0])) {
    const merged = unique([...original, ...patch]);
    return ordered(merged, patch, original, undefined);
  }
  const mergeKey = mergeKeyOf(schema);
  if (mergeKey === undefined) {
    throw new StrategicMergeError("cannot merge lists of objects without a merge key");
  }
  let base = original;
  let isReplaced = false;
  const items: JsonObject[] = [];
  for (const item of patch) {
    if (!isObject(item)) throw new StrategicMergeError("a list mixes objects and other values");
    const directive = item[PATCH];
    if (directive === undefined) items.push(item);
    else if (directive === "replace") isReplaced = true;
    else if (directive === "delete") {
      const key = keyOf(item, mergeKey);
      base = base.filter((other) => !jsonEqual(keyOf(other, mergeKey), key));
    } else throw unknownDirective(directive, item);
  }
  if (isReplaced) return items;
  const merged = [...base];
  for (const item of items) {
    const key = keyOf(item, mergeKey);
    const index = merged.findIndex((other) => jsonEqual(keyOf(other, mergeKey), key));
    const existing = merged[index];
    if (isObject(existing)) merged[index] = mergeObject(itemSchema(schema), existing, item);
    else merged.push(withoutDirectives(item) ?? {});
  }
  return ordered(merged, items, base, mergeKey);
}

/** What `$retainKeys` leaves of the original. */
function retained(original: JsonObject, patch: JsonObject): JsonObject {
  const directive = patch[RETAIN_KEYS];
  if (directive === undefined) return original;
  if (!Array.isArray(directive))
    throw new StrategicMergeError("invalid patch format of retainKeys");
  const isKept = (key: string) => directive.includes(key);
  for (const [key, value] of Object.entries(patch)) {
    if (!key.startsWith("$") && value !== null && !isKept(key)) {
      throw new StrategicMergeError("invalid patch format of retainKeys");
    }
  }
  return Object.fromEntries(Object.entries(original).filter(([key]) => isKept(key)));
}

/**
 * Brings a merged list into order: items that the patch names follow `order`, the others keep the
 * order that they had, and where the two runs meet, an item of the patch comes first unless both
 * stood the other way round before.
 */
function ordered(
  merged: readonly Json[],
  order: readonly Json[],
  before: readonly Json[],
  mergeKey: string | undefined,
): Json[] {
  const identity = (item: Json) => (mergeKey === undefined ? item : keyOf(item, mergeKey));
  const indexIn = (list: readonly Json[], item: Json) => {
    const wanted = identity(item);
    return list.findIndex((other) => jsonEqual(identity(other), wanted));
  };
  const byOrder = (list: readonly Json[]) => (a: Json, b: Json) =>
    indexIn(list, a) - indexIn(list, b);
  const named = merged.filter((item) => indexIn(order, item) >= 0).sort(byOrder(order));
  const others = merged.filter((item) => indexIn(order, item) < 0).sort(byOrder(before));
  const result: Json[] = [];
  for (const item of others) {
    const position = indexIn(before, item);
    while (named.length > 0) {
      const next = indexIn(before, named[0] as Json);
      if (position >= 0 && next > position) break;
      result.push(named.shift() as Json);
    }
    result.push(item);
  }
  return [...result, ...named];
}

/**
 * The order that counts as "before". Where a patch deletes items of a list of objects and adds
 * others, the Kubernetes API sees the additions in the places that became free at the list's end.
 */
function orderBefore(original: Json | undefined, merged: Json[], mergeKey: string | undefined) {
  const before = Array.isArray(original) ? original : [];
  if (mergeKey === undefined) return before;
  const isIn = (list: Json[], item: Json) =>
    list.some((other) => jsonEqual(keyOf(other, mergeKey), keyOf(item, mergeKey)));
  const survivors = before.filter((item) => isIn(merged, item));
  const added = merged.filter((item) => !isIn(before, item));
  return [...survivors, ...added].slice(0, before.length);
}

function requireSameOrder(list: Json | undefined, order: Json[], mergeKey: string | undefined) {
  if (!Array.isArray(list)) return;
  let from = 0;
  for (const item of list) {
    if (isObject(item) && item[PATCH] !== undefined) continue;
    const wanted = mergeKey === undefined ? item : keyOf(item, mergeKey);
    const found = order.findIndex(
      (other, index) =>
        index >= from && jsonEqual(mergeKey === undefined ? other : keyOf(other, mergeKey), wanted),
    );
    if (found < 0) {
      throw new StrategicMergeError(
        `The order in patch list:\n${JSON.stringify(list)}\n doesn't match $setElementOrder list:\n${JSON.stringify(order)}\n`,
      );
    }
    from = found + 1;
  }
}

function keyOf(item: Json, mergeKey: string): Json {
  const key = isObject(item) ? item[mergeKey] : undefined;
  if (key === undefined) {
    throw new StrategicMergeError(
      `map: ${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`,
    );
  }
  return key;
}

/** A value as it enters an object that had none: directives and nulls are not data. */
function withoutDirectives(value: Json): Json | undefined {
  if (Array.isArray(value)) {
    const isData = (item: Json) => !isObject(item) || item[PATCH] !== "replace";
    return value
      .filter(isData)
      .map(withoutDirectives)
      .filter((item) => item !== undefined);
  }
  if (!isObject(value)) return value;
  if (value[PATCH] === "delete") return undefined;
  const kept: [string, Json][] = [];
  for (const [key, item] of Object.entries(value)) {
    const isDirective =
      key === PATCH ||
      key === RETAIN_KEYS ||
      key.startsWith(ELEMENT_ORDER) ||
      key.startsWith(DELETE_PRIMITIVES);
    const cleaned = isDirective || item === null ? undefined : withoutDirectives(item);
    if (cleaned !== undefined) kept.push([key, cleaned]);
  }
  return Object.fromEntries(kept);
}

function withoutDirective(patch: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(patch).filter(([key]) => key !== PATCH));
}

function unknownDirective(directive: Json, patch: JsonObject): StrategicMergeError {
  return new StrategicMergeError(
    `unknown patch type: ${String(directive)} in map: ${JSON.stringify(patch)}`,
  );
}

function listOf(value: Json, key: string): Json[] {
  if (!Array.isArray(value)) throw new StrategicMergeError(`${key} must be a list`);
  return value;
}

const unique = (items: Json[]) =>
  items.filter((item, index) => items.findIndex((other) => jsonEqual(other, item)) === index);

const withoutItems = (list: Json[], gone: Json[]) =>
  list.filter((item) => !gone.some((other) => jsonEqual(other, item)));

function strategyOf(schema: JsonObject | undefined): Set<string> {
  const text = schema?.["x-kubernetes-patch-strategy"];
  return new Set(typeof text === "string" ? text.split(",") : []);
}

function mergeKeyOf(schema: JsonObject | undefined): string | undefined {
  const key = schema?.["x-kubernetes-patch-merge-key"];
  return typeof key === "string" ? key : undefined;
}
