import { isObject, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  index,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { type NameRule, qualifiedName, subdomain } from "../schema/name-rules.ts";
import { byRule, configKey } from "./rules.ts";

const ENV_FIELDS = [
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "spec.nodeName",
  "spec.serviceAccountName",
  "status.hostIP",
  "status.hostIPs",
  "status.podIP",
  "status.podIPs",
];
const VOLUME_FIELDS = [
  "metadata.annotations",
  "metadata.labels",
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
];
/** Fields that pods have, even if not all of them can be handed to containers. */
const POD_FIELDS = new Set([
  ...ENV_FIELDS,
  ...VOLUME_FIELDS,
  "spec.host",
  "spec.restartPolicy",
  "spec.schedulerName",
  "status.phase",
]);
const RESOURCE_FIELDS = [
  "limits.cpu",
  "limits.ephemeral-storage",
  "limits.memory",
  "requests.cpu",
  "requests.ephemeral-storage",
  "requests.memory",
];
const SOURCES = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];

const envName: NameRule = (text) =>
  /^[\x20-\x3c\x3e-\x7e]*$/.test(text)
    ? []
    : [
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
      ];

/** Checks the environment variables of a container, and where they come from. */
export function envErrors(container: JsonObject, path: string): FieldError[] {
  return [
    ...objectsAt(container, "env").flatMap((entry, position) =>
      variableErrors(entry, index(child(path, "env"), position)),
    ),
    ...objectsAt(container, "envFrom").flatMap((source, position) =>
      envFromErrors(source, child(path, "envFrom"), position),
    ),
  ];
}

function variableErrors(entry: JsonObject, path: string): FieldError[] {
  const name = stringAt(entry, "name");
  const errors =
    name === "" ? [required(child(path, "name"))] : byRule(envName, child(path, "name"), name);
  const source = entry["valueFrom"];
  if (!isObject(source)) return errors;
  const field = child(path, "valueFrom");
  const given = SOURCES.filter((kind) => isObject(source[kind]));
  for (const kind of given) errors.push(...sourceErrors(kind, objectAt(source, kind), field));
  if (given.length === 0) {
    const text =
      "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
    errors.push(invalid(field, "", text));
  } else if (stringAt(entry, "value") !== "") {
    errors.push(invalid(field, "", "may not be specified when `value` is not empty"));
  } else if (given.length > 1) {
    errors.push(invalid(field, "", "may not have more than one field specified at a time"));
  }
  return errors;
}

function sourceErrors(kind: string, source: JsonObject, parent: string): FieldError[] {
  const path = child(parent, kind);
  switch (kind) {
    case "fieldRef":
      return fieldRefErrors(source, path, false);
    case "resourceFieldRef":
      return resourceRefErrors(source, path, false);
    default: {
      const key = stringAt(source, "key");
      return [
        ...byRule(subdomain, child(path, "name"), stringAt(source, "name")),
        ...(key === ""
          ? [required(child(path, "key"))]
          : byRule(configKey, child(path, "key"), key)),
      ];
    }
  }
}

function envFromErrors(source: JsonObject, list: string, position: number): FieldError[] {
  const path = index(list, position);
  const errors = byRule(envName, child(path, "prefix"), stringAt(source, "prefix"));
  const given = ["configMapRef", "secretRef"].filter((kind) => isObject(source[kind]));
  for (const kind of given) {
    const name = stringAt(objectAt(source, kind), "name");
    const field = child(child(path, kind), "name");
    errors.push(...(name === "" ? [required(field)] : byRule(subdomain, field, name)));
  }
  if (given.length === 0) {
    errors.push(invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"));
  } else if (given.length > 1) {
    errors.push(invalid(list, "", "may not have more than one field specified at a time"));
  }
  return errors;
}

/** Checks a reference to a field of the pod itself, from a variable or from a file in a volume. */
export function fieldRefErrors(ref: JsonObject, path: string, isFile: boolean): FieldError[] {
  const fieldPath = stringAt(ref, "fieldPath");
  const field = child(path, "fieldPath");
  if (fieldPath === "") return [required(field)];
  const version = stringAt(ref, "apiVersion");
  const unknown = (text: string) => [
    invalid(field, fieldPath, `error converting fieldPath: ${text}`),
  ];
  if (version !== "v1") return unknown(`unsupported pod version: ${version}`);
  const [, map, name = ""] = /^(.*)\['(.*)'\]$/s.exec(fieldPath) ?? [];
  if (map !== undefined) {
    if (map === "metadata.annotations") return byRule(qualifiedName, path, name.toLowerCase());
    if (map === "metadata.labels") return byRule(qualifiedName, path, name);
    return unknown(`field label does not support subscript: ${fieldPath}`);
  }
  if (!POD_FIELDS.has(fieldPath)) return unknown(`field label not supported: ${fieldPath}`);
  const shown = fieldPath === "spec.host" ? "spec.nodeName" : fieldPath;
  const allowed = isFile ? VOLUME_FIELDS : ENV_FIELDS;
  return allowed.includes(shown) ? [] : [notSupported(field, shown, allowed)];
}

/** Checks a reference to what a container may have, from a variable or from a file in a volume. */
export function resourceRefErrors(ref: JsonObject, path: string, isFile: boolean): FieldError[] {
  const resource = stringAt(ref, "resource");
  if (isFile && stringAt(ref, "containerName") === "") {
    return [required(child(path, "containerName"))];
  }
  if (resource === "") return [required(child(path, "resource"))];
  const isKnown =
    RESOURCE_FIELDS.includes(resource) || /^(limits|requests)\.hugepages-/.test(resource);
  return isKnown ? [] : [notSupported(child(path, "resource"), resource, RESOURCE_FIELDS)];
}
