import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { definitionOf } from "../schema/kubernetes-schema.ts";
import document from "./kubernetes-descriptions.generated.json" with { type: "json" };

/** Descriptions by definition and field; that of the definition itself is under the empty name. */
const descriptions: { readonly [definition: string]: { readonly [field: string]: string } } =
  document.definitions;

/** A definition of a built-in kind with what `kubectl explain` says of it and of its fields. */
export function describedDefinition(name: string): JsonObject {
  const definition = definitionOf(name);
  const { properties } = definition;
  const { "": own, ...ofFields } = descriptions[name] ?? {};
  const fields = Object.entries(isObject(properties) ? properties : {}).map(
    ([field, schema]): [string, Json] => [field, withDescription(schema, ofFields[field])],
  );
  return withDescription(
    isObject(properties) ? { ...definition, properties: Object.fromEntries(fields) } : definition,
    own,
  );
}

function withDescription<T extends Json>(
  schema: T,
  description: string | undefined,
): T | JsonObject {
  if (!isObject(schema) || description === undefined) return schema;
  const fields: JsonObject = schema;
  return { description, ...fields };
}
