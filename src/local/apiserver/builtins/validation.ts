import type { JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";
import type { FieldError } from "../schema/field-error.ts";
export function validateBuiltin(
  _k: Kind,
  _o: JsonObject,
  _old: JsonObject | undefined,
  _s: string,
): FieldError[] {
  return [];
}
