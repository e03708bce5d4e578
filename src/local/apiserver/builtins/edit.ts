import { isObject, type Json, type JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";

/** A kind's group and name in one text, e.g. `apps/Deployment`; `/Pod` for the core group. */
export const kindKey = ({ group, kind }: Kind) => `${group}/${kind}`;

const isMissing = (value: Json | undefined) => value === undefined || value === null;

/** The object with what it lacks taken from `fallbacks`; null counts as lacking. */
export function withFallbacks(object: JsonObject, fallbacks: JsonObject): JsonObject {
  const missing = Object.entries(fallbacks).filter(([name]) => isMissing(object[name]));
  return missing.length === 0 ? object : { ...object, ...Object.fromEntries(missing) };
}

/** The object with the object at a member changed; as it is when there is none. */
export function mapMember(
  object: JsonObject,
  name: string,
  change: (member: JsonObject) => JsonObject,
): JsonObject {
  const member = object[name];
  return isObject(member) ? { ...object, [name]: change(member) } : object;
}

/** The object with each object of the list at a member changed; as it is when there is none. */
export function mapItems(
  object: JsonObject,
  name: string,
  change: (item: JsonObject, position: number) => JsonObject,
): JsonObject {
  const list = object[name];
  if (!Array.isArray(list)) return object;
  const changed = list.map((item, position) => (isObject(item) ? change(item, position) : item));
  return { ...object, [name]: changed };
}

/** The object without some members. */
export function without(object: JsonObject, ...names: string[]): JsonObject {
  if (!names.some((name) => name in object)) return object;
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
}
