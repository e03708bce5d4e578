import { messageOf } from "#base/errors.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { applyJsonPatch, JsonPatchError } from "#base/json-patch.ts";
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
import { ApiError, badRequest, invalidObject } from "./api-error.ts";
import { parseBody } from "./decode.ts";
import type { WriteOptions } from "./options.ts";

const MERGE = "application/merge-patch+json";
const JSON_PATCH = "application/json-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";
const APPLY = "application/apply-patch+yaml";

/** Patch types that a kind takes: those of custom kinds have no merge rules for the strategic one. */
const patchTypesOf = (kind: Kind) =>
  kind.custom ? [JSON_PATCH, MERGE, APPLY] : [JSON_PATCH, MERGE, STRATEGIC, APPLY];

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
  if (!types.includes(type)) {
    throw new ApiError(
      415,
      "UnsupportedMediaType",
      `the body of the request was in an unknown format - accepted media types include: ${types.join(", ")}`,
      {},
    );
  }
  return { type, text: Buffer.from(bytes).toString("utf8") };
}

export const isApplyPatch = (patch: Patch) => patch.type === APPLY;

/** What is wrong with a request that can be read and not be obeyed; the cause is in the details. */
const unprocessable = (error: unknown) =>
  new ApiError(
    422,
    "Invalid",
    `the server rejected our request due to an error in our request: ${messageOf(error)}`,
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
  } catch (error) {
    throw badRequest(`error decoding patch: ${messageOf(error)}`);
  }
  try {
    if (patch.type === JSON_PATCH) return objectOf(applyJsonPatch(object, body));
    if (!isObject(body)) throw badRequest("error decoding patch: the patch is not an object");
    if (patch.type === STRATEGIC) return strategicMerge(kind.schema, object, body);
    return objectOf(applyMergePatch(object, body));
  } catch (error) {
    if (error instanceof JsonPatchError) {
      throw error.kind === "malformed" ? badRequest(error.message) : unprocessable(error);
    }
    if (error instanceof StrategicMergeError) throw badRequest(error.message);
    throw error;
  }
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
    throw new ApiError(
      error.code,
      error.code === 400 ? "BadRequest" : "",
      error.message,
      error.code === 400 ? undefined : {},
    );
  }
}

/** Apply without a manager would own nothing. */
export function requireManager(query: URLSearchParams): void {
  if ((query.get("fieldManager") ?? "") !== "") return;
  const target = { group: "meta.k8s.io", kind: "PatchOptions", plural: "PatchOptions" };
  throw invalidObject(target as Kind, "", [
    {
      field: "fieldManager",
      reason: "FieldValueRequired",
      message: "Required value: is required for apply patch",
    },
  ]);
}
