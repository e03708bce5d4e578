import { isObject, type JsonObject } from "#base/json.ts";

/** The member of a schema that is itself a schema; undefined when it is absent or a boolean. */
function subschema(schema: JsonObject | undefined, key: string): JsonObject | undefined {
  const value = schema?.[key];
  return isObject(value) ? value : undefined;
}

/** The schema of field `name` of an object: a declared property, or what any further key must be. */
export function fieldSchema(schema: JsonObject | undefined, name: string): JsonObject | undefined {
  const properties = subschema(schema, "properties");
  const declared =
    properties !== undefined && Object.hasOwn(properties, name) ? properties[name] : undefined;
  return isObject(declared) ? declared : subschema(schema, "additionalProperties");
}

/** The schema of a list's items. */
export function itemSchema(schema: JsonObject | undefined): JsonObject | undefined {
  return subschema(schema, "items");
}

/** The schema's declared properties, by name. */
export function propertySchemas(schema: JsonObject | undefined): [string, JsonObject][] {
  const entries = Object.entries(subschema(schema, "properties") ?? {});
  return entries.filter((entry): entry is [string, JsonObject] => isObject(entry[1]));
}
