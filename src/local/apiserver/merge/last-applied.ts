import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { objectAt, stringAt } from "../json-access.ts";
import { canonical } from "../schema/list-rules.ts";
import { difference, EMPTY_SET, type FieldSet } from "./field-set.ts";
import type { MergeType } from "./merge-types.ts";
import { compareValues, fieldSetOf } from "./typed-values.ts";

const ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * The fields that the annotation of a client-side `kubectl apply` set and that nobody changed since:
 * a server-side apply of kubectl may take these over without a conflict.
 */
export function lastAppliedSet(type: MergeType, live: JsonObject, apiVersion: string): FieldSet {
  const text = annotationOf(live);
  const applied = text === "" ? undefined : parse(text);
  if (!isObject(applied) || applied["apiVersion"] !== apiVersion) return EMPTY_SET;
  const { added, modified, removed } = compareValues(type, applied, live);
  return [modified, added, removed].reduce(difference, fieldSetOf(type, applied));
}

/** Brings the annotation up to date on an object that has it, for clients that still go by it. */
export function withLastApplied(object: JsonObject, applied: JsonObject): JsonObject {
  if (annotationOf(object) === "") return object;
  const metadata = objectAt(object, "metadata");
  const annotations = objectAt(metadata, "annotations");
  const text = `${canonical(withoutAnnotation(applied))}\n`;
  return {
    ...object,
    metadata: { ...metadata, annotations: { ...annotations, [ANNOTATION]: text } },
  };
}

const annotationOf = (object: JsonObject) =>
  stringAt(objectAt(objectAt(object, "metadata"), "annotations"), ANNOTATION);

function withoutAnnotation(applied: JsonObject): JsonObject {
  const { metadata } = applied;
  if (!isObject(metadata) || !isObject(metadata["annotations"])) return applied;
  const { [ANNOTATION]: _, ...annotations } = metadata["annotations"];
  return { ...applied, metadata: { ...metadata, annotations } };
}

function parse(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}
