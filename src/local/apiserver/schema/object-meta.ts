import { isObject, type Json, type JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";
import { child, type FieldError, index, invalid, required } from "./field-error.ts";
import {
  dns1035Label,
  dnsLabel,
  labelValue,
  type NameRule,
  pathSegment,
  qualifiedName,
  subdomain,
} from "./name-rules.ts";

/** Bytes that an object's annotations may have together. */
const ANNOTATIONS_SIZE_MAX_BYTES = 256 * 1024;

const STANDARD_FINALIZERS = new Set(["kubernetes", "foregroundDeletion", "orphan"]);

/** Whether finalizers need a domain; those of definitions and of custom objects do not. */
export type FinalizerRule = "qualified" | "any";

/** What finalizers of a kind's objects must look like. */
export const finalizerRuleOf = (kind: Kind): FinalizerRule =>
  kind.custom || kind.group === "apiextensions.k8s.io" ? "any" : "qualified";

const NAME_RULES: { readonly [plural: string]: NameRule } = {
  services: dns1035Label,
  namespaces: (text) => (text.includes(".") ? ["must not contain dots"] : dnsLabel(text)),
  roles: pathSegment,
  rolebindings: pathSegment,
  clusterroles: pathSegment,
  clusterrolebindings: pathSegment,
};

/** What names of a kind's objects must look like. */
export function nameRuleOf(kind: Kind): NameRule {
  return (kind.custom ? undefined : NAME_RULES[kind.plural]) ?? subdomain;
}

/**
 * Checks an object's metadata as the API server does before it stores the object: name, labels,
 * annotations, finalizers, owner references. `metadata` has the types of its schema already.
 */
export function validateObjectMeta(
  metadata: JsonObject,
  nameRule: NameRule,
  path = "metadata",
  finalizers: FinalizerRule = "qualified",
): FieldError[] {
  const { name, generateName, generation } = metadata;
  const errors: FieldError[] = [];
  if (typeof generateName === "string" && generateName !== "") {
    // A prefix is followed by more, so it may end in what a whole name may not end in.
    const wrong = nameRule(`${generateName.replace(/[-.]+$/, "")}a`);
    errors.push(...wrong.map((text) => invalid(child(path, "generateName"), generateName, text)));
  }
  if (typeof name !== "string" || name === "") {
    errors.push(required(child(path, "name"), "name or generateName is required"));
  } else {
    errors.push(...nameRule(name).map((text) => invalid(child(path, "name"), name, text)));
  }
  if (typeof generation === "number" && generation < 0) {
    errors.push(
      invalid(child(path, "generation"), generation, "must be greater than or equal to 0"),
    );
  }
  return [
    ...errors,
    ...ownerErrors(metadata["ownerReferences"], child(path, "ownerReferences")),
    ...finalizerErrors(metadata["finalizers"], child(path, "finalizers"), finalizers),
    ...labelErrors(metadata["labels"], child(path, "labels")),
    ...annotationErrors(metadata["annotations"], child(path, "annotations")),
  ];
}

/** Checks a map of labels. */
export function labelErrors(labels: Json | undefined, path: string): FieldError[] {
  if (!isObject(labels)) return [];
  return Object.entries(labels).flatMap(([key, value]) => [
    ...qualifiedName(key).map((text) => invalid(path, key, text)),
    ...(typeof value === "string" ? labelValue(value) : []).map((text) =>
      invalid(path, value, text),
    ),
  ]);
}

/** Checks a map of annotations. */
export function annotationErrors(annotations: Json | undefined, path: string): FieldError[] {
  if (!isObject(annotations)) return [];
  // Unlike labels, annotations may have capital letters in their prefix.
  const errors = Object.keys(annotations).flatMap((key) =>
    qualifiedName(key.toLowerCase()).map((text) => invalid(path, key, text)),
  );
  const texts = Object.entries(annotations)
    .flat()
    .filter((text) => typeof text === "string");
  const size = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (size > ANNOTATIONS_SIZE_MAX_BYTES) {
    errors.push({
      field: path,
      reason: "FieldValueTooLong",
      message: `Too long: may not be more than ${ANNOTATIONS_SIZE_MAX_BYTES} bytes`,
    });
  }
  return errors;
}

function finalizerErrors(
  finalizers: Json | undefined,
  path: string,
  rule: FinalizerRule,
): FieldError[] {
  if (!Array.isArray(finalizers)) return [];
  const errors: FieldError[] = [];
  for (const [position, finalizer] of finalizers.entries()) {
    if (typeof finalizer !== "string") continue;
    errors.push(...qualifiedName(finalizer).map((text) => invalid(path, finalizer, text)));
    if (rule === "any") continue;
    if (!finalizer.includes("/") && !STANDARD_FINALIZERS.has(finalizer)) {
      const text = "name is neither a standard finalizer name nor is it fully qualified";
      errors.push(invalid(index(path, position), finalizer, text));
    }
  }
  if (finalizers.includes("orphan") && finalizers.includes("foregroundDeletion")) {
    const text = "finalizer orphan and foregroundDeletion cannot be both set";
    errors.push(invalid(path, finalizers, text));
  }
  return errors;
}

function ownerErrors(owners: Json | undefined, path: string): FieldError[] {
  const list = Array.isArray(owners) ? owners.filter(isObject) : [];
  const errors: FieldError[] = [];
  for (const owner of list) {
    const empty = (name: string) => owner[name] === undefined || owner[name] === "";
    if (empty("apiVersion")) {
      errors.push(invalid(child(path, "apiVersion"), "", "version must not be empty"));
    }
    for (const name of ["kind", "name", "uid"]) {
      if (empty(name)) errors.push(invalid(child(path, name), "", "must not be empty"));
    }
    if (owner["kind"] === "Event" && owner["apiVersion"] === "v1") {
      errors.push(invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"));
    }
  }
  const [first, second] = list.filter((owner) => owner["controller"] === true);
  if (first !== undefined && second !== undefined) {
    const name = (owner: JsonObject) => `${owner["kind"]}/${owner["name"]}`;
    const text = `Only one reference can have Controller set to true. Found "true" in references for ${name(first)} and ${name(second)}`;
    errors.push(invalid(path, list.map(inOrder), text));
  }
  return errors;
}

const OWNER_FIELDS = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];

/** As messages show an owner reference. */
const inOrder = (owner: JsonObject): JsonObject =>
  Object.fromEntries(
    OWNER_FIELDS.flatMap((name) => {
      const value = owner[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
