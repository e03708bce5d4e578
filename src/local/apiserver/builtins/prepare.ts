import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { withoutAlphaFields } from "./alpha-fields.ts";
import { withNameLabel } from "./defaults.ts";
import { kindKey, mapItems, mapMember, without } from "./edit.ts";
import { admitPodSpec, admitPodUpdate, qosClass } from "./pod-admission.ts";
import { prepareServiceSpec } from "./prepare-service.ts";

type Prepare = (object: JsonObject, old: JsonObject | undefined) => JsonObject;

/**
 * What the API server makes of an object of a built-in kind between reading and validating it: what
 * follows from other fields, what clients may not set, what an update keeps although it leaves it
 * out. Metadata, generation and the separation of spec and status are the caller's; the object has
 * been through `defaultBuiltin`.
 * @param old the object as it is stored; undefined when it is created
 */
export function prepareBuiltin(
  kind: Kind,
  object: JsonObject,
  old: JsonObject | undefined,
): JsonObject {
  if (kind.custom) return object;
  const status = old === undefined ? STATUS_AT_CREATION[kindKey(kind)] : undefined;
  const started = status === undefined ? object : { ...object, status };
  return PREPARE[kindKey(kind)]?.(started, old) ?? started;
}

/** Nodes alone may be created with a status. */
const STATUS_AT_CREATION: { readonly [key: string]: JsonObject } = {
  "/Namespace": { phase: "Active" },
  "/PersistentVolumeClaim": { phase: "Pending" },
  "/Service": { loadBalancer: {} },
  "apps/Deployment": {},
  "apps/ReplicaSet": { replicas: 0 },
};

const PREPARE: { readonly [key: string]: Prepare } = {
  "/Namespace": prepareNamespace,
  "/Node": (node, old) =>
    old === undefined
      ? mapMember(notReady(withoutConfigSource(node)), "status", (status) =>
          without(status, "config"),
        )
      : node,
  "/PersistentVolumeClaim": (claim, old) =>
    mapMember(old === undefined ? inUse(claim) : claim, "spec", (spec) =>
      withDataSources(spec, objectAt(old, "spec")),
    ),
  "/Pod": preparePod,
  // Webhooks may have added some.
  "/Secret": (secret) => withStringData(secret),
  "/Service": (service, old) =>
    mapMember(service, "spec", (spec) =>
      prepareServiceSpec(spec, old === undefined ? undefined : objectAt(old, "spec")),
    ),
  "/ServiceAccount": (account) =>
    mapItems(account, "secrets", (secret) => ({ name: secret["name"] ?? "" })),
  "apps/Deployment": prepareTemplate,
  "apps/ReplicaSet": prepareTemplate,
  "coordination.k8s.io/Lease": (lease) =>
    // Coordinated leader election is a feature that is off.
    mapMember(lease, "spec", (spec) => without(spec, "strategy", "preferredHolder")),
  "discovery.k8s.io/EndpointSlice": (slice) =>
    mapItems(slice, "endpoints", (endpoint) => without(endpoint, "deprecatedTopology")),
};

const withoutConfigSource = (node: JsonObject) =>
  mapMember(node, "spec", (spec) => without(spec, "configSource"));

/** A new node takes no pods until somebody finds it ready (admission plugin NodeTaint). */
const notReady = (node: JsonObject): JsonObject =>
  mapMember({ spec: {}, ...node }, "spec", (spec) => {
    const taint = { key: "node.kubernetes.io/not-ready", effect: "NoSchedule" };
    const isThere = objectsAt(spec, "taints").some(({ key }) => key === taint.key);
    return isThere ? spec : { ...spec, taints: [...objectsAt(spec, "taints"), taint] };
  });

/** A claim stays while a pod uses it (admission plugin StorageObjectInUseProtection). */
const inUse = (claim: JsonObject): JsonObject =>
  mapMember(claim, "metadata", (metadata) => {
    const finalizers = stringsAt(metadata, "finalizers");
    const own = "kubernetes.io/pvc-protection";
    return finalizers.includes(own) ? metadata : { ...metadata, finalizers: [...finalizers, own] };
  });

