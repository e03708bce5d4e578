import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { kindKey } from "./edit.ts";

const METADATA = ["metadata.name", "metadata.namespace"];
const REFERENCE = [
  "kind",
  "namespace",
  "name",
  "uid",
  "apiVersion",
  "resourceVersion",
  "fieldPath",
];

/** What field selectors of a kind can be about; of kinds that are not here only name and namespace. */
const LABELS: { readonly [key: string]: readonly string[] } = {
  "/Pod": [
    ...METADATA,
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
    // What clients of the first days call spec.nodeName.
    "spec.host",
  ],
  "/Node": ["metadata.name", "spec.unschedulable"],
  "/Namespace": ["metadata.name", "status.phase"],
  "/Secret": [...METADATA, "type"],
  "/Service": [...METADATA, "spec.clusterIP", "spec.type"],
  "/Event": [
    ...METADATA,
    ...REFERENCE.map((name) => `involvedObject.${name}`),
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  "events.k8s.io/Event": [
    ...METADATA,
    ...REFERENCE.map((name) => `regarding.${name}`),
    "reason",
    "reportingController",
    "type",
  ],
};

/** The labels that field selectors of a kind may use, e.g. `status.phase`. */
export function fieldLabelsOf(kind: Kind): readonly string[] {
  if (kind.custom) {
    return [...METADATA, ...(kind.selectableFields ?? []).map((path) => path.replace(/^\./, ""))];
  }
  return LABELS[kindKey(kind)] ?? METADATA;
}

type Reader = (object: JsonObject) => string;
const READERS: { readonly [key: string]: { readonly [label: string]: Reader } } = {
  "/Pod": {
    "spec.host": (pod) => stringAt(objectAt(pod, "spec"), "nodeName"),
    "spec.hostNetwork": (pod) => String(objectAt(pod, "spec")["hostNetwork"] === true),
    "status.podIP": (pod) => stringAt(objectsAt(objectAt(pod, "status"), "podIPs")[0], "ip"),
    // The label is accepted and no pod has a value for it.
    "status.podIPs": () => "",
  },
  "/Node": {
    "spec.unschedulable": (node) => String(objectAt(node, "spec")["unschedulable"] === true),
  },
  "/Event": {
    source: (event) =>
      stringAt(objectAt(event, "source"), "component") || stringAt(event, "reportingComponent"),
  },
};

/** What a label of a field selector is for an object; empty when the object has no such field. */
export function fieldValue(kind: Kind, object: JsonObject, label: string): string {
  const isStored = kind.group === "events.k8s.io" && object["apiVersion"] === "v1";
  const name = isStored ? coreLabel(label) : label;
  const read = READERS[kindKey(kind)]?.[name];
  if (read !== undefined) return read(object);
  let value: Json | undefined = object;
  for (const step of name.split(".")) value = isObject(value) ? value[step] : undefined;
  const isText = typeof value === "string" || typeof value === "number";
  return isText || typeof value === "boolean" ? String(value) : "";
}

/** Events are stored as core/v1 has them. */
const coreLabel = (label: string) =>
  label
    .replace(/^regarding\./, "involvedObject.")
    .replace(/^reportingController$/, "reportingComponent");
