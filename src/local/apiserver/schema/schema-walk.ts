import { isObject, type JsonObject } from "#base/json.ts";

/** The member of a schema that is itself a schema; undefined when it is absent or a boolean. */
function subschema(schema: JsonObject | undefined, key: string): JsonObject | undefined {
  const value = schema?.[key];
  return isObject(value) ? value : undefined;
}

/** The schema of field `name` of an object: a declared property, or what any further key must be. */
export function fieldSchema(schema: JsonObject | undefined, name: string): JsonObject | undefined {
  return propertySchemas(schema).get(name) ?? subschema(schema, "additionalProperties");
}

/** The schema of a list's items. */
export function itemSchema(schema: JsonObject | undefined): JsonObject | undefined {
  return subschema(schema, "items");
}

const propertiesBySchema = new WeakMap<JsonObject, ReadonlyMap<string, JsonObject>>();
const NONE: ReadonlyMap<string, JsonObject> = new Map();

/** The schema's declared properties, by name; remembered, since schemas never change. */
export function propertySchemas(schema: JsonObject | undefined): ReadonlyMap<string, JsonObject> {
  if (schema === undefined) return NONE;
  const known = propertiesBySchema.get(schema);
  if (known !== undefined) return known;
  const entries = Object.entries(subschema(schema, "properties") ?? {});
  const properties = new Map(
    entries.filter((entry): entry is [string, JsonObject] => isObject(entry[1])),
  );
  propertiesBySchema.set(schema, properties);
  return properties;
}
