import { isObject, type Json, type JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";
import { definitionsFor } from "./openapi-definitions.ts";
import { type ApiOperation, pathsOf } from "./openapi-paths.ts";
import { KUBERNETES_VERSION } from "./openapi-v3.ts";

/** The OpenAPI 2 document as JSON, for clients that generate code or look around. */
export function openApiV2Json(kinds: readonly Kind[]): JsonObject {
  const definitions = [...definitionsFor(kinds)].map(([name, definition]): [string, Json] => [
    name,
    inVersion2(definition),
  ]);
  const paths = kinds.flatMap((kind) => [...pathsOf(kind)]);
  return {
    swagger: "2.0",
    info: { title: "Kubernetes", version: KUBERNETES_VERSION },
    paths: Object.fromEntries(paths.map(([path, operations]) => [path, pathItem(operations)])),
    definitions: Object.fromEntries(definitions),
  };
}

/** Version 2 knows neither "one of" nor null; what may be a number or a text is a text of a format. */
function inVersion2(schema: JsonObject): JsonObject {
  const { $ref: ref, oneOf, nullable: _, ...rest } = schema;
  if (typeof ref === "string") return { ...rest, $ref: `#/definitions/${ref}` };
  const result: JsonObject = {};
  for (const [name, value] of Object.entries(rest)) {
    if (name === "properties" && isObject(value)) {
      const fields = Object.entries(value).map(([field, inner]): [string, Json] => [
        field,
        isObject(inner) ? inVersion2(inner) : inner,
      ]);
      result[name] = Object.fromEntries(fields);
    } else if ((name === "items" || name === "additionalProperties") && isObject(value)) {
      result[name] = inVersion2(value);
    } else result[name] = value;
  }
  return oneOf === undefined ? result : { ...result, type: "string" };
}

function pathItem(operations: readonly ApiOperation[]): JsonObject {
  const item: JsonObject = {};
  for (const operation of operations) {
    item[operation.method] = {
      description: operation.description,
      operationId: operation.operationId,
      parameters: operation.parameters.map((parameter) => ({
        ...parameter,
        in: "query",
        uniqueItems: true,
      })),
      responses: { "200": { description: "OK" } },
      "x-kubernetes-action": operation.action,
      "x-kubernetes-group-version-kind": operation.gvk,
    };
  }
  return item;
}
