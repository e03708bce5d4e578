import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import { age } from "./human-duration.ts";
import { endpointSlices, services } from "./network-printers.ts";
import { podCells, podRowConditions } from "./pod-printer.ts";
import {
  AGE_COLUMN,
  ageOf,
  column,
  integer,
  NAME_COLUMN,
  NONE,
  nameOf,
  type Printer,
  wide,
} from "./printer.ts";

const sizeOf = (value: Json | undefined) => (isObject(value) ? Object.keys(value).length : 0);

/** Kinds of which there is nothing to say but the name and when they were created. */
const DATED: Printer = {
  columns: [NAME_COLUMN, column("Created At", "When the object was created.", { type: "date" })],
  cells: (object) => [
    nameOf(object),
    objectAt(object, "metadata")["creationTimestamp"] ?? "<unknown>",
  ],
};

const namespaces: Printer = {
  columns: [NAME_COLUMN, column("Status", "The namespace's phase."), AGE_COLUMN],
  cells: (object, now) => [
    nameOf(object),
    stringAt(objectAt(object, "status"), "phase"),
    ageOf(object, now),
  ],
};

const pods: Printer = {
  columns: [
    NAME_COLUMN,
    column("Ready", "Containers that are ready, of all containers."),
    column("Status", "What the pod's containers are doing."),
    column("Restarts", "How often containers were restarted, and when last."),
    AGE_COLUMN,
    wide("IP", "The pod's address."),
    wide("Node", "The node that the pod runs on."),
    wide("Nominated Node", "The node that is being cleared for the pod."),
    wide("Readiness Gates", "Readiness gates that are open, of all."),
  ],
  cells: podCells,
  conditions: podRowConditions,
};

const WORKLOAD_COLUMNS = [
  wide("Containers", "The containers in the template."),
  wide("Images", "The images of these containers."),
  wide("Selector", "Which pods belong to it."),
];
function workloadCells(spec: JsonObject): Json[] {
  const containers = objectsAt(objectAt(objectAt(spec, "template"), "spec"), "containers");
  return [
    containers.map((container) => stringAt(container, "name")).join(","),
    containers.map((container) => stringAt(container, "image")).join(","),
    selectorText(spec["selector"]) || NONE,
  ];
}

const deployments: Printer = {
  columns: [
    NAME_COLUMN,
    column("Ready", "Pods that are ready, of those wanted."),
    column("Up-to-date", "Pods made from the current template."),
    column("Available", "Pods that have been ready for long enough."),
    AGE_COLUMN,
    ...WORKLOAD_COLUMNS,
  ],
  cells(object, now) {
    const spec = objectAt(object, "spec");
    const status = objectAt(object, "status");
    return [
      nameOf(object),
      `${numberAt(status, "readyReplicas")}/${numberAt(spec, "replicas")}`,
      numberAt(status, "updatedReplicas"),
      numberAt(status, "availableReplicas"),
      ageOf(object, now),
      ...workloadCells(spec),
    ];
  },
};

const replicaSets: Printer = {
  columns: [
    NAME_COLUMN,
    integer("Desired", "Pods wanted."),
    integer("Current", "Pods that exist."),
    integer("Ready", "Pods that are ready."),
    AGE_COLUMN,
    ...WORKLOAD_COLUMNS,
  ],
  cells(object, now) {
    const spec = objectAt(object, "spec");
    const status = objectAt(object, "status");
    return [
      nameOf(object),
      numberAt(spec, "replicas"),
      numberAt(status, "replicas"),
      numberAt(status, "readyReplicas"),
      ageOf(object, now),
      ...workloadCells(spec),
    ];
  },
};

