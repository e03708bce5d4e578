import { isObject, type JsonObject } from "#base/json.ts";
import { stringAt } from "../json-access.ts";
import { type FieldError, invalid, notSupported } from "../schema/field-error.ts";
import { type ApiError, badRequest, invalidObject } from "./api-error.ts";
import type { DeleteRequest, User } from "./object-api.ts";

export type FieldValidation = "Ignore" | "Warn" | "Strict";

/** Who writes, and how; see metav1.CreateOptions, UpdateOptions and PatchOptions. */
export interface WriteOptions {
  readonly user: User;
  readonly fieldManager: string;
  readonly fieldValidation: FieldValidation;
  readonly dryRun: boolean;
  /** Only for server-side apply. */
  readonly force: boolean;
  /** What the client itself said, as admission webhooks are told it. */
  readonly given: JsonObject;
  /** What the client is told beside the answer, in Warning headers. */
  readonly warn: (text: string) => void;
}

const FIELD_MANAGER_MAX = 128;
const VALIDATIONS = ["Ignore", "Strict", "Warn"];

/**
 * Reads the query of a write.
 * @throws ApiError (422) naming the parameter that is wrong.
 */
export function writeOptions(
  query: URLSearchParams,
  context: {
    kind: "CreateOptions" | "UpdateOptions" | "PatchOptions";
    user: User;
    userAgent: string;
    warn: WriteOptions["warn"];
  },
): WriteOptions {
  const fieldManager = query.get("fieldManager") ?? "";
  const fieldValidation = query.get("fieldValidation") || "Warn";
  const errors: FieldError[] = [...dryRunErrors(query.getAll("dryRun"))];
  if (fieldManager.length > FIELD_MANAGER_MAX) {
    errors.push({
      field: "fieldManager",
      reason: "FieldValueTooLong",
      message: `Too long: may not be more than ${FIELD_MANAGER_MAX} bytes`,
    });
  } else if (/[^\x20-\x7e\u00a0-\uffff]/u.test(fieldManager)) {
    errors.push(invalid("fieldManager", fieldManager, "should only contain printable characters"));
  }
  if (!VALIDATIONS.includes(fieldValidation)) {
    errors.push(notSupported("fieldValidation", fieldValidation, ["", ...VALIDATIONS]));
  }
  if (errors.length > 0) throw invalidOptions(context.kind, errors);
  return {
    user: context.user,
    fieldManager: fieldManager || managerOfAgent(context.userAgent),
    fieldValidation: fieldValidation as FieldValidation,
    dryRun: query.has("dryRun"),
    force: isTrue(query.get("force")),
    given: {
      ...(query.has("dryRun") ? { dryRun: query.getAll("dryRun") } : {}),
      ...(fieldManager === "" ? {} : { fieldManager }),
      ...(query.get("fieldValidation") ? { fieldValidation } : {}),
    },
    warn: context.warn,
  };
}

/** A client that names no manager goes by the first part of its User-Agent. */
function managerOfAgent(userAgent: string): string {
  const name = userAgent.split("/")[0] ?? "";
  return (name === "" ? "unknown" : name).slice(0, FIELD_MANAGER_MAX);
}

export const isTrue = (text: string | null) => text !== null && /^(1|t|true)$/i.test(text);

/**
 * A whole number of a query, 0 when it is left out.
 * @throws ApiError (400) in the words of Go.
 */
export function wholeNumber(query: URLSearchParams, name: string): number {
  const text = query.get(name) || "0";
  if (/^[+-]?\d+$/.test(text)) return Number(text);
  throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
}

function dryRunErrors(values: readonly string[]): FieldError[] {
  const odd = values.filter((value) => value !== "All");
  return odd.length === 0 ? [] : [notSupported("dryRun", odd, ["All"])];
}

function invalidOptions(kind: string, errors: readonly FieldError[]): ApiError {
  const target = { group: "meta.k8s.io", kind, plural: kind };
  return invalidObject(target as Parameters<typeof invalidObject>[0], "", errors);
}

const POLICIES = ["Foreground", "Background", "Orphan"] as const;

/**
 * Reads metav1.DeleteOptions from body and query; the query counts where there is no body.
 * @throws ApiError (400, 422) for options that cannot be obeyed.
 */
export function deleteOptions(
  body: JsonObject | undefined,
  query: URLSearchParams,
): DeleteRequest & { dryRun: boolean } {
  const given: JsonObject = body ?? fromQuery(query);
  const kind = stringAt(given, "kind");
  if (kind !== "" && kind !== "DeleteOptions") {
    throw badRequest(`the body of a DELETE is DeleteOptions, not ${kind}`);
  }
  const { preconditions, gracePeriodSeconds, propagationPolicy, orphanDependents, dryRun } = given;
  const errors: FieldError[] = dryRunErrors(Array.isArray(dryRun) ? dryRun.map(String) : []);
  if (propagationPolicy !== undefined && propagationPolicy !== null) {
    if (typeof orphanDependents === "boolean") {
      const text = "orphanDependents and deletionPropagation cannot be both set";
      errors.push(invalid("propagationPolicy", propagationPolicy, text));
    }
    if (!POLICIES.some((policy) => policy === propagationPolicy)) {
      errors.push(notSupported("propagationPolicy", propagationPolicy, [...POLICIES, "nil"]));
    }
  }
  if (gracePeriodSeconds !== undefined && gracePeriodSeconds !== null) {
    if (typeof gracePeriodSeconds !== "number" || !Number.isInteger(gracePeriodSeconds)) {
      throw badRequest("gracePeriodSeconds must be a whole number");
    }
  }
  if (errors.length > 0) throw invalidOptions("DeleteOptions", errors);
  const policy =
    typeof orphanDependents === "boolean"
      ? orphanDependents
        ? "Orphan"
        : "Background"
      : (propagationPolicy as DeleteRequest["propagationPolicy"] | null | undefined);
  return {
    dryRun: Array.isArray(dryRun) && dryRun.length > 0,
    ...(typeof gracePeriodSeconds === "number" ? { gracePeriodSeconds } : {}),
    ...(policy === undefined || policy === null ? {} : { propagationPolicy: policy }),
    ...(isObject(preconditions) ? { preconditions: preconditionsOf(preconditions) } : {}),
  };
}

function preconditionsOf({ uid, resourceVersion }: JsonObject) {
  return {
    ...(typeof uid === "string" ? { uid } : {}),
    ...(typeof resourceVersion === "string" ? { resourceVersion } : {}),
  };
}

function fromQuery(query: URLSearchParams): JsonObject {
  const options: JsonObject = {};
  const grace = query.get("gracePeriodSeconds");
  const policy = query.get("propagationPolicy");
  const orphan = query.get("orphanDependents");
  if (grace !== null) options["gracePeriodSeconds"] = wholeNumber(query, "gracePeriodSeconds");
  if (policy !== null) options["propagationPolicy"] = policy;
  if (orphan !== null) options["orphanDependents"] = isTrue(orphan);
  if (query.has("dryRun")) options["dryRun"] = query.getAll("dryRun");
  return options;
}
