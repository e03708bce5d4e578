import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { stringsAt } from "../json-access.ts";
import { objectMetaSchema } from "../schema/kubernetes-schema.ts";
import { itemKey } from "../schema/list-rules.ts";
import { propertySchemas } from "../schema/schema-walk.ts";
import { keyElement, valueElement } from "./field-set.ts";

/**
 * What server-side apply knows about a value: a schema, or one of two stand-ins where there is none.
 * `deduced` objects are merged field by field, their lists are replaced; `untyped` values are replaced.
 */
export type MergeType =
  | { readonly kind: "schema"; readonly schema: JsonObject; readonly isPreserving: boolean }
  | { readonly kind: "deduced" | "untyped" };

/** The form in which a value is treated: as a whole, by its fields, or by its items. */
export type Shape = "leaf" | "map" | "list";

const DEDUCED: MergeType = { kind: "deduced" };
const UNTYPED: MergeType = { kind: "untyped" };
const rootTypes = new WeakMap<JsonObject, MergeType>();
const PRESERVE = "x-kubernetes-preserve-unknown-fields";

/** The type of a whole object; its metadata is always known, whatever the schema says. */
export function rootType(schema: JsonObject): MergeType {
  const known = rootTypes.get(schema);
  if (known !== undefined) return known;
  const type = typeOf({ ...schema, "x-kubernetes-embedded-resource": true }, false);
  rootTypes.set(schema, type);
  return type;
}

/** A schema passes the licence to hold unknown fields on to those below it. */
function typeOf(schema: JsonObject, isPreserving: boolean): MergeType {
  return { kind: "schema", schema, isPreserving: isPreserving || schema[PRESERVE] === true };
}

/** The type of field `name`; undefined when the schema does not allow such a field. */
export function fieldType(type: MergeType, name: string): MergeType | undefined {
  if (type.kind !== "schema") return type;
  const { schema, isPreserving } = type;
  if (name === "metadata" && schema["x-kubernetes-embedded-resource"] === true) {
    return typeOf(objectMetaSchema(), false);
  }
  const properties = propertySchemas(schema);
  const declared = properties.get(name);
  if (declared !== undefined) return typeOf(declared, isPreserving);
  if (isDeclared(type, name)) return UNTYPED;
  const others = schema["additionalProperties"];
  if (isObject(others)) return typeOf(others, isPreserving);
  const isFree = others === true || isPreserving || properties.size === 0;
  return isFree && others !== false ? DEDUCED : undefined;
}

/** Whether `name` is a field of the type and not just the key of an entry. */
export function isDeclared(type: MergeType, name: string): boolean {
  if (type.kind !== "schema") return false;
  const { schema } = type;
  if (schema["x-kubernetes-embedded-resource"] === true) {
    if (name === "apiVersion" || name === "kind" || name === "metadata") return true;
  }
  return propertySchemas(schema).has(name);
}

/** The type of a list's items. */
export function itemType(type: MergeType): MergeType {
  if (type.kind !== "schema") return UNTYPED;
  const { items } = type.schema;
  return isObject(items) ? typeOf(items, type.isPreserving) : UNTYPED;
}

/** Whether a map of this type is replaced as a whole. */
export function isAtomicMap(type: MergeType): boolean {
  if (type.kind !== "schema") return type.kind === "untyped";
  return type.schema["x-kubernetes-map-type"] === "atomic";
}

/** Whether a list of this type is replaced as a whole: all are, but sets and maps. */
export function isAtomicList(type: MergeType): boolean {
  if (type.kind !== "schema") return true;
  const listType = type.schema["x-kubernetes-list-type"];
  return listType !== "set" && listType !== "map";
}

/** How to treat a value: by its own form where the type leaves a choice. */
export function shapeOf(type: MergeType, value: Json | undefined): Shape {
  const allowed = allowedShapes(type);
  const own = Array.isArray(value) ? "list" : isObject(value) ? "map" : "leaf";
  const isOpen = value === undefined || value === null || !allowed.includes(own);
  return isOpen ? (allowed[0] ?? "leaf") : own;
}

