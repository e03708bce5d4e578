import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { ApiError } from "../registry/api-error.ts";
import { mapMember, without } from "./edit.ts";
import { formOfDefinition } from "./go-form.ts";

const SCALE = "io.k8s.api.autoscaling.v1.Scale";
const BUILTIN_PATHS = {
  specReplicasPath: ".spec.replicas",
  statusReplicasPath: ".status.replicas",
};
const META_FIELDS = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];

/**
 * The autoscaling/v1 Scale of an object: what its scale subresource shows.
 * @throws ApiError when a custom object has no number of replicas
 */
export function scaleOf(kind: Kind, object: JsonObject): JsonObject {
  const { specReplicasPath } = kind.scale ?? BUILTIN_PATHS;
  if (kind.custom && at(object, specReplicasPath) === undefined) {
    const text = `the spec replicas field ${JSON.stringify(specReplicasPath)} does not exist`;
    throw new ApiError(500, "InternalError", `Internal error occurred: ${text}`, {
      causes: [{ message: text }],
    });
  }
  return scaleToChange(kind, object);
}

/** The Scale that a write starts from: no number of replicas is 0 there. */
export function scaleToChange(kind: Kind, object: JsonObject): JsonObject {
  const { specReplicasPath, statusReplicasPath } = kind.scale ?? BUILTIN_PATHS;
  const replicas = at(object, specReplicasPath);
  const metadata = objectAt(object, "metadata");
  const shown = META_FIELDS.filter((name) => name in metadata).map((name): [string, Json] => [
    name,
    metadata[name] ?? null,
  ]);
  const current = at(object, statusReplicasPath);
  const status = {
    replicas: typeof current === "number" ? current : 0,
    selector: selectorOf(kind, object),
  };
  return formOfDefinition(SCALE, {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: Object.fromEntries(shown),
    spec: { replicas: typeof replicas === "number" ? replicas : 0 },
    status,
  });
}

/** The object with the number of replicas and the resourceVersion that a Scale, as a client sends it, asks for. */
export function withScale(kind: Kind, object: JsonObject, scale: JsonObject): JsonObject {
  const { specReplicasPath } = kind.scale ?? BUILTIN_PATHS;
  const replicas = numberAt(objectAt(scale, "spec"), "replicas");
  const version = stringAt(objectAt(scale, "metadata"), "resourceVersion");
  const scaled = withMember(object, stepsOf(specReplicasPath), replicas);
  return mapMember(scaled, "metadata", (metadata) =>
    version === ""
      ? without(metadata, "resourceVersion")
      : { ...metadata, resourceVersion: version },
  );
}

function selectorOf(kind: Kind, object: JsonObject): string {
  if (!kind.custom) return selectorText(objectAt(objectAt(object, "spec"), "selector"));
  const path = kind.scale?.labelSelectorPath;
  const selector = path === undefined ? undefined : at(object, path);
  return typeof selector === "string" ? selector : "";
}

/** A label selector as one text, the way `kubectl get -l` takes it. */
export function selectorText(selector: JsonObject): string {
  const equal = Object.entries(objectAt(selector, "matchLabels")).map(([key, value]) => ({
    key,
    text: `${key}=${value}`,
  }));
  const others = objectsAt(selector, "matchExpressions").map((expression) => {
    const key = stringAt(expression, "key");
    return { key, text: requirementText(key, expression) };
  });
  const sorted = [...equal, ...others].sort((a, b) => (a.key < b.key ? -1 : Number(a.key > b.key)));
  return sorted.map(({ text }) => text).join(",");
}

function requirementText(key: string, expression: JsonObject): string {
  const values = stringsAt(expression, "values").sort().join(",");
  switch (expression["operator"]) {
    case "In":
      return `${key} in (${values})`;
    case "NotIn":
      return `${key} notin (${values})`;
    case "DoesNotExist":
      return `!${key}`;
    default:
      return key;
  }
}

/** Paths of scale subresources are names behind dots, nothing more. */
const stepsOf = (path: string) => path.split(".").filter((step) => step !== "");

function at(object: JsonObject, path: string): Json | undefined {
  let value: Json | undefined = object;
  for (const step of stepsOf(path)) value = isObject(value) ? value[step] : undefined;
  return value;
}

function withMember(object: JsonObject, steps: readonly string[], value: Json): JsonObject {
  const [first, ...rest] = steps;
  if (first === undefined) return object;
  const below = rest.length === 0 ? value : withMember(objectAt(object, first), rest, value);
  return { ...object, [first]: below };
}
