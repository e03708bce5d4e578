import { createHash } from "node:crypto";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import { definitionClosure } from "../schema/kubernetes-schema.ts";
import { describedDefinition } from "./described.ts";
import { definitionName, definitionsFor } from "./openapi-definitions.ts";
import { type ApiOperation, pathsOf } from "./openapi-paths.ts";

/** The version of Kubernetes that the API is like. */
export const KUBERNETES_VERSION = "1.34";

const REF_PREFIX = "#/components/schemas/";

/** The body of GET /openapi/v3: where the documents are; an address changes with its document. */
export function openApiV3Index(kinds: readonly Kind[]): JsonObject {
  const paths: JsonObject = {};
  for (const [groupVersion, members] of byGroupVersion(kinds)) {
    const path = groupVersion.includes("/") ? `apis/${groupVersion}` : `api/${groupVersion}`;
    paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${contentHash(members)}` };
  }
  const version = openApiV3OfVersion();
  const hash = createHash("sha512").update(JSON.stringify(version)).digest("hex").toUpperCase();
  paths["version"] = { serverRelativeURL: `/openapi/v3/version?hash=${hash}` };
  return { paths };
}

/** The document about GET /version. */
export function openApiV3OfVersion(): JsonObject {
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: KUBERNETES_VERSION },
    paths: {
      "/version/": {
        get: {
          description: "read the version of the server",
          operationId: "getCodeVersion",
          responses: { "200": { description: "OK" } },
        },
      },
    },
  };
}

/** The body of GET /openapi/v3/api/v1 and /openapi/v3/apis/{group}/{version}; undefined when nothing is served there. */
export function openApiV3(kinds: readonly Kind[], groupVersion: string): JsonObject | undefined {
  const members = byGroupVersion(kinds).get(groupVersion);
  if (members === undefined) return undefined;
  const schemas: JsonObject = {};
  for (const [name, definition] of definitionsFor(members)) schemas[name] = withRefs(definition);
  const paths = new Map<string, JsonObject>();
  for (const kind of members) {
    for (const [path, operations] of pathsOf(kind)) paths.set(path, pathItem(path, operations));
  }
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: KUBERNETES_VERSION },
    paths: Object.fromEntries([...paths].sort(([a], [b]) => (a < b ? -1 : 1))),
    components: { schemas },
  };
}

function byGroupVersion(kinds: readonly Kind[]): Map<string, Kind[]> {
  const result = new Map<string, Kind[]>();
  for (const kind of kinds) {
    const groupVersion = groupVersionOf(kind);
    result.set(groupVersion, [...(result.get(groupVersion) ?? []), kind]);
  }
  return result;
}

/** Changes whenever the document of these kinds does. */
function contentHash(kinds: readonly Kind[]): string {
  const hash = createHash("sha512").update(KUBERNETES_VERSION);
  for (const kind of kinds) {
    const { schema, ...names } = kind;
    hash.update(JSON.stringify(kind.custom ? [names, schema] : [kind.group, kind.kind]));
    if (!kind.custom) hash.update(builtinHash(definitionName(kind)));
  }
  return hash.digest("hex").toUpperCase();
}

const builtinHashes = new Map<string, string>();

/** Definitions of built-in kinds change with our version only; clients keep documents for longer. */
function builtinHash(definition: string): string {
  const known = builtinHashes.get(definition);
  if (known !== undefined) return known;
  const definitions = [...definitionClosure([definition])].map(describedDefinition);
  const hash = createHash("sha512").update(JSON.stringify(definitions)).digest("hex");
  builtinHashes.set(definition, hash);
  return hash;
}

/** Bare names of definitions become references; what stands beside one goes around it. */
function withRefs(value: JsonObject): JsonObject {
  const { $ref: ref, ...siblings } = value;
  if (typeof ref === "string") {
    const target = { $ref: `${REF_PREFIX}${ref}` };
    return Object.keys(siblings).length === 0 ? target : { allOf: [target], ...siblings };
  }
  const result: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    if (key === "properties" && isObject(item)) {
      const fields = Object.entries(item).map(([name, field]): [string, Json] => [
        name,
        isObject(field) ? withRefs(field) : field,
      ]);
      result[key] = Object.fromEntries(fields);
    } else result[key] = isObject(item) ? withRefs(item) : item;
  }
  return result;
}

function pathItem(path: string, operations: readonly ApiOperation[]): JsonObject {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const item: JsonObject = { parameters: inPath };
  for (const operation of operations) item[operation.method] = operationBody(operation);
  return item;
}

function operationBody(operation: ApiOperation): JsonObject {
  const { body, response } = operation;
  const content = (definition: string, contentTypes: readonly string[]): JsonObject =>
    Object.fromEntries(
      contentTypes.map((type) => [type, { schema: { $ref: `${REF_PREFIX}${definition}` } }]),
    );
  return {
    description: operation.description,
    operationId: operation.operationId,
    parameters: operation.parameters.map(({ name, type, description }) => ({
      name,
      in: "query",
      description,
      schema: { type, uniqueItems: true },
    })),
    ...(body === undefined
      ? {}
      : { requestBody: { content: content(body.definition, body.contentTypes), required: true } }),
    responses: {
      "200": {
        description: "OK",
        ...(response === undefined
          ? {}
          : { content: content(response, ["application/json", "application/yaml"]) }),
      },
    },
    "x-kubernetes-action": operation.action,
    "x-kubernetes-group-version-kind": operation.gvk,
  };
}