/** Serves both events groups: the newer one has the same facts under other names. */
const events: Printer = {
  columns: [
    column("Last Seen", "When the event last occurred."),
    column("Type", "Normal or Warning."),
    column("Reason", "Why it occurred, in one word."),
    column("Object", "What the event is about."),
    wide("Subobject", "The part of the object that the event is about."),
    wide("Source", "Who reports the event."),
    column("Message", "What happened, for a person."),
    wide("First Seen", "When the event first occurred."),
    wide("Count", "How often the event occurred."),
    column("Name", "The object's name.", { format: "name", priority: 1 }),
  ],
  cells(object, now) {
    const about = objectAt(object, "involvedObject" in object ? "involvedObject" : "regarding");
    const source = objectAt(object, "source" in object ? "source" : "deprecatedSource");
    const series = object["series"];
    const either = (name: string, deprecated: string) => object[name] ?? object[deprecated];
    const first = either("firstTimestamp", "deprecatedFirstTimestamp") ?? object["eventTime"];
    const last = either("lastTimestamp", "deprecatedLastTimestamp") ?? first;
    const count = either("count", "deprecatedCount");
    const name = stringAt(about, "name");
    const kind = stringAt(about, "kind").toLowerCase();
    const component = stringAt(source, "component") || controllerOf(object);
    const host = stringAt(source, "host") || stringAt(object, "reportingInstance");
    return [
      age(isObject(series) ? series["lastObservedTime"] : last, now),
      stringAt(object, "type"),
      stringAt(object, "reason"),
      name === "" ? kind : `${kind}/${name}`,
      stringAt(about, "fieldPath"),
      host === "" ? component : `${component}, ${host}`,
      (stringAt(object, "message") || stringAt(object, "note")).trim(),
      age(first, now),
      isObject(series) ? numberAt(series, "count") : count || 1,
      nameOf(object),
    ];
  },
};

const controllerOf = (event: JsonObject) =>
  stringAt(event, "reportingComponent") || stringAt(event, "reportingController");

const nodes: Printer = {
  columns: [
    NAME_COLUMN,
    column("Status", "Whether the node takes pods."),
    column("Roles", "The roles of the node."),
    AGE_COLUMN,
    column("Version", "The kubelet's version."),
    wide("Internal-IP", "The node's address inside the cluster."),
    wide("External-IP", "The node's address outside the cluster."),
    wide("OS-Image", "The node's operating system."),
    wide("Kernel-Version", "The node's kernel."),
    wide("Container-Runtime", "What runs the containers."),
  ],
  cells(object, now) {
    const status = objectAt(object, "status");
    const info = objectAt(status, "nodeInfo");
    const ready = objectsAt(status, "conditions").find((item) => item["type"] === "Ready");
    const words = [
      ready === undefined ? "Unknown" : ready["status"] === "True" ? "Ready" : "NotReady",
    ];
    if (objectAt(object, "spec")["unschedulable"] === true) words.push("SchedulingDisabled");
    const address = (type: string) =>
      stringAt(
        objectsAt(status, "addresses").find((item) => item["type"] === type),
        "address",
      ) || NONE;
    return [
      nameOf(object),
      words.join(","),
      nodeRoles(object).join(",") || NONE,
      ageOf(object, now),
      stringAt(info, "kubeletVersion"),
      address("InternalIP"),
      address("ExternalIP"),
      stringAt(info, "osImage") || "<unknown>",
      stringAt(info, "kernelVersion") || "<unknown>",
      stringAt(info, "containerRuntimeVersion") || "<unknown>",
    ];
  },
};

function nodeRoles(node: JsonObject): string[] {
  const prefix = "node-role.kubernetes.io/";
  const roles = new Set<string>();
  for (const [name, value] of Object.entries(objectAt(objectAt(node, "metadata"), "labels"))) {
    if (name.startsWith(prefix)) roles.add(name.slice(prefix.length));
    else if (name === "kubernetes.io/role" && typeof value === "string") roles.add(value);
  }
  roles.delete("");
  return [...roles].sort();
}

const ACCESS_MODES: readonly [string, string][] = [
  ["ReadWriteOnce", "RWO"],
  ["ReadOnlyMany", "ROX"],
  ["ReadWriteMany", "RWX"],
  ["ReadWriteOncePod", "RWOP"],
];
const volumeClaims: Printer = {
  columns: [
    NAME_COLUMN,
    column("Status", "The claim's phase."),
    column("Volume", "The volume that is bound to the claim."),
    column("Capacity", "The size of that volume."),
    column("Access Modes", "How the volume may be mounted."),
    column("StorageClass", "The class that the claim asks for."),
    column("VolumeAttributesClass", "The attributes that the claim asks for."),
    AGE_COLUMN,
    wide("VolumeMode", "File system or block device."),
  ],
  cells(object, now) {
    const spec = objectAt(object, "spec");
    const status = objectAt(object, "status");
    const isBound = stringAt(spec, "volumeName") !== "";
    const isGoing = objectAt(object, "metadata")["deletionTimestamp"] !== undefined;
    const modes = new Set(stringsAt(status, "accessModes"));
    const shortModes = ACCESS_MODES.filter(([mode]) => modes.has(mode)).map(([, short]) => short);
    return [
      nameOf(object),
      isGoing ? "Terminating" : stringAt(status, "phase"),
      stringAt(spec, "volumeName"),
      isBound ? stringAt(objectAt(status, "capacity"), "storage") || "0" : "",
      isBound ? shortModes.join(",") : "",
      stringAt(spec, "storageClassName"),
      stringAt(spec, "volumeAttributesClassName") || "<unset>",
      ageOf(object, now),
      stringAt(spec, "volumeMode") || "<unset>",
    ];
  },
};

