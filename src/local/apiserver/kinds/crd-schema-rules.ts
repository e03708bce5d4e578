import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { stringsAt } from "../json-access.ts";
import { celError } from "../schema/cel-rules.ts";
import {
  child,
  type FieldError,
  forbidden,
  index,
  invalid,
  invalidText,
  key,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { goRegExp } from "../schema/go-regexp.ts";
import { propertySchemas } from "../schema/schema-walk.ts";
import { applyDefaults, prune, validate } from "../schema/structural.ts";

const TYPES = ["array", "boolean", "integer", "number", "object", "string"];
const SCALARS = new Set(["boolean", "integer", "number", "string"]);
const UNSUPPORTED = ["$ref", "definitions", "dependencies", "id", "patternProperties"];
const REASONS = [
  "FieldValueDuplicate",
  "FieldValueForbidden",
  "FieldValueInvalid",
  "FieldValueRequired",
];
/** What a schema inside allOf, anyOf, oneOf or not must leave to the schema around it. */
const ONLY_STRUCTURAL: readonly [string, string][] = [
  ["type", "must be empty to be structural"],
  ["additionalProperties", "must be undefined to be structural"],
  ["default", "must be undefined to be structural"],
  ["description", "must be empty to be structural"],
  ["title", "must be empty to be structural"],
  ["nullable", "must be false to be structural"],
  ["x-kubernetes-preserve-unknown-fields", "must be false to be structural"],
  ["x-kubernetes-embedded-resource", "must be false to be structural"],
  ["x-kubernetes-validations", "must be empty to be structural"],
];
/** Depth to which a schema may nest. */
const DEPTH_MAX = 100;

/** What keeps the schema of a CRD's version from being a structural schema, in the API server's words. */
export function validateRootSchema(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { type } = schema;
  if (type === undefined)
    errors.push(required(child(path, "type"), "must not be empty at the root"));
  else if (type !== "object") {
    errors.push(invalid(child(path, "type"), type, "must be object at the root"));
  }
  if (schema["nullable"] === true) {
    errors.push(forbidden(child(path, "nullable"), "nullable cannot be true at the root"));
  }
  if (isObject(schema["additionalProperties"])) {
    errors.push(forbidden(child(path, "additionalProperties"), "must not be used at the root"));
  }
  const properties = propertySchemas(schema);
  const at = (name: string) => key(child(path, "properties"), name);
  for (const name of ["apiVersion", "kind"]) {
    const actual = properties.get(name)?.["type"];
    if (actual !== undefined && actual !== "string") {
      errors.push(invalid(child(at(name), "type"), actual, "must be string"));
    }
  }
  errors.push(...metadataErrors(properties.get("metadata"), at("metadata")));
  for (const [name, property] of properties) {
    if (name !== "metadata") errors.push(...schemaErrors(property, at(name), 1));
  }
  return [...errors, ...(type === "object" ? ownErrors(schema, path) : [])];
}

function metadataErrors(metadata: JsonObject | undefined, path: string): FieldError[] {
  if (metadata === undefined) return [];
  if (metadata["type"] !== "object") {
    return [invalid(child(path, "type"), metadata["type"] ?? "", "must be object")];
  }
  const others = [...propertySchemas(metadata).keys()].filter(
    (name) => name !== "name" && name !== "generateName",
  );
  if (others.length === 0) return [];
  const text =
    "must not specify anything other than name and generateName, but metadata is implicitly specified";
  return [forbidden(path, text)];
}

function schemaErrors(schema: JsonObject, path: string, depth: number): FieldError[] {
  if (depth > DEPTH_MAX) return [forbidden(path, `must not nest deeper than ${DEPTH_MAX} levels`)];
  const unsupported = UNSUPPORTED.filter((name) => schema[name] !== undefined);
  if (unsupported.length > 0) {
    return unsupported.map((name) => forbidden(child(path, name), `${name} is not supported`));
  }
  const errors = [...typeErrors(schema, path), ...ownErrors(schema, path)];
  for (const [name, property] of propertySchemas(schema)) {
    errors.push(...schemaErrors(property, key(child(path, "properties"), name), depth + 1));
  }
  const { additionalProperties, items } = schema;
  if (isObject(additionalProperties)) {
    errors.push(
      ...schemaErrors(additionalProperties, child(path, "additionalProperties"), depth + 1),
    );
  }
  if (isObject(items)) errors.push(...schemaErrors(items, child(path, "items"), depth + 1));
  return errors;
}

function typeErrors(schema: JsonObject, path: string): FieldError[] {
  const { type, items } = schema;
  const isTypeless =
    schema["x-kubernetes-int-or-string"] === true ||
    schema["x-kubernetes-preserve-unknown-fields"] === true;
  if (type === undefined && !isTypeless) {
    return [required(child(path, "type"), "must not be empty for specified object fields")];
  }
  if (type !== undefined && !(typeof type === "string" && TYPES.includes(type))) {
    return [notSupported(child(path, "type"), type, TYPES)];
  }
  if (type === "array" && items === undefined) {
    return [required(child(path, "items"), "must be specified")];
  }
  if (Array.isArray(items)) {
    return [forbidden(child(path, "items"), "items must be a schema object and not an array")];
  }
  return [];
}

/** What is wrong with one schema, apart from those below it. */
function ownErrors(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (schema["uniqueItems"] === true) {
    const text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
    errors.push(forbidden(child(path, "uniqueItems"), text));
  }
  if (propertySchemas(schema).size > 0 && isObject(schema["additionalProperties"])) {
    const text = "additionalProperties and properties are mutual exclusive";
    errors.push(forbidden(child(path, "additionalProperties"), text));
  }
  const preserve = schema["x-kubernetes-preserve-unknown-fields"];
  if (preserve !== undefined && preserve !== true) {
    const field = child(path, "x-kubernetes-preserve-unknown-fields");
    errors.push(invalid(field, preserve, "must be true or undefined"));
  }
  if (schema["x-kubernetes-embedded-resource"] === true) {
    errors.push(...embeddedErrors(schema, path));
  }
  const { pattern } = schema;
  if (typeof pattern === "string") errors.push(...patternErrors(pattern, child(path, "pattern")));
  return [
    ...errors,
    ...listErrors(schema, path),
    ...mapErrors(schema, path),
    ...combinationErrors(schema, path),
    ...defaultErrors(schema, path),
    ...ruleErrors(schema, path),
  ];
}

function embeddedErrors(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (
    propertySchemas(schema).size === 0 &&
    schema["x-kubernetes-preserve-unknown-fields"] !== true
  ) {
    const text =
      "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
    errors.push(required(child(path, "properties"), text));
  }
  if (schema["type"] !== "object") {
    const text = "must be object if x-kubernetes-embedded-resource is true";
    errors.push(invalid(child(path, "type"), schema["type"] ?? "", text));
  }
  return errors;
}

function patternErrors(pattern: string, path: string): FieldError[] {
  try {
    goRegExp(pattern);
    return [];
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [invalid(path, pattern, `must be a valid regular expression, but isn't: ${reason}`)];
  }
}

function listErrors(schema: JsonObject, path: string): FieldError[] {
  const listType = schema["x-kubernetes-list-type"];
  const keys = stringsAt(schema, "x-kubernetes-list-map-keys");
  const field = child(path, "x-kubernetes-list-type");
  if (listType === undefined) {
    if (keys.length === 0) return [];
    return [required(field, "must be map if x-kubernetes-list-map-keys is non-empty")];
  }
  if (listType !== "atomic" && listType !== "set" && listType !== "map") {
    return [notSupported(field, listType, ["atomic", "set", "map"])];
  }
  if (schema["type"] !== "array") {
    const text = "must be array if x-kubernetes-list-type is specified";
    return [invalid(child(path, "type"), schema["type"] ?? "", text)];
  }
  const items = schema["items"];
  if (!isObject(items)) return [];
  if (listType === "map") return mapListErrors(items, keys, path);
  if (
    listType === "set" &&
    items["type"] === "object" &&
    items["x-kubernetes-map-type"] !== "atomic"
  ) {
    return [
      invalid(
        child(path, "items.x-kubernetes-map-type"),
        items["x-kubernetes-map-type"] ?? null,
        "must be atomic as item of a list with x-kubernetes-list-type=set",
      ),
    ];
  }
  return [];
}

function mapListErrors(items: JsonObject, keys: string[], path: string): FieldError[] {
  const field = child(path, "x-kubernetes-list-map-keys");
  const itemsPath = child(path, "items");
  if (items["type"] !== "object") {
    const text = "must be object if parent array's x-kubernetes-list-type is map";
    return [invalid(child(itemsPath, "type"), items["type"] ?? "", text)];
  }
  if (items["nullable"] === true) {
    const text = "cannot be nullable when x-kubernetes-list-type is map";
    return [forbidden(child(itemsPath, "nullable"), text)];
  }
  if (keys.length === 0) {
    return [required(field, "must not be empty if x-kubernetes-list-type is map")];
  }
  if (new Set(keys).size < keys.length) {
    return [invalid(field, keys, "must not contain duplicate entries")];
  }
  const properties = propertySchemas(items);
  if (!keys.every((name) => properties.has(name))) {
    return [invalid(field, keys, "entries must all be names of item properties")];
  }
  return keys.flatMap((name) => {
    const at = key(child(itemsPath, "properties"), name);
    const property = properties.get(name) ?? {};
    const { type } = property;
    const isKey = "this property is in x-kubernetes-list-map-keys, so it";
    if (typeof type === "string" && !SCALARS.has(type)) {
      const text = "must be a scalar type if parent array's x-kubernetes-list-type is map";
      return [invalid(child(at, "type"), type, text)];
    }
    if (property["nullable"] === true) {
      return [forbidden(child(at, "nullable"), `${isKey} cannot be nullable`)];
    }
    if (property["default"] === undefined && !stringsAt(items, "required").includes(name)) {
      return [
        required(child(at, "default"), `${isKey} must have a default or be a required property`),
      ];
    }
    return [];
  });
}

function mapErrors(schema: JsonObject, path: string): FieldError[] {
  const mapType = schema["x-kubernetes-map-type"];
  if (mapType === undefined) return [];
  if (mapType !== "atomic" && mapType !== "granular") {
    return [notSupported(child(path, "x-kubernetes-map-type"), mapType, ["atomic", "granular"])];
  }
  if (schema["type"] === "object") return [];
  const text = "must be object if x-kubernetes-map-type is specified";
  return [invalid(child(path, "type"), schema["type"] ?? "", text)];
}

function combinationErrors(schema: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  // An int-or-string may repeat itself as anyOf, for the sake of other readers of the schema.
  const isIntOrString = schema["x-kubernetes-int-or-string"] === true;
  for (const name of ["allOf", "anyOf", "oneOf"]) {
    const parts = schema[name];
    if (!Array.isArray(parts) || (isIntOrString && name !== "oneOf")) continue;
    for (const [position, part] of parts.entries()) {
      if (isObject(part)) errors.push(...partErrors(part, index(child(path, name), position)));
    }
  }
  const { not } = schema;
  return isObject(not) ? [...errors, ...partErrors(not, child(path, "not"))] : errors;
}

function partErrors(part: JsonObject, path: string): FieldError[] {
  const errors = ONLY_STRUCTURAL.filter(([name]) => (part[name] ?? false) !== false).map(
    ([name, text]) => forbidden(child(path, name), text),
  );
  for (const [name, property] of propertySchemas(part)) {
    errors.push(...partErrors(property, key(child(path, "properties"), name)));
  }
  const { items } = part;
  if (isObject(items)) errors.push(...partErrors(items, child(path, "items")));
  return [...errors, ...combinationErrors(part, path)];
}

function defaultErrors(schema: JsonObject, path: string): FieldError[] {
  const fallback: Json | undefined = schema["default"];
  if (fallback === undefined) return [];
  const field = child(path, "default");
  // The value is looked at as the only field of an object, the form in which values are pruned.
  const holder: JsonObject = {
    type: "object",
    properties: { value: { ...schema, default: null } },
  };
  const object = { value: fallback };
  if (prune(holder, object).unknown.length > 0) {
    return [invalid(field, fallback, "must not have unknown fields")];
  }
  return validate(holder, applyDefaults(holder, object)).map((error) => ({
    ...error,
    field: error.field.replace(/^value/, field),
    message: error.message.replace(/: value((?:[.[][^ ]*)?) in body/, ": $1 in body"),
  }));
}

function ruleErrors(schema: JsonObject, path: string): FieldError[] {
  const rules = schema["x-kubernetes-validations"];
  if (!Array.isArray(rules)) return [];
  return rules.filter(isObject).flatMap((rule, position) => {
    const field = index(child(path, "x-kubernetes-validations"), position);
    const { message, messageExpression, reason } = rule;
    const text = typeof rule["rule"] === "string" ? rule["rule"].trim() : "";
    if (text === "") return [required(child(field, "rule"), "rule is not specified")];
    const errors: FieldError[] = [];
    if (typeof message === "string" && message.trim().includes("\n")) {
      errors.push(invalid(child(field, "message"), message, "must not contain line breaks"));
    }
    if (text.includes("\n") && message === undefined && messageExpression === undefined) {
      const detail = "message must be specified if rule contains line breaks";
      errors.push(required(child(field, "message"), detail));
    }
    if (reason !== undefined && !(typeof reason === "string" && REASONS.includes(reason))) {
      errors.push(notSupported(child(field, "reason"), reason, REASONS));
    }
    const ruleError = celError(text, "bool") ?? undeclaredField(schema, text);
    if (ruleError !== undefined) {
      errors.push(invalidText(child(field, "rule"), goRule(rule), ruleError));
    }
    const messageError =
      typeof messageExpression === "string" ? celError(messageExpression, "string") : undefined;
    if (messageError !== undefined) {
      errors.push(invalid(child(field, "messageExpression"), rule, messageError));
    }
    return errors;
  });
}

/** A rule as Go prints it. */
function goRule(rule: JsonObject): string {
  const { message = "", messageExpression = "", reason = null } = rule;
  const { fieldPath = "", optionalOldSelf = null } = rule;
  return JSON.stringify({
    Rule: rule["rule"] ?? "",
    Message: message,
    MessageExpression: messageExpression,
    Reason: reason,
    FieldPath: fieldPath,
    OptionalOldSelf: optionalOldSelf,
  });
}

/**
 * The first field of `self` that a rule reads and the schema does not declare, in the compiler's words:
 * at run time such a rule could only fail. Names with `__` stand for others and are not looked at.
 */
function undeclaredField(schema: JsonObject, rule: string): string | undefined {
  for (const match of rule.matchAll(
    /(?<![\w.])(?:self|oldSelf)((?:\.[A-Za-z_]\w*(?!\w|\s*\())+)/g,
  )) {
    let current: JsonObject | undefined = schema;
    let at = match.index + match[0].length - (match[1]?.length ?? 0);
    for (const name of (match[1] ?? "").slice(1).split(".")) {
      if (current === undefined || name.includes("__") || !isClosed(current)) break;
      // At the root every object has these, declared or not.
      if (current === schema && META_FIELDS.includes(name)) break;
      const next: JsonObject | undefined = propertySchemas(current).get(name);
      if (next === undefined) {
        const line = rule.slice(0, at).split("\n").length;
        const column = at - (rule.lastIndexOf("\n", at - 1) + 1);
        const shown = rule.split("\n")[line - 1] ?? "";
        return `compilation failed: ERROR: <input>:${line}:${column + 1}: undefined field '${name}'\n | ${shown}\n | ${".".repeat(column)}^`;
      }
      current = next;
      at += name.length + 1;
    }
  }
  return undefined;
}

/** Whether an object can only have the fields that its schema declares. */
const isClosed = (schema: JsonObject) =>
  schema["type"] === "object" &&
  schema["additionalProperties"] === undefined &&
  schema["x-kubernetes-preserve-unknown-fields"] !== true &&
  schema["x-kubernetes-embedded-resource"] !== true;

const META_FIELDS = ["apiVersion", "kind", "metadata"];
