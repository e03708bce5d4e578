import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { builtinDefinitionName } from "../kinds/builtin-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { definitionOf, objectMetaSchema } from "./kubernetes-schema.ts";
import { typeName, validateSchema } from "./schema-validate.ts";

/** Go's names for what its JSON decoder found, and for what the field is. */
const FOUND: Record<string, string> = { boolean: "bool", integer: "number" };
const GO_TYPES: Record<string, string> = {
  integer: "int32",
  boolean: "bool",
  object: "map[string]interface {}",
  array: "[]interface {}",
};
const META_DEFINITION = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/**
 * The first value that cannot be read as what its field is, in the words of Go's decoder; undefined
 * when there is none. Of custom kinds only metadata is read into a type: their schema judges the rest later.
 */
export function goTypeError(kind: Kind, object: JsonObject): string | undefined {
  const errors = kind.custom
    ? validateSchema(objectMetaSchema(), object["metadata"] ?? {}, undefined, "metadata")
    : validateSchema(kind.schema, object, undefined);
  for (const { reason, field, message } of errors) {
    if (reason !== "FieldValueTypeInvalid") continue;
    const match = /must be of type ([\w,-]+): "(\w+)"/.exec(message);
    if (match === null) return `parsing ${field}: ${message}`;
    const [, wanted = "", actual = ""] = match;
    // Go takes null for zero.
    if (actual === "null") continue;
    return `json: cannot unmarshal ${FOUND[actual] ?? actual} into Go struct field ${structField(kind, field)} of type ${GO_TYPES[wanted] ?? wanted}`;
  }
  return undefined;
}

/** What Go's decoder calls the type of a value. */
export function goTypeName(value: Json): string {
  const name = typeName(value);
  return FOUND[name] ?? name;
}

/** `Struct.path.of.the.field`: the innermost struct, and the names of fields, without keys and positions. */
function structField(kind: Kind, field: string): string {
  const names = field.replaceAll(/\[[^\]]*\]/g, "").split(".");
  let definition = kind.custom ? META_DEFINITION : builtinDefinitionName(kind.group, kind.kind);
  let schema: JsonObject | undefined = definitionOf(definition);
  const path: string[] = [];
  const rest = kind.custom ? names.slice(1) : names;
  if (kind.custom) path.push("metadata");
  let owner = definition;
  for (const name of rest) {
    const member: unknown = isObject(schema?.["properties"])
      ? schema["properties"][name]
      : undefined;
    // The key of a map is no field.
    if (!isObject(member)) continue;
    path.push(name);
    owner = definition;
    const target = referenceIn(member);
    if (target !== undefined) {
      definition = target;
      schema = definitionOf(target);
    } else schema = undefined;
  }
  return `${owner.split(".").at(-1)}.${path.join(".")}`;
}

/** The definition of a field's value, or of its items. */
function referenceIn(member: JsonObject): string | undefined {
  const inner = [member, member["items"], member["additionalProperties"]].find(
    (schema) => isObject(schema) && typeof schema["$ref"] === "string",
  );
  return isObject(inner) && typeof inner["$ref"] === "string" ? inner["$ref"] : undefined;
}
