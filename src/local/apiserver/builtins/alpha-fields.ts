import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt } from "../json-access.ts";
import { mapItems, mapMember, without } from "./edit.ts";

const CONTAINER_LISTS = ["initContainers", "containers", "ephemeralContainers"];

/** The spec of a pod without the fields that a server of this version ignores: their features are off. */
export function withoutAlphaFields(spec: JsonObject): JsonObject {
  const isImage = (volume: JsonObject) => isObject(volume["image"]);
  const images = new Set(objectsAt(spec, "volumes").filter(isImage).map(nameOf));
  const withVolumes = withoutNamed(without(spec, "hostnameOverride"), "volumes", images);
  return CONTAINER_LISTS.reduce(
    (result, list) =>
      mapItems(result, list, (container) =>
        withoutNamed(withoutContainerFields(container, list), "volumeMounts", images),
      ),
    withVolumes,
  );
}

const nameOf = (item: JsonObject): Json => item["name"] ?? null;

function withoutNamed(object: JsonObject, list: string, names: ReadonlySet<Json>): JsonObject {
  if (names.size === 0 || !Array.isArray(object[list])) return object;
  const kept = objectsAt(object, list).filter((item) => !names.has(nameOf(item)));
  return kept.length === 0 ? without(object, list) : { ...object, [list]: kept };
}

function withoutContainerFields(container: JsonObject, list: string): JsonObject {
  const isSidecar = list === "initContainers" && container["restartPolicy"] === "Always";
  const plain = without(container, "restartPolicyRules", ...(isSidecar ? [] : ["restartPolicy"]));
  const withEnv = mapItems(plain, "env", (entry) =>
    mapMember(entry, "valueFrom", (source) => without(source, "fileKeyRef")),
  );
  const result = mapMember(withEnv, "lifecycle", (hooks) => without(hooks, "stopSignal"));
  const hadSignal = "stopSignal" in objectAt(container, "lifecycle");
  const isEmpty = Object.keys(objectAt(result, "lifecycle")).length === 0;
  return hadSignal && isEmpty ? without(result, "lifecycle") : result;
}
