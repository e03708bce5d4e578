import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  index,
  invalid,
  notSupported,
  ROOT,
  required,
  tooLong,
  tooMany,
  typeInvalid,
} from "./field-error.ts";
import { hasFormat } from "./formats.ts";
import { goRegExp } from "./go-regexp.ts";
import { correlatedItem } from "./list-rules.ts";
import { fieldSchema, itemSchema } from "./schema-walk.ts";

/**
 * Checks a value against an OpenAPI schema, in the API server's words. What is unchanged since
 * `old` is not checked again, so that a rule added later does not block the update of other fields.
 */
export function validateSchema(
  schema: JsonObject,
  value: Json,
  old: Json | undefined,
  path: string = ROOT,
): FieldError[] {
  if (old !== undefined && jsonEqual(value, old)) return [];
  const errors = typeErrors(schema, value, path);
  if (value !== null) errors.push(...combinationErrors(schema, value, old, path));
  if (typeof value === "string") errors.push(...stringErrors(schema, value, path));
  if (typeof value === "number") errors.push(...numberErrors(schema, value, path));
  if (Array.isArray(value)) errors.push(...listErrors(schema, value, old, path));
  errors.push(...enumErrors(schema, value, path));
  if (isObject(value)) errors.push(...objectErrors(schema, value, old, path));
  return errors;
}

/** The JSON Schema name of a value's type. */
export function typeName(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return isInt64(value) ? "integer" : "number";
  return typeof value;
}

const isInt64 = (value: number) => Number.isInteger(value) && Math.abs(value) < 2 ** 63;

function typeErrors(schema: JsonObject, value: Json, path: string): FieldError[] {
  const type = schema["type"];
  const types =
    schema["x-kubernetes-int-or-string"] === true
      ? ["integer", "string"]
      : typeof type === "string"
        ? [type]
        : [];
  const actual = typeName(value);
  if (types.length === 0 || types.includes(actual)) return [];
  if (actual === "null" && schema["nullable"] === true) return [];
  if (actual === "integer" && types.includes("number")) return [];
  return [
    typeInvalid(path, actual, `${path} in body must be of type ${types.join(",")}: "${actual}"`),
  ];
}

function stringErrors(schema: JsonObject, value: string, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { maxLength, minLength, pattern, format } = schema;
  const length = [...value].length;
  if (typeof maxLength === "number" && length > maxLength) errors.push(tooLong(path, maxLength));
  else if (typeof minLength === "number" && length < minLength) {
    errors.push(invalid(path, value, `${path} in body should be at least ${minLength} chars long`));
  } else if (typeof pattern === "string" && !goRegExp(pattern).test(value)) {
    errors.push(invalid(path, value, `${path} in body should match '${pattern}'`));
  }
  if (typeof format === "string" && schema["type"] === "string" && !hasFormat(format, value)) {
    errors.push(
      typeInvalid(
        path,
        value,
        `${path} in body must be of type ${format}: ${JSON.stringify(value)}`,
      ),
    );
  }
  return errors;
}

function numberErrors(schema: JsonObject, value: number, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { multipleOf, maximum, minimum } = schema;
  const report = (rule: string) =>
    errors.push(invalid(path, value, `${path} in body should be ${rule}`));
  if (typeof multipleOf === "number" && !isMultiple(value, multipleOf)) {
    report(`a multiple of ${multipleOf}`);
  }
  if (typeof maximum === "number") {
    const isExclusive = schema["exclusiveMaximum"] === true;
    if (isExclusive && value >= maximum) report(`less than ${maximum}`);
    else if (value > maximum) report(`less than or equal to ${maximum}`);
  }
  if (typeof minimum === "number") {
    const isExclusive = schema["exclusiveMinimum"] === true;
    if (isExclusive && value <= minimum) report(`greater than ${minimum}`);
    else if (value < minimum) report(`greater than or equal to ${minimum}`);
  }
  return errors;
}

function isMultiple(value: number, factor: number): boolean {
  const quotient = value / factor;
  // 0.3 is a multiple of 0.1 for people, if not quite for binary fractions.
  return Math.abs(quotient - Math.round(quotient)) <= 1e-9 * Math.max(1, Math.abs(quotient));
}

