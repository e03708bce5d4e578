import { isObject, type JsonObject, jsonEqual } from "#base/json.ts";
import { objectAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  invalid,
  key,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { subdomain } from "../schema/name-rules.ts";
import { quantityNanos } from "../schema/quantity.ts";
import { byRule, IMMUTABLE, labelSelectorErrors } from "./rules.ts";
import { unifiedDiff } from "./unified-diff.ts";

const ACCESS_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES = ["Block", "Filesystem"];

/** Checks a PersistentVolumeClaim; of a change only the size may grow once the claim is bound. */
export function claimErrors(claim: JsonObject, old: JsonObject | undefined): FieldError[] {
  const errors = claimSpecErrors(objectAt(claim, "spec"), "spec");
  return old === undefined ? errors : [...errors, ...claimUpdateErrors(claim, old)];
}

/** Checks what a claim asks for. */
export function claimSpecErrors(spec: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const modes = stringsAt(spec, "accessModes");
  const modesPath = child(path, "accessModes");
  if (modes.length === 0) errors.push(required(modesPath, "at least 1 access mode is required"));
  errors.push(...labelSelectorErrors(objectAt(spec, "selector"), child(path, "selector")));
  for (const mode of modes) {
    if (!ACCESS_MODES.includes(mode)) errors.push(notSupported(modesPath, mode, ACCESS_MODES));
  }
  const others = modes.filter((mode) => ACCESS_MODES.includes(mode) && mode !== "ReadWriteOncePod");
  if (modes.includes("ReadWriteOncePod") && others.length > 0) {
    errors.push(forbidden(modesPath, "may not use ReadWriteOncePod with other access modes"));
  }
  const storage = objectAt(objectAt(spec, "resources"), "requests")["storage"];
  const storagePath = key(child(path, "resources"), "storage");
  if (typeof storage !== "string") errors.push(required(storagePath));
  else if ((quantityNanos(storage) ?? 0n) <= 0n) {
    errors.push(invalid(storagePath, storage, "must be greater than zero"));
  }
  const storageClass = stringAt(spec, "storageClassName");
  if (storageClass !== "") {
    errors.push(...byRule(subdomain, child(path, "storageClassName"), storageClass));
  }
  const mode = stringAt(spec, "volumeMode");
  if (mode !== "" && !VOLUME_MODES.includes(mode)) {
    errors.push(notSupported(child(path, "volumeMode"), mode, VOLUME_MODES));
  }
  return [
    ...errors,
    ...sourceErrors(spec, "dataSource", path),
    ...sourceErrors(spec, "dataSourceRef", path),
  ];
}

function sourceErrors(spec: JsonObject, name: string, parent: string): FieldError[] {
  const source = spec[name];
  if (!isObject(source)) return [];
  const path = child(parent, name);
  const errors = ["name", "kind"]
    .filter((field) => stringAt(source, field) === "")
    .map((field) => required(child(path, field)));
  const group = stringAt(source, "apiGroup");
  if (group === "" && source["kind"] !== "PersistentVolumeClaim") {
    const text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
    errors.push(invalid(path, stringAt(source, "kind"), text));
  }
  if (group !== "") errors.push(...byRule(subdomain, child(path, "apiGroup"), group));
  return errors;
}

function claimUpdateErrors(claim: JsonObject, old: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const [spec, before] = [objectAt(claim, "spec"), objectAt(old, "spec")];
  const isBound = objectAt(claim, "status")["phase"] === "Bound";
  const comparable = withSizeOf(spec, isBound ? before : spec);
  const known =
    "volumeName" in before ? before : { ...before, volumeName: spec["volumeName"] ?? "" };
  const target = "volumeName" in spec ? comparable : { ...comparable, volumeName: "" };
  if (!jsonEqual(target, known)) {
    const text =
      "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    errors.push(forbidden("spec", `${text}\n${unifiedDiff(before, comparable)}`));
  }
  const size = sizeOf(spec);
  const capacity = quantityNanos(
    stringAt(objectAt(objectAt(old, "status"), "capacity"), "storage"),
  );
  if (size < sizeOf(before) && size <= (capacity ?? 0n)) {
    const text = "field can not be less than status.capacity";
    errors.push(forbidden("spec.resources.requests.storage", text));
  }
  if (spec["volumeMode"] !== before["volumeMode"]) {
    errors.push(invalid("volumeMode", spec["volumeMode"] ?? null, IMMUTABLE));
  }
  return errors;
}

const sizeOf = (spec: JsonObject) =>
  quantityNanos(stringAt(objectAt(objectAt(spec, "resources"), "requests"), "storage")) ?? 0n;

function withSizeOf(spec: JsonObject, other: JsonObject): JsonObject {
  const resources = objectAt(spec, "resources");
  const { storage } = objectAt(objectAt(other, "resources"), "requests");
  if (storage === undefined) return spec;
  const requests = { ...objectAt(resources, "requests"), storage };
  return { ...spec, resources: { ...resources, requests } };
}
