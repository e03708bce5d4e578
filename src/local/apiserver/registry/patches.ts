import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { applyJsonPatch, JSON_PATCH_OPERATIONS_MAX, JsonPatchError } from "#base/json-patch.ts";
import { applyMergePatch } from "#base/merge-patch.ts";
import { stringAt } from "../json-access.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import {
  ApplyError,
  applyServerSide,
  conflictMessage,
  resetFieldsOf,
} from "../merge/managed-fields.ts";
import { StrategicMergeError, strategicMerge } from "../merge/strategic-merge.ts";
import { type FieldError, forbidden, invalid, required } from "../schema/field-error.ts";
import { goDepthError, goJsonError } from "../schema/go-json-error.ts";
import { goTypeName } from "../schema/go-type-error.ts";
import { ApiError, badRequest, invalidObject } from "./api-error.ts";
import { parseBody } from "./decode.ts";
import type { WriteOptions } from "./options.ts";

const MERGE = "application/merge-patch+json";
const JSON_PATCH = "application/json-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";
const APPLY = "application/apply-patch+yaml";

/** Patch types that a kind takes: those of custom kinds have no merge rules for the strategic one. */
const PATCH_TYPES = [JSON_PATCH, MERGE, STRATEGIC, APPLY];
const patchTypesOf = (kind: Kind) =>
  kind.custom ? PATCH_TYPES.filter((type) => type !== STRATEGIC) : PATCH_TYPES;

export interface Patch {
  readonly type: string;
  readonly text: string;
}

/**
 * Reads a PATCH request.
 * @throws ApiError (415) for a type that the kind does not take.
 */
export function patchOf(kind: Kind, contentType: string | undefined, bytes: Uint8Array): Patch {
  const type = (contentType ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  const types = patchTypesOf(kind);
  if (!PATCH_TYPES.includes(type)) {
    throw new ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {});
  }
  if (!types.includes(type)) {
    throw new ApiError(
      415,
      "UnsupportedMediaType",
      `the body of the request was in an unknown format - accepted media types include: ${types.join(", ")}`,
    );
  }
  return { type, text: Buffer.from(bytes).toString("utf8") };
}

export const isApplyPatch = (patch: Patch) => patch.type === APPLY;

/** The API's answer to a patch that can be read and does not fit; it does not say why. */
const unprocessable = () =>
  new ApiError(
    422,
    "Invalid",
    "the server rejected our request due to an error in our request",
    {},
  );

/**
 * The object after a merge, JSON or strategic merge patch.
 * @throws ApiError (400, 422) for a patch that cannot be read or does not fit the object.
 */
export function patched(kind: Kind, object: JsonObject, patch: Patch): JsonObject {
  let body: unknown;
  try {
    body = JSON.parse(patch.text);
  } catch {
    throw badRequest(`error decoding patch: ${goJsonError(patch.text)}`);
  }
  const tooDeep = goDepthError(patch.text);
  if (tooDeep !== undefined) {
    throw badRequest(`${patch.type === STRATEGIC ? "" : "error decoding patch: "}${tooDeep}`);
  }
  if (patch.type === JSON_PATCH) requireOperations(body);
  try {
    if (patch.type === JSON_PATCH) return objectOf(applyJsonPatch(object, body));
    if (!isObject(body)) throw badRequest("error decoding patch: the patch is not an object");
    if (patch.type === STRATEGIC) return strategicMerge(kind.schema, object, body);
    return objectOf(applyMergePatch(object, body));
  } catch (error) {
    if (error instanceof JsonPatchError) throw unprocessable();
    if (error instanceof StrategicMergeError) throw badRequest(error.message);
    throw error;
  }
}

/**
 * Checks what the API looks at before it applies a JSON patch.
 * @throws ApiError (400) in the words of Go for what is no list of operations, (413) for too many.
 */
