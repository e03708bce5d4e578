import { isObject, type JsonObject } from "#base/json.ts";
import { stringAt } from "../json-access.ts";
import { child, type FieldError, invalid, notSupported, required } from "../schema/field-error.ts";
import { inRange } from "./rules.ts";
import { descendingPath } from "./volume-rules.ts";

const ID_MAX = 2 ** 31 - 1;
const SECCOMP_TYPES = ["Localhost", "RuntimeDefault", "Unconfined"];

/** Checks numbers of users and groups. */
export function userErrors(
  context: JsonObject,
  names: readonly string[],
  path: string,
): FieldError[] {
  return names.flatMap((name) => {
    const id = context[name];
    return typeof id === "number" ? inRange(child(path, name), id, 0, ID_MAX) : [];
  });
}

/** Checks which system calls are allowed. */
export function seccompErrors(context: JsonObject, parent: string): FieldError[] {
  const profile = context["seccompProfile"];
  if (!isObject(profile)) return [];
  const path = child(parent, "seccompProfile");
  const type = stringAt(profile, "type");
  const file = profile["localhostProfile"];
  const errors: FieldError[] = [];
  if (type === "")
    errors.push(required(child(path, "type"), "type is required when seccompProfile is set"));
  else if (!SECCOMP_TYPES.includes(type)) {
    errors.push(notSupported(child(path, "type"), type, SECCOMP_TYPES));
  }
  const field = child(path, "localhostProfile");
  if (type === "Localhost") {
    if (typeof file === "string") errors.push(...descendingPath(file, field));
    else errors.push(required(field, "must be set when seccomp type is Localhost"));
  } else if (file !== undefined) {
    errors.push(invalid(field, profile, "can only be set when seccomp type is Localhost"));
  }
  return errors;
}
