import { isObject, type Json, type JsonObject } from "./json.ts";

/**
 * Applies a JSON Merge Patch (RFC 7386) and returns the new document: objects are merged, null
 * removes a member, anything else replaces. Neither argument is changed.
 */
export function applyMergePatch(document: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const target: JsonObject = isObject(document) ? document : {};
  const merged = new Map(Object.entries(target));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, applyMergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}