function prepareNamespace(namespace: JsonObject, old: JsonObject | undefined): JsonObject {
  const labelled = mapMember(namespace, "metadata", withNameLabel);
  if (old !== undefined) {
    // Only the subresource for it takes finalizers away.
    return { ...labelled, spec: objectAt(old, "spec") };
  }
  const finalizers = stringsAt(objectAt(namespace, "spec"), "finalizers");
  const all = finalizers.includes("kubernetes") ? finalizers : [...finalizers, "kubernetes"];
  return { ...labelled, spec: { ...objectAt(namespace, "spec"), finalizers: all } };
}

function prepareTemplate(workload: JsonObject): JsonObject {
  return mapMember(workload, "spec", (spec) =>
    mapMember(spec, "template", (template) => mapMember(template, "spec", withoutAlphaFields)),
  );
}

function preparePod(given: JsonObject, old: JsonObject | undefined): JsonObject {
  const pod = mapMember(given, "spec", withoutAlphaFields);
  if (old === undefined) {
    const admitted = mapMember(pod, "spec", admitPodSpec);
    const spec = objectAt(admitted, "spec");
    return {
      ...admitted,
      status: { phase: "Pending", ...gatedCondition(admitted), qosClass: qosClass(spec) },
    };
  }
  const admitted = mapMember(pod, "spec", (spec) => admitPodUpdate(spec, objectAt(old, "spec")));
  // Kubelets that refuse a pod forget its class.
  const { qosClass: known } = objectAt(old, "status");
  if (known === undefined || stringAt(objectAt(pod, "status"), "qosClass") !== "") return admitted;
  return { ...admitted, status: { ...objectAt(pod, "status"), qosClass: known } };
}

function gatedCondition(pod: JsonObject): JsonObject {
  if (objectsAt(objectAt(pod, "spec"), "schedulingGates").length === 0) return {};
  const condition = {
    type: "PodScheduled",
    status: "False",
    lastProbeTime: null,
    lastTransitionTime: objectAt(pod, "metadata")["creationTimestamp"] ?? null,
    reason: "SchedulingGated",
    message: "Scheduling is blocked due to non-empty scheduling gates",
  };
  return { conditions: [condition] };
}

/** A Secret as everybody but server-side apply sees it, and any other object as it is. */
export function asSeen(kind: Kind, object: JsonObject): JsonObject {
  return kindKey(kind) === "/Secret" ? withStringData(object) : object;
}

/** `stringData` is only a way to write: it goes over `data` and is not kept. */
function withStringData(secret: JsonObject): JsonObject {
  const { stringData } = secret;
  if (!isObject(stringData)) return secret;
  const encoded = Object.entries(stringData).map(([key, value]): [string, Json] => [
    key,
    Buffer.from(String(value)).toString("base64"),
  ]);
  const data = { ...objectAt(secret, "data"), ...Object.fromEntries(encoded) };
  return { ...without(secret, "stringData"), data };
}

/** `dataSource` and `dataSourceRef` say the same; what `dataSource` may not name is dropped. */
function withDataSources(given: JsonObject, old: JsonObject): JsonObject {
  const wasUsed = isObject(old["dataSource"]) || isObject(old["dataSourceRef"]);
  const { dataSource, dataSourceRef } = given;
  if (isObject(dataSource) && !isObject(dataSourceRef)) {
    const { apiGroup = null, kind = "", name = "" } = dataSource;
    const isKnown =
      (kind === "PersistentVolumeClaim" && (apiGroup ?? "") === "") ||
      (kind === "VolumeSnapshot" && apiGroup === "snapshot.storage.k8s.io");
    if (!isKnown && !wasUsed) return without(given, "dataSource");
    return { ...given, dataSourceRef: { apiGroup, kind, name } };
  }
  if (!isObject(dataSourceRef) || isObject(dataSource)) return given;
  if (stringAt(dataSourceRef, "namespace") !== "") return given;
  const { apiGroup = null, kind = "", name = "" } = dataSourceRef;
  return { ...given, dataSource: { apiGroup, kind, name } };
}