function listErrors(
  schema: JsonObject,
  value: readonly Json[],
  old: Json | undefined,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const { minItems, maxItems } = schema;
  const items = itemSchema(schema);
  if (items !== undefined) {
    for (const [position, item] of value.entries()) {
      const before = correlatedItem(schema, old, item);
      errors.push(...validateSchema(items, item, before, index(path, position)));
    }
  }
  if (typeof minItems === "number" && value.length < minItems) {
    errors.push(
      invalid(path, value.length, `${path} in body should have at least ${minItems} items`),
    );
  }
  if (typeof maxItems === "number" && value.length > maxItems) {
    errors.push(tooMany(path, value.length, maxItems));
  }
  if (schema["uniqueItems"] === true && hasDuplicates(value)) {
    errors.push(invalid(path, "", `${path} in body shouldn't contain duplicates`));
  }
  return errors;
}

const hasDuplicates = (list: readonly Json[]) =>
  list.some((item, position) => list.slice(0, position).some((other) => jsonEqual(item, other)));

function enumErrors(schema: JsonObject, value: Json, path: string): FieldError[] {
  const allowed = schema["enum"];
  if (!Array.isArray(allowed) || allowed.some((item) => jsonEqual(item, value))) return [];
  // A fraction in an enumeration of integers is reported as what it is: the wrong type.
  if (typeName(value) === "number" && allowed.every((item) => Number.isInteger(item))) return [];
  return [notSupported(path, value, allowed)];
}

function objectErrors(
  schema: JsonObject,
  value: JsonObject,
  old: Json | undefined,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const before = isObject(old) ? old : {};
  const count = Object.keys(value).length;
  const { minProperties, maxProperties } = schema;
  if (typeof minProperties === "number" && count < minProperties) {
    errors.push(
      invalid(path, count, `${path} in body should have at least ${minProperties} properties`),
    );
  }
  if (typeof maxProperties === "number" && count > maxProperties) {
    errors.push(tooMany(path, count, maxProperties));
  }
  for (const [name, item] of Object.entries(value)) {
    const field = fieldSchema(schema, name);
    if (field === undefined) continue;
    const previous = Object.hasOwn(before, name) ? before[name] : undefined;
    errors.push(...validateSchema(field, item, previous, child(path, name)));
  }
  for (const name of stringsAt(schema, "required")) {
    if (!Object.hasOwn(value, name)) errors.push(required(child(path, name)));
  }
  return errors;
}

function combinationErrors(
  schema: JsonObject,
  value: Json,
  old: Json | undefined,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const results = (key: string) =>
    schemasAt(schema, key).map((part) => validateSchema(part, value, old, path));
  const whole = (text: string) => errors.push(invalid(ROOT, "", `"${path}" ${text}`));

  const anyOf = results("anyOf");
  if (anyOf.length > 0 && anyOf.every((result) => result.length > 0)) {
    whole("must validate at least one schema (anyOf)");
    errors.push(...fewest(anyOf));
  }
  const oneOf = results("oneOf");
  const valid = oneOf.filter((result) => result.length === 0).length;
  if (oneOf.length > 0 && valid !== 1) {
    const found = valid === 0 ? "none valid" : `${valid} valid alternatives`;
    whole(`must validate one and only one schema (oneOf). Found ${found}`);
    if (valid === 0) errors.push(...fewest(oneOf));
  }
  const allOf = results("allOf");
  errors.push(...allOf.flat());
  if (allOf.some((result) => result.length > 0)) {
    const none = allOf.every((result) => result.length > 0) ? ". None validated" : "";
    whole(`must validate all the schemas (allOf)${none}`);
  }
  const not = schema["not"];
  if (isObject(not) && validateSchema(not, value, old, path).length === 0) {
    whole("must not validate the schema (not)");
  }
  return errors;
}

function schemasAt(schema: JsonObject, key: string): JsonObject[] {
  const list = schema[key];
  return Array.isArray(list) ? list.filter(isObject) : [];
}

const fewest = (results: FieldError[][]) =>
  results.reduce((best, result) => (result.length < best.length ? result : best));
