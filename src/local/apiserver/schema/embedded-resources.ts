import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { child, type FieldError, index, invalid, key, ROOT, required } from "./field-error.ts";
import { dns1035Label, pathSegment } from "./name-rules.ts";
import { validateObjectMeta } from "./object-meta.ts";
import { fieldSchema, itemSchema, propertySchemas } from "./schema-walk.ts";

/** Checks apiVersion, kind and metadata of the objects that a schema says are embedded in others. */
export function validateEmbedded(
  schema: JsonObject | undefined,
  value: Json,
  path: string = ROOT,
): FieldError[] {
  if (schema === undefined) return [];
  if (Array.isArray(value)) {
    return value.flatMap((item, position) =>
      validateEmbedded(itemSchema(schema), item, index(path, position)),
    );
  }
  if (!isObject(value)) return [];
  const errors =
    schema["x-kubernetes-embedded-resource"] === true ? resourceErrors(value, path) : [];
  const properties = propertySchemas(schema);
  for (const [name, item] of Object.entries(value)) {
    const below = properties.has(name) ? child(path, name) : key(path, name);
    errors.push(...validateEmbedded(fieldSchema(schema, name), item, below));
  }
  return errors;
}

function resourceErrors(object: JsonObject, path: string): FieldError[] {
  const { apiVersion, kind, metadata } = object;
  return [
    ...textErrors(apiVersion, child(path, "apiVersion"), (text) =>
      text.split("/").length > 2 ? [`unexpected GroupVersion string: ${text}`] : [],
    ),
    ...textErrors(kind, child(path, "kind"), (text) => {
      const wrong = dns1035Label(text.toLowerCase());
      if (wrong.length === 0) return [];
      return [`may have mixed case, but should otherwise match: ${wrong.join(",")}`];
    }),
    ...(isObject(metadata)
      ? // An embedded object need not have a name.
        validateObjectMeta({ name: "any", ...metadata }, pathSegment, child(path, "metadata"))
      : []),
  ];
}

function textErrors(
  value: Json | undefined,
  path: string,
  rule: (text: string) => string[],
): FieldError[] {
  if (value === undefined) return [required(path)];
  if (typeof value !== "string") return [invalid(path, value, "must be a string")];
  if (value === "") return [invalid(path, value, "must not be empty")];
  return rule(value).map((text) => invalid(path, value, text));
}
