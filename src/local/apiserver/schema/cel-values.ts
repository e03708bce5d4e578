import { Duration } from "@marcbachmann/cel-js/evaluator";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { durationNanos } from "./formats.ts";
import { fieldSchema, itemSchema, propertySchemas } from "./schema-walk.ts";

/** Words that CEL keeps for itself; a field of that name is written `__name__` in a rule. */
const RESERVED = new Set([
  "true",
  "false",
  "null",
  "in",
  "as",
  "break",
  "const",
  "continue",
  "else",
  "for",
  "function",
  "if",
  "import",
  "let",
  "loop",
  "package",
  "namespace",
  "return",
  "var",
  "void",
  "while",
]);
const NANOS_PER_SECOND = 1_000_000_000n;

/**
 * A JSON value as CEL rules see it: integers as bigint, timestamps as Date, durations, bytes, and
 * fields under their escaped names. Of metadata only the name and generateName are visible.
 */
export function celValue(
  schema: JsonObject | undefined,
  value: Json,
  isResource: boolean,
): unknown {
  if (Array.isArray(value)) {
    return value.map((item) => celValue(itemSchema(schema), item, false));
  }
  if (isObject(value)) return celObject(schema, value, isResource);
  if (typeof value === "number") return celNumber(schema, value);
  return typeof value === "string" ? celText(schema, value) : value;
}

function celNumber(schema: JsonObject | undefined, value: number): bigint | number {
  return schema?.["type"] !== "number" && Number.isInteger(value) ? BigInt(value) : value;
}

function celText(schema: JsonObject | undefined, value: string): unknown {
  switch (schema?.["format"]) {
    case "date-time":
    case "date":
      return new Date(value);
    case "duration": {
      const nanos = durationNanos(value);
      if (nanos === undefined) return value;
      return new Duration(nanos / NANOS_PER_SECOND, Number(nanos % NANOS_PER_SECOND));
    }
    case "byte":
      return Uint8Array.from(Buffer.from(value, "base64"));
    default:
      return value;
  }
}

function celObject(
  schema: JsonObject | undefined,
  object: JsonObject,
  isResource: boolean,
): unknown {
  const result = new Map<string, unknown>();
  const declared = propertySchemas(schema);
  const isEmbedded = isResource || schema?.["x-kubernetes-embedded-resource"] === true;
  for (const [name, value] of Object.entries(object)) {
    if (isEmbedded && name === "metadata" && isObject(value)) {
      const visible = Object.entries(value).filter(([key]) =>
        ["name", "generateName"].includes(key),
      );
      result.set(name, new Map(visible));
    } else {
      const escaped = declared.has(name) ? escapeField(name) : name;
      result.set(escaped, celValue(fieldSchema(schema, name), value, false));
    }
  }
  return result;
}

/** The identifier under which rules know a field. */
function escapeField(name: string): string {
  if (RESERVED.has(name)) return `__${name}__`;
  return name
    .replaceAll("__", "__underscores__")
    .replaceAll(".", "__dot__")
    .replaceAll("-", "__dash__")
    .replaceAll("/", "__slash__");
}
