import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { hasCelRules, validateCel } from "./cel-rules.ts";
import { validateEmbedded } from "./embedded-resources.ts";
import { child, type FieldError, index, invalid, ROOT } from "./field-error.ts";
import { isBuiltinSchema, objectMetaSchema } from "./kubernetes-schema.ts";
import { validateLists } from "./list-rules.ts";
import { validateSchema } from "./schema-validate.ts";
import { fieldSchema, itemSchema, propertySchemas } from "./schema-walk.ts";

const META_FIELDS = new Set(["apiVersion", "kind", "metadata"]);
const PRESERVE = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED = "x-kubernetes-embedded-resource";

/** Errors after which the API server does not look at CEL rules: they could only confuse. */
const BLOCKING = new Set<FieldError["reason"]>([
  "FieldValueRequired",
  "FieldValueNotSupported",
  "FieldValueTypeInvalid",
  "FieldValueTooLong",
  "FieldValueTooMany",
]);

interface Unknown {
  fields: string[];
  /** Found in the object's own metadata; reported first. */
  own: string[];
  /** Found in the metadata of objects embedded in it; reported last. */
  embedded: string[];
  /** All of them, in the order of the object. */
  all: string[];
}

/**
 * Drops the fields that the schema does not know and returns their paths. Metadata is pruned by the
 * schema of ObjectMeta wherever the object, or one embedded in it, has some.
 */
export function prune(
  schema: JsonObject,
  object: JsonObject,
): { object: JsonObject; unknown: string[] } {
  const unknown: Unknown = { own: [], fields: [], embedded: [], all: [] };
  const pruned = pruneObject({ ...schema, [EMBEDDED]: true }, object, ROOT, unknown);
  const { own, fields, embedded, all } = unknown;
  // Go's decoder, which reads built-in kinds, reports what it meets as it meets it.
  if (isBuiltinSchema(schema)) return { object: pruned, unknown: all };
  return { object: pruned, unknown: [...own.sort(), ...fields.sort(), ...embedded.sort()] };
}

function pruneValue(
  schema: JsonObject | undefined,
  value: Json,
  path: string,
  unknown: Unknown,
): Json {
  if (Array.isArray(value)) {
    const items = itemSchema(schema);
    // Below a list that keeps everything, items are free unless they have a schema of their own.
    if (items === undefined && schema?.[PRESERVE] === true) return value;
    return value.map((item, position) => pruneValue(items, item, index(path, position), unknown));
  }
  return isObject(value) ? pruneObject(schema, value, path, unknown) : value;
}

function pruneObject(
  schema: JsonObject | undefined,
  object: JsonObject,
  path: string,
  unknown: Unknown,
): JsonObject {
  const kept: [string, Json][] = [];
  const known = propertySchemas(schema);
  const allowsOthers = (schema?.["additionalProperties"] ?? false) !== false;
  for (const [name, value] of Object.entries(object)) {
    const below = child(path, name);
    if (schema?.[EMBEDDED] === true && META_FIELDS.has(name)) {
      kept.push([name, name === "metadata" ? pruneMetadata(value, below, unknown) : value]);
    } else if (known.has(name) || allowsOthers) {
      kept.push([name, pruneValue(fieldSchema(schema, name), value, below, unknown)]);
    } else if (schema?.[PRESERVE] === true) kept.push([name, value]);
    else {
      unknown.fields.push(below);
      unknown.all.push(below);
    }
  }
  return Object.fromEntries(kept);
}

function pruneMetadata(metadata: Json, path: string, unknown: Unknown): Json {
  if (!isObject(metadata)) return metadata;
  const found: Unknown = { own: [], fields: [], embedded: [], all: unknown.all };
  const pruned = pruneObject(objectMetaSchema(), metadata, path, found);
  (path === "metadata" ? unknown.own : unknown.embedded).push(...found.fields);
  return pruned;
}

/**
 * Fills in the schema's defaults and drops nulls that the schema does not allow, as the API server
 * does before it validates. `object` stays as it is.
 */
export function applyDefaults(schema: JsonObject, object: JsonObject): JsonObject {
  return defaultObject(schema, object);
}

function defaultValue(schema: JsonObject | undefined, value: Json): Json {
  if (schema === undefined) return value;
  if (Array.isArray(value)) {
    const items = itemSchema(schema);
    const fallback = items?.["default"];
    return value.map((item) => {
      const isFilled = item === null && fallback !== undefined && items?.["nullable"] !== true;
      return defaultValue(items, isFilled ? fallback : item);
    });
  }
  return isObject(value) ? defaultObject(schema, value) : value;
}

function defaultObject(schema: JsonObject, object: JsonObject): JsonObject {
  const result: [string, Json][] = [];
  for (const [name, value] of Object.entries(object)) {
    const field = fieldSchema(schema, name);
    if (value !== null || field === undefined || field["nullable"] === true) {
      result.push([name, defaultValue(field, value)]);
    } else if (field["default"] !== undefined) {
      result.push([name, defaultValue(field, field["default"])]);
    }
  }
  for (const [name, field] of propertySchemas(schema)) {
    const fallback = field["default"];
    if (fallback === undefined || Object.hasOwn(object, name)) continue;
    result.push([name, defaultValue(field, fallback)]);
  }
  return Object.fromEntries(result);
}

/**
 * Everything that is wrong with an object by its schema, in the API server's words. With `old`, what
 * did not change is not held against the update, and CEL transition rules are evaluated.
 */
export function validate(schema: JsonObject, object: JsonObject, old?: JsonObject): FieldError[] {
  const errors = [
    ...validateSchema(schema, object, old),
    ...metadataErrors(object, old),
    ...validateEmbedded(schema, object),
  ];
  // In built-in kinds the list types only say how to merge.
  if (isBuiltinSchema(schema)) return errors;
  if (old === undefined || validateLists(schema, old, ROOT).length === 0) {
    errors.push(...validateLists(schema, object, ROOT));
  }
  if (!hasCelRules(schema)) return errors;
  if (errors.some((error) => BLOCKING.has(error.reason))) {
    const text =
      "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    return [...errors, invalid(ROOT, null, text)];
  }
  return [...errors, ...validateCel(schema, object, old)];
}

function metadataErrors(object: JsonObject, old: JsonObject | undefined): FieldError[] {
  const { metadata } = object;
  if (!isObject(metadata) || jsonEqual(metadata, old?.["metadata"])) return [];
  return validateSchema(objectMetaSchema(), metadata, undefined, "metadata");
}
