import { assert } from "#base/assert.ts";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import document from "./kubernetes-schema.generated.json" with { type: "json" };

/** Definitions by their OpenAPI name; a `$ref` holds the bare name of another definition. */
const definitions: { readonly [name: string]: JsonObject } = document.definitions;
const resolvedByName = new Map<string, JsonObject>();
const builtinSchemas = new WeakSet<JsonObject>();
const filled = new WeakSet<JsonObject>();
/** A schema with none of these says nothing about its contents: any JSON, such as FieldsV1. */
const CONTENT_KEYS = ["properties", "additionalProperties", "items", "oneOf", "$ref"];
const PRESERVE = "x-kubernetes-preserve-unknown-fields";

/** The definition as it is written, with its `$ref`s. */
export function definitionOf(name: string): JsonObject {
  const definition = definitions[name];
  if (definition === undefined) throw new Error(`bug: no definition ${name}`);
  return definition;
}

/**
 * The definition with every `$ref` replaced by the schema that it names. Schemas are shared, and
 * those of JSONSchemaProps contain themselves: read only, and never to be turned into text.
 */
export function resolvedDefinition(name: string): JsonObject {
  const known = resolvedByName.get(name);
  if (known !== undefined) return known;
  const result: JsonObject = {};
  resolvedByName.set(name, result);
  builtinSchemas.add(result);
  Object.assign(result, resolveFields(definitionOf(name)));
  filled.add(result);
  return result;
}

/** Whether a schema is that of a built-in kind, as `resolvedDefinition` returned it. */
export function isBuiltinSchema(schema: JsonObject): boolean {
  return builtinSchemas.has(schema);
}

/** The schema of every object's metadata. */
export function objectMetaSchema(): JsonObject {
  return resolvedDefinition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
}

/** The names of all definitions that the given ones refer to, themselves included. */
export function definitionClosure(names: Iterable<string>): Set<string> {
  const found = new Set<string>();
  const pending = [...names];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (found.has(name)) continue;
    found.add(name);
    collectRefs(definitionOf(name), pending);
  }
  return found;
}

function collectRefs(value: Json, into: string[]): void {
  if (Array.isArray(value)) for (const item of value) collectRefs(item, into);
  if (!isObject(value)) return;
  for (const [key, item] of Object.entries(value)) {
    if (key === "$ref" && typeof item === "string") into.push(item);
    else collectRefs(item, into);
  }
}

function resolve(value: Json): Json {
  if (Array.isArray(value)) return value.map(resolve);
  if (!isObject(value)) return value;
  const { $ref: ref, ...siblings } = value;
  if (typeof ref !== "string") return resolveFields(value);
  const target = resolvedDefinition(ref);
  // A reference to a definition that is still being built must be the very object, not a copy.
  if (Object.keys(siblings).length === 0) return target;
  assert(filled.has(target), `${ref} is referred to with siblings from inside itself`);
  return { ...target, ...siblings };
}

function resolveFields(fields: JsonObject): JsonObject {
  const result: JsonObject = {};
  for (const [key, item] of Object.entries(fields)) {
    result[key] = key === "properties" && isObject(item) ? resolveProperties(item) : resolve(item);
  }
  const isFree =
    (fields["type"] ?? "object") === "object" && !CONTENT_KEYS.some((key) => key in fields);
  if (isFree) result[PRESERVE] = true;
  return result;
}

function resolveProperties(properties: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(properties).map(([key, item]) => [key, resolve(item)]));
}
