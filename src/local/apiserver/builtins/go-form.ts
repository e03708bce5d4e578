import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { builtinDefinitionName } from "../kinds/builtin-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { canonicalQuantity } from "../schema/canonical-quantity.ts";
import { hasFormat } from "../schema/formats.ts";
import { definitionOf } from "../schema/kubernetes-schema.ts";
import document from "./go-fields.generated.json" with { type: "json" };

interface GoFields {
  readonly keep?: readonly string[];
  readonly always: JsonObject;
}
const goFields: { readonly [definition: string]: GoFields } = document.definitions;

const QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/**
 * The object as it looks after kube-apiserver has read it into its Go types and written it again:
 * nulls and most empty values are gone, what Go cannot leave out is there, quantities and times
 * have their canonical form. Clients see this form in every answer.
 */
export function goForm(kind: Kind, object: JsonObject): JsonObject {
  return formOfDefinition(builtinDefinitionName(kind.group, kind.kind), object);
}

/** The same for an object of an OpenAPI definition, e.g. `io.k8s.api.autoscaling.v1.Scale`. */
export function formOfDefinition(definition: string, object: JsonObject): JsonObject {
  const properties = definitionOf(definition)["properties"];
  if (!isObject(properties)) return object;
  const { keep = [], always } = goFields[definition] ?? { always: {} };
  const result: [string, Json][] = [];
  for (const [name, value] of Object.entries(object)) {
    const schema = properties[name];
    const form = isObject(schema) ? valueForm(schema, value) : value;
    if (name in always || form === null) continue;
    if (isObject(schema) && isEmpty(form) && !keep.includes(name) && !isStruct(schema)) continue;
    result.push([name, form]);
  }
  for (const [name, zero] of Object.entries(always)) {
    const schema = properties[name];
    const value = object[name] ?? zero;
    const form = isObject(schema) ? valueForm(schema, value) : value;
    // A list that is empty comes back from the store as none.
    result.push([name, isEmptyList(form) ? null : form]);
  }
  return Object.fromEntries(result);
}

function valueForm(schema: JsonObject, value: Json): Json {
  const { $ref: ref, items, additionalProperties: values } = schema;
  if (typeof ref === "string") {
    if (isObject(value)) return formOfDefinition(ref, value);
    return typeof value === "string" || typeof value === "number" ? scalarForm(ref, value) : value;
  }
  if (Array.isArray(value) && isObject(items)) return value.map((item) => valueForm(items, item));
  if (isObject(value) && isObject(values)) {
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, valueForm(values, item)]),
    );
  }
  return value;
}

function scalarForm(definition: string, value: string | number): Json {
  if (definition === QUANTITY) return canonicalQuantity(String(value)) ?? value;
  const isTime = definition === TIME || definition === MICRO_TIME;
  if (!isTime || typeof value !== "string" || !hasFormat("date-time", value)) return value;
  const [whole = ""] = new Date(value).toISOString().split(".");
  if (definition === TIME) return `${whole}Z`;
  const [, fraction = ""] = /\.(\d+)/.exec(value) ?? [];
  return `${whole}.${fraction.slice(0, 6).padEnd(6, "0")}Z`;
}

/** Whether a field holds a struct: an empty one is not the same as none. */
const isStruct = (schema: JsonObject) => typeof schema["$ref"] === "string";

const isEmptyList = (value: Json) => Array.isArray(value) && value.length === 0;

function isEmpty(value: Json): boolean {
  if (isObject(value)) return Object.keys(value).length === 0;
  return value === "" || value === 0 || value === false || isEmptyList(value);
}
