import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt } from "../json-access.ts";
import {
  child,
  duplicate,
  type FieldError,
  forbidden,
  index,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { dnsLabel } from "../schema/name-rules.ts";
import { claimSpecErrors } from "./claim-rules.ts";
import { fieldRefErrors, resourceRefErrors } from "./env-rules.ts";
import { byRule, fileMode } from "./rules.ts";

const HOST_PATH_TYPES = [
  "",
  "BlockDevice",
  "CharDevice",
  "Directory",
  "DirectoryOrCreate",
  "File",
  "FileOrCreate",
  "Socket",
];
const TOKEN_SECONDS_MIN = 600;
const TOKEN_SECONDS_MAX = 2 ** 32;
const PULL_POLICIES = ["Always", "IfNotPresent", "Never"];

type SourceRule = (source: JsonObject, path: string) => FieldError[];

/** The types of volumes in the order in which they are looked for. */
const SOURCES: { readonly [type: string]: SourceRule } = {
  emptyDir: emptyDirErrors,
  hostPath: hostPathErrors,
  secret: (source, path) => [
    ...nonEmpty(source, "secretName", path),
    ...fileMode(child(path, "defaultMode"), source["defaultMode"]),
    ...itemErrors(source, path),
  ],
  nfs: nfsErrors,
  persistentVolumeClaim: (source, path) => nonEmpty(source, "claimName", path),
  downwardAPI: (source, path) => [
    ...fileMode(child(path, "defaultMode"), source["defaultMode"]),
    ...objectsAt(source, "items").flatMap((item) => downwardErrors(item, path)),
  ],
  configMap: (source, path) => [
    ...nonEmpty(source, "name", path),
    ...fileMode(child(path, "defaultMode"), source["defaultMode"]),
    ...itemErrors(source, path),
  ],
  projected: projectedErrors,
  csi: (source, path) => nonEmpty(source, "driver", path),
  ephemeral: ephemeralErrors,
};

/** Checks the volumes of a pod. `names` are those of the volumes that are in order. */
export function volumeErrors(
  volumes: readonly JsonObject[],
  path: string,
): { errors: FieldError[]; names: Set<string> } {
  const names = new Set<string>();
  const errors: FieldError[] = [];
  for (const [position, volume] of volumes.entries()) {
    const field = index(path, position);
    const name = stringAt(volume, "name");
    const own = sourceErrors(volume, field);
    if (name === "") own.push(required(child(field, "name")));
    else own.push(...byRule(dnsLabel, child(field, "name"), name));
    if (names.has(name)) own.push(duplicate(child(field, "name"), name));
    if (own.length === 0) names.add(name);
    errors.push(...own);
  }
  return { errors, names };
}

function sourceErrors(volume: JsonObject, path: string): FieldError[] {
  const known = Object.keys(SOURCES);
  const types = Object.keys(volume).filter((type) => isObject(volume[type]));
  const inOrder = [...types].sort((a, b) => known.indexOf(a) - known.indexOf(b));
  const [first, ...others] = inOrder;
  if (first === undefined) return [required(path, "must specify a volume type")];
  return [
    ...(SOURCES[first]?.(objectAt(volume, first), child(path, first)) ?? []),
    ...others.map((type) =>
      forbidden(child(path, type), "may not specify more than 1 volume type"),
    ),
  ];
}

const nonEmpty = (source: JsonObject, name: string, path: string): FieldError[] =>
  stringAt(source, name) === "" ? [required(child(path, name))] : [];

function emptyDirErrors(source: JsonObject, path: string): FieldError[] {
  const text = "SizeLimit field must be a valid resource quantity";
  const isNegative = stringAt(source, "sizeLimit").startsWith("-");
  return isNegative ? [forbidden(child(path, "sizeLimit"), text)] : [];
}

function hostPathErrors(source: JsonObject, path: string): FieldError[] {
  const place = stringAt(source, "path");
  if (place === "") return [required(child(path, "path"))];
  const type = stringAt(source, "type");
  return [
    ...noBackstep(place, child(path, "path")),
    ...(HOST_PATH_TYPES.includes(type)
      ? []
      : [notSupported(child(path, "type"), type, HOST_PATH_TYPES)]),
  ];
}

function nfsErrors(source: JsonObject, path: string): FieldError[] {
  const place = stringAt(source, "path");
  return [
    ...nonEmpty(source, "server", path),
    ...nonEmpty(source, "path", path),
    ...(place.startsWith("/") || place === ""
      ? []
      : [invalid(child(path, "path"), place, "must be an absolute path")]),
  ];
}

export function pullPolicyErrors(policy: string, path: string): FieldError[] {
  return policy === "" || PULL_POLICIES.includes(policy)
    ? []
    : [notSupported(path, policy, PULL_POLICIES)];
}

const noBackstep = (place: string, path: string): FieldError[] =>
  place.split("/").includes("..") ? [invalid(path, place, "must not contain '..'")] : [];

/** A path that stays below the place where it starts. */
export function descendingPath(place: string, path: string): FieldError[] {
  return [
    ...(place.startsWith("/") ? [invalid(path, place, "must be a relative path")] : []),
    ...noBackstep(place, path),
  ];
}

function localPath(place: string, path: string): FieldError[] {
  const isReserved = place.startsWith("..") && !place.startsWith("../");
  return [
    ...descendingPath(place, path),
    ...(isReserved ? [invalid(path, place, "must not start with '..'")] : []),
  ];
}

function itemErrors(source: JsonObject, path: string): FieldError[] {
  return objectsAt(source, "items").flatMap((item, position) => {
    const field = index(child(path, "items"), position);
    return [
      ...nonEmpty(item, "key", field),
      ...nonEmpty(item, "path", field),
      ...localPath(stringAt(item, "path"), child(field, "path")),
      ...fileMode(child(field, "mode"), item["mode"]),
    ];
  });
}

function downwardErrors(file: JsonObject, path: string): FieldError[] {
  const errors = [
    ...nonEmpty(file, "path", path),
    ...localPath(stringAt(file, "path"), child(path, "path")),
  ];
  const { fieldRef, resourceFieldRef } = file;
  if (isObject(fieldRef)) {
    errors.push(...fieldRefErrors(fieldRef, child(path, "fieldRef"), true));
    const text = "fieldRef and resourceFieldRef can not be specified simultaneously";
    if (isObject(resourceFieldRef)) errors.push(invalid(path, "resource", text));
  } else if (isObject(resourceFieldRef)) {
    errors.push(...resourceRefErrors(resourceFieldRef, child(path, "resourceFieldRef"), true));
  } else errors.push(required(path, "one of fieldRef and resourceFieldRef is required"));
  return [...errors, ...fileMode(child(path, "mode"), file["mode"])];
}

function projectedErrors(projected: JsonObject, path: string): FieldError[] {
  const errors = fileMode(child(path, "defaultMode"), projected["defaultMode"]);
  const paths = new Set<string>();
  const conflicts = (place: string, shown: Json) => {
    if (place === "") return;
    if (paths.has(place)) errors.push(invalid(path, shown, "conflicting duplicate paths"));
    paths.add(place);
  };
  for (const [position, source] of objectsAt(projected, "sources").entries()) {
    const field = index(child(path, "sources"), position);
    for (const type of ["secret", "configMap"]) {
      const part = source[type];
      if (!isObject(part)) continue;
      errors.push(...nonEmpty(part, "name", child(field, type)));
      errors.push(...itemErrors(part, child(field, type)));
      for (const item of objectsAt(part, "items")) {
        conflicts(stringAt(item, "path"), stringAt(part, "name"));
      }
    }
    const downward = child(field, "downwardAPI");
    for (const file of objectsAt(objectAt(source, "downwardAPI"), "items")) {
      errors.push(...downwardErrors(file, downward));
      conflicts(stringAt(file, "path"), stringAt(file, "path"));
    }
    const token = source["serviceAccountToken"];
    if (isObject(token)) errors.push(...tokenErrors(token, field, path));
    if (Object.keys(source).length > 1) {
      errors.push(forbidden(field, "may not specify more than 1 volume type per source"));
    }
  }
  return errors;
}

function tokenErrors(token: JsonObject, source: string, volume: string): FieldError[] {
  const seconds = numberAt(token, "expirationSeconds");
  const field = `${source}.serviceAccountToken.expirationSeconds`;
  const errors: FieldError[] = [];
  if (seconds < TOKEN_SECONDS_MIN) {
    errors.push(invalid(field, seconds, "may not specify a duration less than 10 minutes"));
  }
  if (seconds > TOKEN_SECONDS_MAX) {
    errors.push(invalid(field, seconds, "may not specify a duration larger than 2^32 seconds"));
  }
  const place = stringAt(token, "path");
  if (place === "") errors.push(required(child(volume, "path")));
  else errors.push(...localPath(place, child(volume, "path")));
  return errors;
}

function ephemeralErrors(source: JsonObject, path: string): FieldError[] {
  const template = source["volumeClaimTemplate"];
  const field = child(path, "volumeClaimTemplate");
  if (!isObject(template)) return [required(field)];
  return claimSpecErrors(objectAt(template, "spec"), child(field, "spec"));
}