/** The forms that a type allows; the first is taken for null. */
function allowedShapes(type: MergeType): readonly Shape[] {
  if (type.kind !== "schema") return ["map", "leaf", "list"];
  switch (type.schema["type"]) {
    case undefined:
      return ["map", "leaf", "list"];
    case "object":
      return ["map"];
    case "array":
      return ["list"];
    default:
      return ["leaf"];
  }
}

/** The path element of an item of a set or map list; undefined when the item cannot have one. */
export function itemElement(type: MergeType, item: Json): string | undefined {
  if (type.kind !== "schema") return undefined;
  if (type.schema["x-kubernetes-list-type"] === "set") {
    return isObject(item) || Array.isArray(item) || item === null ? undefined : valueElement(item);
  }
  if (!isObject(item)) return undefined;
  const keys = itemKey(type.schema, item);
  return Object.keys(keys).length === 0 ? undefined : keyElement(keys);
}

/** What is wrong with a value that someone wants to apply, one line each, e.g. `.spec.x: field not declared in schema`. */
export function applyErrors(type: MergeType | undefined, value: Json, path = ""): string[] {
  if (type === undefined) return [`${path}: field not declared in schema`];
  if (value === null) return [];
  const shape = shapeOf(type, value);
  if (shape === "map") return mapErrors(type, value, path);
  if (shape === "list") return listErrors(type, value, path);
  return leafErrors(type, value, path);
}

function mapErrors(type: MergeType, value: Json, path: string): string[] {
  if (!isObject(value)) return [`${path}: expected map, got ${JSON.stringify(value)}`];
  return Object.entries(value).flatMap(([name, item]) =>
    applyErrors(fieldType(type, name), item, `${path}.${name}`),
  );
}

function listErrors(type: MergeType, value: Json, path: string): string[] {
  if (!Array.isArray(value)) return [`${path}: expected list, got ${JSON.stringify(value)}`];
  const items = itemType(type);
  if (isAtomicList(type)) {
    return value.flatMap((item, index) => applyErrors(items, item, `${path}[${index}]`));
  }
  const seen = new Set<string>();
  return value.flatMap((item, index) => {
    const element = itemElement(type, item);
    if (element === undefined) return [`${path}: element ${index}: ${keyProblem(type, item)}`];
    if (seen.has(element)) {
      return [`${path}: duplicate entries for key [${element.slice(2)}]`];
    }
    seen.add(element);
    return applyErrors(items, item, `${path}[${element.slice(2)}]`);
  });
}

function keyProblem(type: MergeType, item: Json): string {
  const schema = type.kind === "schema" ? type.schema : {};
  if (schema["x-kubernetes-list-type"] === "set") {
    return "associative list without keys has an element that's not a scalar";
  }
  if (!isObject(item)) return "associative list with keys may not have non-map elements";
  const keys = stringsAt(schema, "x-kubernetes-list-map-keys");
  return `associative list with keys has an element that omits all key fields [${keys.map((key) => JSON.stringify(key)).join(" ")}] (and doesn't have default values for any key fields)`;
}

function leafErrors(type: MergeType, value: Json, path: string): string[] {
  const schema = type.kind === "schema" ? type.schema : {};
  const shown = JSON.stringify(value);
  switch (schema["type"]) {
    case "integer":
    case "number":
      if (typeof value === "number") return [];
      return [`${path}: expected numeric (int or float), got ${goTypeName(value)}`];
    case "boolean":
      return typeof value === "boolean" ? [] : [`${path}: expected boolean, got ${shown}`];
    case "string":
      if (typeof value === "string") return [];
      // Times and the like may come in any scalar form; the schema's own check will tell.
      if (schema["format"] !== undefined && typeof value !== "object") return [];
      return [`${path}: expected string, got ${shown}`];
    default:
      return typeof value === "object" ? [`${path}: expected any scalar, got ${shown}`] : [];
  }
}

function goTypeName(value: Json): string {
  if (Array.isArray(value)) return "[]interface {}";
  if (isObject(value)) return "map[string]interface {}";
  return typeof value === "boolean" ? "bool" : "string";
}
