import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { stringsAt } from "../json-access.ts";
import { builtinDefinitionName } from "../kinds/builtin-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { definitionClosure } from "../schema/kubernetes-schema.ts";
import { describedDefinition } from "./described.ts";

const META = "io.k8s.apimachinery.pkg.apis.meta.v1";
const DELETE_OPTIONS = `${META}.DeleteOptions`;
export const STATUS = `${META}.Status`;
export const PATCH = `${META}.Patch`;
export const SCALE = "io.k8s.api.autoscaling.v1.Scale";
const LIST_META = `${META}.ListMeta`;
const OBJECT_META = `${META}.ObjectMeta`;
const GVK = "x-kubernetes-group-version-kind";

/** OpenAPI name of a kind's definition. */
export function definitionName(kind: Kind): string {
  if (!kind.custom) return builtinDefinitionName(kind.group, kind.kind);
  return [...kind.group.split(".").reverse(), kind.version, kind.kind].join(".");
}

/** OpenAPI name of the definition of a list of a kind's objects. */
export const listDefinitionName = (kind: Kind) =>
  `${definitionName(kind).slice(0, -kind.kind.length)}${kind.listKind}`;

export const gvkOf = ({ group, version }: Kind, kind: string): JsonObject => ({
  group,
  version,
  kind,
});

/**
 * The definitions behind the given kinds: themselves, their lists, and all that these refer to.
 * Every `$ref` holds the bare name of another definition.
 */
export function definitionsFor(kinds: readonly Kind[]): Map<string, JsonObject> {
  const roots = [DELETE_OPTIONS, STATUS, LIST_META, OBJECT_META];
  if (kinds.some((kind) => kind.subresources.includes("scale"))) roots.push(SCALE);
  for (const kind of kinds) if (!kind.custom) roots.push(definitionName(kind));
  const result = new Map<string, JsonObject>();
  for (const name of definitionClosure(roots))
    result.set(name, published(describedDefinition(name)));
  result.set(PATCH, { type: "object" });
  addKindsOf(result, STATUS, [{ group: "", version: "v1", kind: "Status" }]);
  addKindsOf(result, SCALE, [{ group: "autoscaling", version: "v1", kind: "Scale" }]);
  const groupVersions = new Map(kinds.map((kind) => [`${kind.group}/${kind.version}`, kind]));
  addKindsOf(
    result,
    DELETE_OPTIONS,
    [...groupVersions.values()].map((kind) => gvkOf(kind, "DeleteOptions")),
  );
  for (const kind of kinds) {
    const name = definitionName(kind);
    if (kind.custom) result.set(name, customDefinition(kind));
    addKindsOf(result, name, [gvkOf(kind, kind.kind)]);
    result.set(listDefinitionName(kind), listDefinition(kind));
  }
  return new Map([...result].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function addKindsOf(definitions: Map<string, JsonObject>, name: string, gvks: JsonObject[]): void {
  const definition = definitions.get(name);
  if (definition !== undefined) definitions.set(name, { ...definition, [GVK]: gvks });
}

/** A definition without what is only for our own eyes. */
function published(value: JsonObject): JsonObject {
  const result: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    if (key === "x-always-present") result["default"] = {};
    else if (key === "properties" && isObject(item)) {
      const fields = Object.entries(item).map(([name, field]): [string, Json] => [
        name,
        isObject(field) ? published(field) : field,
      ]);
      result[key] = Object.fromEntries(fields);
    } else result[key] = isObject(item) ? published(item) : item;
  }
  return result;
}

function customDefinition(kind: Kind): JsonObject {
  const schema = withEmbedded(kind.schema);
  const { properties } = schema;
  return {
    ...schema,
    properties: {
      ...(isObject(properties) ? properties : {}),
      apiVersion: describedString(properties, "apiVersion"),
      kind: describedString(properties, "kind"),
      metadata: {
        $ref: OBJECT_META,
        description: "Name, namespace, labels and whatever else every object has.",
      },
    },
  };
}

/** Objects that a schema embeds have the metadata that every object has. */
function withEmbedded(schema: JsonObject): JsonObject {
  const result: JsonObject = {};
  for (const [key, item] of Object.entries(schema)) {
    if (key === "properties" && isObject(item)) {
      const fields = Object.entries(item).map(([name, field]): [string, Json] => [
        name,
        isObject(field) ? withEmbedded(field) : field,
      ]);
      result[key] = Object.fromEntries(fields);
    } else {
      const isSchema = key === "items" || key === "additionalProperties";
      result[key] = isSchema && isObject(item) ? withEmbedded(item) : item;
    }
  }
  if (schema["x-kubernetes-embedded-resource"] !== true) return result;
  const { properties } = result;
  const required = new Set([...stringsAt(schema, "required"), "apiVersion", "kind"]);
  return {
    ...result,
    required: [...required],
    properties: {
      ...(isObject(properties) ? properties : {}),
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { $ref: OBJECT_META },
    },
  };
}

const API_FIELDS: { readonly [name: string]: string } = {
  apiVersion: "The group and version of the object's schema.",
  kind: "The kind of the object.",
};

function describedString(properties: Json | undefined, name: string): JsonObject {
  const own = isObject(properties) ? properties[name] : undefined;
  const description = isObject(own) ? own["description"] : undefined;
  return { type: "string", description: description ?? API_FIELDS[name] ?? "" };
}

function listDefinition(kind: Kind): JsonObject {
  return {
    type: "object",
    description: `A list of ${kind.kind} objects.`,
    required: ["items"],
    properties: {
      apiVersion: { type: "string", description: API_FIELDS["apiVersion"] ?? "" },
      items: {
        type: "array",
        description: "The objects.",
        items: { $ref: definitionName(kind) },
      },
      kind: { type: "string", description: API_FIELDS["kind"] ?? "" },
      metadata: {
        $ref: LIST_META,
        description: "Where the list stands in the history of changes.",
      },
    },
    [GVK]: [gvkOf(kind, kind.listKind)],
  };
}
