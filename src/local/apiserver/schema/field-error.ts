import { isObject, type Json, type JsonObject } from "#base/json.ts";

export type FieldErrorReason =
  | "FieldValueRequired"
  | "FieldValueInvalid"
  | "FieldValueNotSupported"
  | "FieldValueForbidden"
  | "FieldValueDuplicate"
  | "FieldValueNotFound"
  | "FieldValueTooLong"
  | "FieldValueTooMany"
  | "FieldValueTypeInvalid";

/** One thing that is wrong with an object, as `Status.details.causes` of an Invalid answer has it. */
export interface FieldError {
  /** Path of the field, e.g. `spec.ports[0].name`; `<nil>` when it is about the whole object. */
  field: string;
  reason: FieldErrorReason;
  /** Begins with the kind of error, e.g. `Required value`; does not repeat the field. */
  message: string;
}

/** Field path of the whole object, from which `child`, `key` and `index` lead down. */
export const ROOT = "";

/** The path of a declared field below `path`. */
export const child = (path: string, name: string) => (path === ROOT ? name : `${path}.${name}`);
/** The path of a map's key below `path`. */
export const key = (path: string, name: string) => `${path}[${name}]`;
/** The path of a list's item below `path`. */
export const index = (path: string, position: number) => `${path}[${position}]`;

const error = (reason: FieldErrorReason, path: string, message: string): FieldError => ({
  field: path === ROOT ? "<nil>" : path,
  reason,
  message,
});

export const required = (path: string, detail = "") =>
  error("FieldValueRequired", path, withDetail("Required value", detail));

export const invalid = (path: string, value: Json, detail: string) =>
  error("FieldValueInvalid", path, withDetail(`Invalid value: ${shown(value)}`, detail));

/** The same for a value that is shown with its fields as they stand, not in the order of their names. */
export const invalidStruct = (path: string, value: JsonObject, detail: string) =>
  error("FieldValueInvalid", path, `Invalid value: ${JSON.stringify(value)}: ${detail}`);

/** `value` as it is shown. */
export const invalidText = (path: string, value: string, detail: string) =>
  error("FieldValueInvalid", path, withDetail(`Invalid value: ${value}`, detail));

export const typeInvalid = (path: string, value: Json, detail: string) =>
  error("FieldValueTypeInvalid", path, withDetail(`Invalid value: ${shown(value)}`, detail));

export const duplicate = (path: string, value: Json, detail = "") =>
  error("FieldValueDuplicate", path, withDetail(`Duplicate value: ${shown(value)}`, detail));

export const duplicateStruct = (path: string, value: JsonObject, detail = "") => {
  const head = `Duplicate value: ${JSON.stringify(value)}`;
  return error("FieldValueDuplicate", path, withDetail(head, detail));
};

/** The value names something that is not there. */
export const notFound = (path: string, value: Json) =>
  error("FieldValueNotFound", path, `Not found: ${shown(value)}`);

export const forbidden = (path: string, detail: string) =>
  error("FieldValueForbidden", path, withDetail("Forbidden", detail));

export const notSupported = (path: string, value: Json, supported: readonly Json[]) => {
  const names = supported.map((item) =>
    JSON.stringify(typeof item === "string" ? item : JSON.stringify(item)),
  );
  return error(
    "FieldValueNotSupported",
    path,
    `Unsupported value: ${shown(value)}: supported values: ${names.join(", ")}`,
  );
};

/** The same for a value that is shown with its fields as they stand. */
export const notSupportedStruct = (path: string, value: JsonObject, supported: readonly string[]) =>
  error(
    "FieldValueNotSupported",
    path,
    `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((name) => JSON.stringify(name)).join(", ")}`,
  );

/** `max` counts characters although the text says bytes: those are the API server's words. */
export const tooLong = (path: string, max: number) =>
  error("FieldValueTooLong", path, `Too long: may not be more than ${max} bytes`);

export const tooMany = (path: string, actual: number, max: number) =>
  error("FieldValueTooMany", path, `Too many: ${actual}: must have at most ${max} items`);

/** `field: message` of every error, in brackets when there are several: the tail of "... is invalid: ". */
export function fieldErrorsText(errors: readonly FieldError[]): string {
  const texts = [...new Set(errors.map(({ field, message }) => `${field}: ${message}`))];
  return texts.length === 1 ? (texts[0] ?? "") : `[${texts.join(", ")}]`;
}

const withDetail = (head: string, detail: string) => (detail === "" ? head : `${head}: ${detail}`);

function shown(value: Json): string {
  return isObject(value) ? JSON.stringify(sorted(value)) : JSON.stringify(value);
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([name, item]): [string, Json] => [name, sorted(item)]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
