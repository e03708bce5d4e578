import { parse as parseYaml } from "yaml";
import { messageOf } from "#base/errors.ts";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { defaultBuiltin } from "../builtins/defaults.ts";
import { formOfDefinition } from "../builtins/go-form.ts";
import { objectAt, stringAt } from "../json-access.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import { rootType } from "../merge/merge-types.ts";
import { dropNulls } from "../merge/typed-values.ts";
import { duplicateFields } from "../schema/duplicate-fields.ts";
import { invalid } from "../schema/field-error.ts";
import { goDepthError, goJsonError } from "../schema/go-json-error.ts";
import { goTypeError } from "../schema/go-type-error.ts";
import { typeName } from "../schema/schema-validate.ts";
import { applyDefaults, prune } from "../schema/structural.ts";
import { ApiError, badRequest, invalidObject } from "./api-error.ts";
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
    const cure = type.includes("protobuf")
      ? "; this API reads no protobuf: write the object as YAML and apply it (kubectl create ... --dry-run=client -o yaml | kubectl apply -f -)"
      : "";
    throw new ApiError(
      415,
      "UnsupportedMediaType",
      `the body of the request was in an unknown format - accepted media types include: ${MEDIA_TYPES.join(", ")}${cure}`,
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
    const why = body.isYaml ? messageOf(error).split("\n")[0] : goJsonError(body.text);
    throw badRequest(`couldn't get version/kind; json parse error: ${why}${summaryOf(body)}`);
  }
  const tooDeep = body.isYaml ? undefined : goDepthError(body.text);
  if (tooDeep !== undefined) {
    throw badRequest(`couldn't get version/kind; json parse error: ${tooDeep}${summaryOf(body)}`);
  }
  if (!isObject(value)) {
    throw badRequest(
      `couldn't get version/kind; json parse error: json: cannot unmarshal ${typeName(value as Json)} into Go value of type struct { APIVersion string "json:"apiVersion,omitempty""; Kind string "json:"kind,omitempty"" }${summaryOf(body)}`,
    );
  }
  return { object: value, duplicates: body.isYaml ? [] : duplicateFields(body.text) };
}

const SUMMARY_MAX = 1024;

function summaryOf({ text }: Body): string {
  if (text === "") return " (<empty>)";
  return ` (${text.length > SUMMARY_MAX ? `${text.slice(0, SUMMARY_MAX)} ...` : text})`;
}

const OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

export interface DecodeOptions {
  readonly fieldValidation: FieldValidation;
  readonly warn: (text: string) => void;
}

/** An object cannot be read as its kind; callers say so in their own way. */
export class DecodingError extends Error {
  override readonly name = "DecodingError";
}

/**
 * Turns a body into an object of a kind as the API goes on with it: of the right type, without
 * unknown fields, with defaults.
 * @throws ApiError (400) for another kind, a value of the wrong type, or, when validation is strict,
 * an unknown or repeated field.
 */
export function decode(kind: Kind, body: Body, options: DecodeOptions): JsonObject {
  const { object, duplicates } = parsed(kind, body);
  const own = typed(kind, object, body);
  try {
    return admitted(kind, own, { ...options, duplicates });
  } catch (error) {
    if (!(error instanceof DecodingError)) throw error;
    throw cannotBeHandled(kind, kind, error.message);
  }
}

function parsed(kind: Kind, body: Body) {
  try {
    return parseBody(body);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    throw badRequest(
      `the object provided is unrecognized (must be of type ${kind.kind}): ${error.message}`,
    );
  }
}

const cannotBeHandled = (
  kind: Kind,
  given: { kind: string; version: string },
  why: string,
): ApiError =>
  badRequest(
    `${given.kind} in version ${JSON.stringify(given.version)} cannot be handled as a ${kind.kind}: ${why}`,
  );

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
    throw badRequest(
      `the API version in the data (${apiVersion}) does not match the expected API version (${wanted})`,
    );
  }
  if (name !== "" && name !== kind.kind) throw otherKind(kind, object, name);
  return { ...object, apiVersion: wanted, kind: kind.kind };
}

function otherKind(kind: Kind, object: JsonObject, given: string): ApiError {
  if (kind.custom) {
    return invalidObject({ ...kind, kind: given }, nameOf(object), [
      invalid("kind", given, `must be ${kind.kind}`),
    ]);
  }
  const scheme = kind.group === "" ? "core" : kind.group.split(".")[0];
  const why = `converting (${kind.version}.${given}) to (${scheme}.${kind.kind}): unknown conversion`;
  return cannotBeHandled(kind, { kind: given, version: kind.version }, why);
}

/**
 * The steps that every object goes through that comes from outside, by whatever way it was put together.
 * @throws DecodingError
 */
export function admitted(
  kind: Kind,
  object: JsonObject,
  options: DecodeOptions & { duplicates?: readonly string[] },
): JsonObject {
  const wrong = goTypeError(kind, object);
  if (wrong !== undefined) throw new DecodingError(wrong);
  const clean = kind.custom ? object : withoutNulls(kind, object);
  const { object: pruned, unknown } = prune(kind.schema, clean);
  const notes = [
    ...(options.duplicates ?? []).map((path) => `duplicate field ${JSON.stringify(path)}`),
    ...unknown.map((path) => `unknown field ${JSON.stringify(path)}`),
  ];
  if (notes.length > 0 && options.fieldValidation === "Strict") {
    throw new DecodingError(`strict decoding error: ${notes.join(", ")}`);
  }
  if (options.fieldValidation === "Warn") for (const note of notes) options.warn(note);
  return defaulted(kind, pruned);
}

/** An object with what its kind fills in. */
export function defaulted(kind: Kind, object: JsonObject): JsonObject {
  if (!kind.custom) return defaultBuiltin(kind, object);
  const metadata = formOfDefinition(OBJECT_META, objectAt(object, "metadata"));
  return applyDefaults(kind.schema, { ...object, metadata });
}

/** In built-in kinds null is the same as absent. */
const withoutNulls = (kind: Kind, object: JsonObject): JsonObject => {
  const cleaned = dropNulls(rootType(kind.schema), object);
  return isObject(cleaned) ? cleaned : object;
};

/** The name in the object's metadata. */
export const nameOf = (object: JsonObject) => stringAt(objectAt(object, "metadata"), "name");
