import { isObject, type JsonObject } from "#base/json.ts";

/** The object at a member; an empty one when there is none. */
export function objectAt(value: JsonObject | undefined, name: string): JsonObject {
  const member = value?.[name];
  return isObject(member) ? member : {};
}

/** The objects in the list at a member. */
export function objectsAt(value: JsonObject | undefined, name: string): JsonObject[] {
  const member = value?.[name];
  return Array.isArray(member) ? member.filter(isObject) : [];
}

/** The text at a member; empty when there is none. */
export function stringAt(value: JsonObject | undefined, name: string): string {
  const member = value?.[name];
  return typeof member === "string" ? member : "";
}

/** The texts in the list at a member. */
export function stringsAt(value: JsonObject | undefined, name: string): string[] {
  const member = value?.[name];
  return Array.isArray(member) ? member.filter((item) => typeof item === "string") : [];
}

/** The number at a member; 0 when there is none. */
export function numberAt(value: JsonObject | undefined, name: string): number {
  const member = value?.[name];
  return typeof member === "number" ? member : 0;
}