function requireOperations(body: unknown): void {
  const cannot = (value: unknown, into: string) =>
    badRequest(
      `error decoding patch: json: cannot unmarshal ${goTypeName(value as Json)} into Go ${into}`,
    );
  if (!Array.isArray(body)) throw cannot(body, "value of type []handlers.jsonPatchOp");
  for (const operation of body) {
    if (!isObject(operation)) throw cannot(operation, "value of type handlers.jsonPatchOp");
    for (const field of ["op", "path", "from"]) {
      const value = operation[field] ?? "";
      if (typeof value === "string") continue;
      throw cannot(value, `struct field jsonPatchOp.${field} of type string`);
    }
  }
  if (body.length <= JSON_PATCH_OPERATIONS_MAX) return;
  throw new ApiError(
    413,
    "RequestEntityTooLarge",
    `Request entity too large: The allowed maximum operations in a JSON patch is ${JSON_PATCH_OPERATIONS_MAX}, got ${body.length}`,
  );
}

function objectOf(value: unknown): JsonObject {
  if (isObject(value)) return value;
  throw badRequest("the patch makes the object something that is no object");
}

/**
 * The object after server-side apply.
 * @param live undefined when applying creates it.
 * @throws ApiError (400, 409, 422, 500): 409 lists the fields that others own.
 */
export function applied(
  kind: Kind,
  live: JsonObject | undefined,
  patch: Patch,
  context: { subresource: string; options: WriteOptions; now: string },
): JsonObject {
  const { subresource, options, now } = context;
  const { object } = parseBody({ text: patch.text, isYaml: true });
  const wanted = groupVersionOf(kind);
  const given = stringAt(object, "apiVersion");
  const kindName = stringAt(object, "kind");
  if (given === "" || kindName === "") {
    const [version = "", group = ""] = given.split("/").toReversed();
    throw badRequest(`invalid object type: ${group}/${version}, Kind=${kindName}`);
  }
  if (given !== wanted) {
    throw badRequest(
      `Incorrect version specified in apply patch. Specified patch version: ${given}, expected: ${wanted}`,
    );
  }
  try {
    const result = applyServerSide({
      schema: kind.schema,
      manager: options.fieldManager,
      subresource,
      apiVersion: wanted,
      now,
      live,
      applied: object,
      force: options.force,
      resetFields: resetFieldsOf(kind, subresource),
    });
    if ("object" in result) return result.object;
    throw new ApiError(409, "Conflict", conflictMessage(result.conflicts), {
      causes: result.conflicts.map(({ manager, field }) => ({
        reason: "FieldManagerConflict",
        message: `conflict with ${manager}`,
        field,
      })),
    });
  } catch (error) {
    if (!(error instanceof ApplyError)) throw error;
    throw new ApiError(error.code, error.code === 400 ? "BadRequest" : "", error.message);
  }
}

/**
 * Checks what the options of a patch mean for its type: apply without a manager would own nothing,
 * and only apply can be forced.
 * @throws ApiError (422)
 */
export function requirePatchOptions(patch: Patch, query: URLSearchParams): void {
  const target = { group: "meta.k8s.io", kind: "PatchOptions", plural: "PatchOptions" };
  const errors: FieldError[] = [];
  if (isApplyPatch(patch)) {
    if ((query.get("fieldManager") ?? "") === "") {
      errors.push(required("fieldManager", "is required for apply patch"));
    }
  } else if (query.has("force")) {
    errors.push(forbidden("force", "may not be specified for non-apply patch"));
  }
  if (errors.length > 0) throw invalidObject(target as Kind, "", errors);
}

/** The answer to a patch that makes an object unreadable: with the patch or with what it makes. */
export function unreadableResult(patch: Patch, result: JsonObject, why: string): ApiError {
  const nameless = { group: "", kind: "", plural: "" };
  const shown = patch.type === STRATEGIC ? goText(JSON.parse(patch.text)) : JSON.stringify(result);
  return invalidObject(nameless as Kind, "", [invalid("patch", shown, why)]);
}

/** A value as Go prints it with %+v: `map[a:1 b:[x y]]`. */
function goText(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(goText).join(" ")}]`;
  if (!isObject(value)) return value === null ? "<nil>" : String(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${members.map(([name, item]) => `${name}:${goText(item)}`).join(" ")}]`;
}
