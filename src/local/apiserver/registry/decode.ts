import { parse as parseYaml } from "yaml";
import { messageOf } from "#base/errors.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { defaultBuiltin } from "../builtins/defaults.ts";
import { objectAt, stringAt } from "../json-access.ts";
import { groupVersion } from "../kinds/catalog.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import { rootType } from "../merge/merge-types.ts";
import { dropNulls } from "../merge/typed-values.ts";
import { duplicateFields } from "../schema/duplicate-fields.ts";
import { objectMetaSchema } from "../schema/kubernetes-schema.ts";
import { validateSchema } from "../schema/schema-validate.ts";
import { applyDefaults, prune } from "../schema/structural.ts";
import { ApiError, badRequest } from "./api-error.ts";
import type { FieldValidation } from "./options.ts";

/** A body as it was sent. */
export interface Body {
  readonly text: string;
  readonly isYaml: boolean;
}

const MEDIA_TYPES = ["application/json", "application/yaml"];

/**
 * Takes a body's bytes for what its content type says.
 * @throws ApiError (415) for any other type, protobuf among them.
 */
export function bodyOf(bytes: Uint8Array, contentType: string | undefined): Body {
  const type = (contentType ?? "").split(";")[0]?.trim().toLowerCase() || "application/json";
  if (!MEDIA_TYPES.includes(type)) {
    throw new ApiError(
      415,
      "UnsupportedMediaType",
      `the body of the request was in an unknown format - accepted media types include: ${MEDIA_TYPES.join(", ")}`,
      {},
    );
  }
  return { text: Buffer.from(bytes).toString("utf8"), isYaml: type === "application/yaml" };
}

/** The object that a body holds, and the fields that it sets more than once. */
export function parseBody(body: Body): { object: JsonObject; duplicates: string[] } {
  let value: unknown;
  try {
    value = body.isYaml ? parseYaml(body.text, { uniqueKeys: false }) : JSON.parse(body.text);
  } catch (error) {
    throw badRequest(
      `couldn't get version/kind; json parse error: ${messageOf(error).split("\n")[0]}`,
    );
  }
  if (!isObject(value)) {
    throw badRequest("couldn't get version/kind; json parse error: the body is not an object");
  }
  return { object: value, duplicates: body.isYaml ? [] : duplicateFields(body.text) };
}

export interface DecodeOptions {
  readonly fieldValidation: FieldValidation;
  readonly warn: (text: string) => void;
}

/**
 * Turns a body into an object of a kind as the API goes on with it: of the right type, without
 * unknown fields, with defaults.
 * @throws ApiError (400) for another kind, a value of the wrong type, or, when validation is strict,
 * an unknown or repeated field.
 */
export function decode(kind: Kind, body: Body, options: DecodeOptions): JsonObject {
  const { object, duplicates } = parseBody(body);
  return admitted(kind, typed(kind, object, body), { ...options, duplicates });
}

/** Checks `apiVersion` and `kind`; built-in kinds may leave them out. */
function typed(kind: Kind, object: JsonObject, body: Body): JsonObject {
  const apiVersion = stringAt(object, "apiVersion");
  const name = stringAt(object, "kind");
  const wanted = groupVersionOf(kind);
  if (kind.custom && (name === "" || apiVersion === "")) {
    const missing = name === "" ? "Kind" : "apiVersion";
    throw badRequest(`Object '${missing}' is missing in '${body.text.trim()}'`);
  }
  if (apiVersion !== "" && apiVersion !== wanted) {
    const { group } = groupVersion(apiVersion);
    throw badRequest(
      group === kind.group || kind.custom
        ? `the API version in the data (${apiVersion}) does not match the expected API version (${wanted})`
        : `no kind "${name}" is registered for version "${apiVersion}" in scheme, this address takes ${kind.kind} in ${wanted}`,
    );
  }
  if (name !== "" && name !== kind.kind) {
    throw badRequest(
      `${name} in version "${kind.version}" cannot be handled as a ${kind.kind}: the kind in the data does not fit this address`,
    );
  }
  return { ...object, apiVersion: wanted, kind: kind.kind };
}

/** The steps that every object goes through that comes from outside, by whatever way it was put together. */
export function admitted(
  kind: Kind,
  object: JsonObject,
  options: DecodeOptions & { duplicates?: readonly string[] },
): JsonObject {
  const wrong = typeError(kind, object);
  if (wrong !== undefined) {
    throw badRequest(
      `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: ${wrong}`,
    );
  }
  const { object: pruned, unknown } = prune(
    kind.schema,
    kind.custom ? object : withoutNulls(kind, object),
  );
  const notes = [
    ...(options.duplicates ?? []).map((path) => `duplicate field ${JSON.stringify(path)}`),
    ...unknown.map((path) => `unknown field ${JSON.stringify(path)}`),
  ];
  if (notes.length > 0 && options.fieldValidation === "Strict") {
    const text = `strict decoding error: ${notes.join(", ")}`;
    throw badRequest(
      kind.custom
        ? text
        : `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: ${text}`,
    );
  }
  if (options.fieldValidation === "Warn") for (const note of notes) options.warn(note);
  return defaulted(kind, pruned);
}

/** An object with what its kind fills in. */
export function defaulted(kind: Kind, object: JsonObject): JsonObject {
  return kind.custom ? applyDefaults(kind.schema, object) : defaultBuiltin(kind, object);
}

/**
 * The first value that cannot be read as what its field is, in Go's words. Of custom kinds only
 * metadata is read into a type; the rest is judged later, by their schema.
 */
function typeError(kind: Kind, object: JsonObject): string | undefined {
  const metadata = object["metadata"] ?? {};
  const errors = kind.custom
    ? validateSchema(objectMetaSchema(), metadata, undefined, "metadata")
    : validateSchema(kind.schema, object, undefined);
  const wrong = errors.find(({ reason }) => reason === "FieldValueTypeInvalid");
  if (wrong === undefined) return undefined;
  const match = /must be of type ([\w,-]+): "(\w+)"/.exec(wrong.message);
  if (match === null) return `parsing ${wrong.field}: ${wrong.message}`;
  const [, wanted = "", actual = ""] = match;
  if (actual === "null") return undefined;
  return `json: cannot unmarshal ${GO_JSON[actual] ?? actual} into Go struct field ${structFieldOf(kind, wrong.field)} of type ${GO_TYPES[wanted] ?? wanted}`;
}

/** The words of Go's JSON decoder for what it found and what it wanted. */
const GO_JSON: Record<string, string> = { boolean: "bool", integer: "number" };
const GO_TYPES: Record<string, string> = {
  integer: "int32",
  boolean: "bool",
  object: "map[string]interface {}",
  array: "[]interface {}",
};

const structFieldOf = (kind: Kind, field: string) =>
  `${kind.kind}.${field.replaceAll(/\[[^\]]*\]/g, "")}`;

/** In built-in kinds null is the same as absent. */
const withoutNulls = (kind: Kind, object: JsonObject): JsonObject => {
  const cleaned = dropNulls(rootType(kind.schema), object);
  return isObject(cleaned) ? cleaned : object;
};

/** The name in the object's metadata. */
export const nameOf = (object: JsonObject) => stringAt(objectAt(object, "metadata"), "name");
