import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { definitionsFor } from "./openapi-definitions.ts";
import { type ApiOperation, pathsOf, type QueryParameter } from "./openapi-paths.ts";
import { KUBERNETES_VERSION } from "./openapi-v3.ts";
import { concatenated, type Field, flag, message, text } from "./protobuf.ts";

/** What clients accept when they ask for the document. */
export const OPENAPI_V2_ACCEPT = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/** Media type of the answer: `@` is not allowed there, and clients would not read it. */
export const OPENAPI_V2_CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

// Numbers of the fields in gnostic's messages, package openapi.v2.
const DOCUMENT = { swagger: 1, info: 2, paths: 8, definitions: 9 };
const INFO = { title: 1, version: 2 };
const NAMED = { name: 1, value: 2 };
const PATHS = { path: 2 };
const PATH_ITEM = { get: 2, put: 3, post: 4, delete: 5, patch: 8 };
const OPERATION = { description: 3, operationId: 5, parameters: 8, responses: 9, extension: 13 };
const DEFINITIONS = { entry: 1 };
const SCHEMA = {
  ref: 1,
  format: 2,
  description: 4,
  required: 19,
  enumeration: 20,
  additionalProperties: 21,
  type: 22,
  items: 23,
  properties: 25,
  extension: 31,
};
const PARAMETER = { in: 2, description: 3, name: 4, type: 6, uniqueItems: 20 };
const ANY = { yaml: 2 };

/** Words that OpenAPI 2 has no field for; it gets on without them. */
const EXTENSION_PREFIX = "x-kubernetes-";

/**
 * The OpenAPI 2 document in gnostic's protobuf form, which `kubectl` asks for when it applies, diffs
 * and validates: definitions with their merge rules, and which parameters each operation takes.
 */
export function openApiV2Protobuf(kinds: readonly Kind[]): Uint8Array {
  const paths = kinds.flatMap((kind) => [...pathsOf(kind)]);
  return concatenated([
    text(DOCUMENT.swagger, "2.0"),
    message(DOCUMENT.info, [
      text(INFO.title, "Kubernetes"),
      text(INFO.version, KUBERNETES_VERSION),
    ]),
    message(
      DOCUMENT.paths,
      paths.map(([path, operations]) =>
        named(
          PATHS.path,
          path,
          operations.map((operation) => operationField(operation)),
        ),
      ),
    ),
    message(
      DOCUMENT.definitions,
      [...definitionsFor(kinds)].map(([name, definition]) =>
        named(DEFINITIONS.entry, name, schemaFields(definition)),
      ),
    ),
  ]);
}

/** An entry of a map: a name and the fields of its value. */
function named(number: number, name: string, value: readonly (Field | undefined)[]): Field {
  return message(number, [text(NAMED.name, name), message(NAMED.value, value)]);
}

function operationField(operation: ApiOperation): Field {
  return message(PATH_ITEM[operation.method], [
    text(OPERATION.description, operation.description),
    text(OPERATION.operationId, operation.operationId),
    ...operation.parameters.map(parameterField),
    // Responses: one named "200" whose response has a description.
    message(OPERATION.responses, [named(1, "200", [message(1, [text(1, "OK")])])]),
    extension(OPERATION.extension, "x-kubernetes-action", operation.action),
    extension(OPERATION.extension, "x-kubernetes-group-version-kind", operation.gvk),
  ]);
}

/** ParametersItem > Parameter > NonBodyParameter > QueryParameterSubSchema. */
function parameterField({ name, type, description }: QueryParameter): Field {
  const query = message(3, [
    text(PARAMETER.in, "query"),
    text(PARAMETER.description, description),
    text(PARAMETER.name, name),
    text(PARAMETER.type, type),
    flag(PARAMETER.uniqueItems, true),
  ]);
  return message(OPERATION.parameters, [message(1, [message(2, [query])])]);
}

function schemaFields(schema: JsonObject): (Field | undefined)[] {
  const { $ref: ref } = schema;
  const description = text(SCHEMA.description, stringAt(schema, "description"));
  const extensions = Object.entries(schema)
    .filter(([name]) => name.startsWith(EXTENSION_PREFIX))
    .map(([name, value]) => extension(SCHEMA.extension, name, value));
  if (typeof ref === "string") {
    return [text(SCHEMA.ref, `#/definitions/${ref}`), description, ...extensions];
  }
  const { additionalProperties, items, properties } = schema;
  const enumeration = schema["enum"];
  return [
    text(SCHEMA.format, formatOf(schema)),
    description,
    ...stringsAt(schema, "required").map((name) => text(SCHEMA.required, name)),
    ...(Array.isArray(enumeration) ? enumeration : []).map((value) =>
      message(SCHEMA.enumeration, [text(ANY.yaml, JSON.stringify(value))]),
    ),
    isObject(additionalProperties)
      ? message(SCHEMA.additionalProperties, [message(1, schemaFields(additionalProperties))])
      : undefined,
    typeField(schema),
    isObject(items) ? message(SCHEMA.items, [message(1, schemaFields(items))]) : undefined,
    isObject(properties) ? propertiesField(properties) : undefined,
    ...extensions,
  ];
}

function propertiesField(properties: JsonObject): Field {
  return message(
    SCHEMA.properties,
    Object.entries(properties).flatMap(([name, field]) =>
      isObject(field) ? [named(DEFINITIONS.entry, name, schemaFields(field))] : [],
    ),
  );
}

/** OpenAPI 2 cannot say "one of": what may be a number or a text goes by as a text. */
function typeField(schema: JsonObject): Field | undefined {
  const type = Array.isArray(schema["oneOf"]) ? "string" : stringAt(schema, "type");
  // A value that may be null must not be given a type, or clients refuse the null.
  if (type === "" || schema["nullable"] === true) return undefined;
  return message(SCHEMA.type, [text(1, type)]);
}

const formatOf = (schema: JsonObject) => stringAt(schema, "format");

/** A vendor extension; JSON is YAML too. */
function extension(number: number, name: string, value: Json): Field {
  return named(number, name, [text(ANY.yaml, JSON.stringify(value))]);
}