const secrets: Printer = {
  columns: [
    NAME_COLUMN,
    column("Type", "What the Secret is for."),
    column("Data", "How many keys the Secret holds."),
    AGE_COLUMN,
  ],
  cells: (object, now) => [
    nameOf(object),
    stringAt(object, "type"),
    sizeOf(object["data"]),
    ageOf(object, now),
  ],
};

const configMaps: Printer = {
  columns: [NAME_COLUMN, column("Data", "How many keys the ConfigMap holds."), AGE_COLUMN],
  cells: (object, now) => [
    nameOf(object),
    sizeOf(object["data"]) + sizeOf(object["binaryData"]),
    ageOf(object, now),
  ],
};

const serviceAccounts: Printer = {
  columns: [NAME_COLUMN, column("Secrets", "How many Secrets belong to it."), AGE_COLUMN],
  cells: (object, now) => [nameOf(object), objectsAt(object, "secrets").length, ageOf(object, now)],
};

const leases: Printer = {
  columns: [NAME_COLUMN, column("Holder", "Who holds the lease."), AGE_COLUMN],
  cells: (object, now) => [
    nameOf(object),
    stringAt(objectAt(object, "spec"), "holderIdentity"),
    ageOf(object, now),
  ],
};

const roleBindings: Printer = {
  columns: [
    NAME_COLUMN,
    column("Role", "The role that is granted."),
    AGE_COLUMN,
    wide("Users", "The users that have it."),
    wide("Groups", "The groups that have it."),
    wide("ServiceAccounts", "The service accounts that have it."),
  ],
  cells(object, now) {
    const role = objectAt(object, "roleRef");
    const subjects = objectsAt(object, "subjects");
    const named = (kind: string) =>
      subjects.filter((subject) => subject["kind"] === kind).map((item) => stringAt(item, "name"));
    const accounts = subjects
      .filter((subject) => subject["kind"] === "ServiceAccount")
      .map((subject) => `${stringAt(subject, "namespace")}/${stringAt(subject, "name")}`);
    return [
      nameOf(object),
      `${stringAt(role, "kind")}/${stringAt(role, "name")}`,
      ageOf(object, now),
      named("User").join(", "),
      named("Group").join(", "),
      accounts.join(", "),
    ];
  },
};

const webhooks: Printer = {
  columns: [NAME_COLUMN, integer("Webhooks", "How many webhooks it registers."), AGE_COLUMN],
  cells: (object, now) => [
    nameOf(object),
    objectsAt(object, "webhooks").length,
    ageOf(object, now),
  ],
};

/** The printers of the built-in kinds, by the plural of their name. */
export const BUILTIN_PRINTERS: { readonly [plural: string]: Printer } = {
  namespaces,
  pods,
  services,
  secrets,
  configmaps: configMaps,
  events,
  nodes,
  serviceaccounts: serviceAccounts,
  persistentvolumeclaims: volumeClaims,
  endpointslices: endpointSlices,
  leases,
  deployments,
  replicasets: replicaSets,
  customresourcedefinitions: DATED,
  roles: DATED,
  rolebindings: roleBindings,
  clusterroles: DATED,
  clusterrolebindings: roleBindings,
  validatingwebhookconfigurations: webhooks,
  mutatingwebhookconfigurations: webhooks,
};

/** A label selector as `kubectl` writes it, e.g. `app=web,tier in (a,b),!old`. */
function selectorText(selector: Json | undefined): string {
  if (!isObject(selector)) return "";
  const terms: [string, string][] = Object.entries(objectAt(selector, "matchLabels")).map(
    ([name, value]) => [name, `${name}=${value}`],
  );
  for (const expression of objectsAt(selector, "matchExpressions")) {
    const name = stringAt(expression, "key");
    const values = stringsAt(expression, "values").sort().join(",");
    const term = {
      In: `${name} in (${values})`,
      NotIn: `${name} notin (${values})`,
      Exists: name,
      DoesNotExist: `!${name}`,
    }[stringAt(expression, "operator")];
    if (term !== undefined) terms.push([name, term]);
  }
  return terms
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, term]) => term)
    .join(",");
}
