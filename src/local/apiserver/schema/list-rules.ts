import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { stringsAt } from "../json-access.ts";
import { child, duplicate, type FieldError, index, invalid, key, ROOT } from "./field-error.ts";
import { fieldSchema, itemSchema, propertySchemas } from "./schema-walk.ts";

/** The key fields of an item of a list of type map; absent fields take the schema's default. */
export function itemKey(schema: JsonObject, item: JsonObject): JsonObject {
  const properties = propertySchemas(itemSchema(schema));
  const entries: [string, Json][] = [];
  for (const name of stringsAt(schema, "x-kubernetes-list-map-keys")) {
    const value = item[name] ?? properties.get(name)?.["default"];
    if (value !== undefined) entries.push([name, value]);
  }
  return Object.fromEntries(entries);
}

/** The item of the old list that has the same key; undefined unless the list is of type map. */
export function correlatedItem(
  schema: JsonObject,
  old: Json | undefined,
  item: Json,
): Json | undefined {
  if (schema["x-kubernetes-list-type"] !== "map" || !Array.isArray(old) || !isObject(item)) {
    return undefined;
  }
  const wanted = itemKey(schema, item);
  return old.find((other) => isObject(other) && jsonEqual(itemKey(schema, other), wanted));
}

/** Finds what occurs twice in lists of type set and map. */
export function validateLists(
  schema: JsonObject | undefined,
  value: Json,
  path: string,
): FieldError[] {
  if (schema === undefined) return [];
  const errors: FieldError[] = [];
  if (isObject(value)) {
    const properties = propertySchemas(schema);
    for (const [name, item] of Object.entries(value)) {
      const below = properties.has(name) || path === ROOT ? child(path, name) : key(path, name);
      errors.push(...validateLists(fieldSchema(schema, name), item, below));
    }
  }
  if (Array.isArray(value)) {
    errors.push(...duplicatesIn(schema, value, path));
    for (const [position, item] of value.entries()) {
      errors.push(...validateLists(itemSchema(schema), item, index(path, position)));
    }
  }
  return errors;
}

function duplicatesIn(schema: JsonObject, list: readonly Json[], path: string): FieldError[] {
  const type = schema["x-kubernetes-list-type"];
  if (type === "set") return repeated(list, path);
  if (type !== "map") return [];
  const stranger = list.findIndex((item) => !isObject(item) && item !== null);
  if (stranger >= 0) {
    const value = list[stranger] ?? null;
    return [
      invalid(index(path, stranger), value, "must be an object for an array of list-type map"),
    ];
  }
  const keyNames = stringsAt(schema, "x-kubernetes-list-map-keys");
  const keys = list.map((item) =>
    Object.fromEntries(
      Object.entries(isObject(item) ? item : {}).filter(([name]) => keyNames.includes(name)),
    ),
  );
  return repeated(keys, path);
}

/** Reports each value once, at the place where it occurs for the second time. */
function repeated(list: readonly Json[], path: string): FieldError[] {
  const seen = new Map<string, number>();
  const errors: FieldError[] = [];
  for (const [position, item] of list.entries()) {
    const text = canonical(item);
    const times = seen.get(text) ?? 0;
    seen.set(text, times + 1);
    if (times === 1) errors.push(duplicate(index(path, position), item));
  }
  return errors;
}

/** A text that is equal for equal values, whatever the order of their keys. */
export function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const entries = Object.entries(value).map(
    ([name, item]) => `${JSON.stringify(name)}:${canonical(item)}`,
  );
  return `{${entries.sort().join(",")}}`;
}
