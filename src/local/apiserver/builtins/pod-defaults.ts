import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { canonicalQuantity, milliQuantity } from "../schema/canonical-quantity.ts";
import { quantityNanos } from "../schema/quantity.ts";
import { mapItems, mapMember, withFallbacks } from "./edit.ts";

const VOLUME_FILE_MODE = 0o644;
const GRACE_PERIOD_SECONDS = 30;
const TOKEN_SECONDS = 3600;
const NANOS = 1_000_000_000n;
const CONTAINER_LISTS = ["initContainers", "containers", "ephemeralContainers"];
const POD_LEVEL_RESOURCES = /^(cpu|memory|hugepages-.*)$/;
/** An image reference that a container runtime can read; what it cannot read has no tag. */
const IMAGE =
  /^(?:(?:[\w-]+(?:\.[\w-]+)+(?::\d+)?|[\w-]*[A-Z][\w-]*|[\w-]+:\d+|localhost|\[[\da-fA-F:]+\](?::\d+)?)\/)?[a-z\d]+(?:(?:\.|_|__|-+)[a-z\d]+)*(?:\/[a-z\d]+(?:(?:\.|_|__|-+)[a-z\d]+)*)*(?::([\w][\w.-]{0,127}))?(@[A-Za-z][\w+.-]*:[\da-fA-F]{32,})?$/;

/** Fills in what a pod's spec may leave out; a pod template's spec is filled in the same way. */
export function defaultPodSpec(spec: JsonObject): JsonObject {
  const filled = withFallbacks(withServiceAccount(spec), {
    dnsPolicy: "ClusterFirst",
    restartPolicy: "Always",
    securityContext: {},
    terminationGracePeriodSeconds: GRACE_PERIOD_SECONDS,
    schedulerName: "default-scheduler",
  });
  const withContainers = CONTAINER_LISTS.reduce(
    (result, list) => mapItems(result, list, defaultContainer),
    mapItems(filled, "volumes", defaultVolume),
  );
  return mapMember(mapMember(withContainers, "overhead", milli), "resources", milliResources);
}

/** Fills in what only pods have filled in, and templates of pods do not. */
export function defaultPod(pod: JsonObject): JsonObject {
  const withSpec = mapMember(pod, "spec", (given) => {
    const seconds = given["terminationGracePeriodSeconds"];
    const isNegative = typeof seconds === "number" && seconds < 0;
    const spec = isNegative ? { ...given, terminationGracePeriodSeconds: 1 } : given;
    const requesting = ["containers", "initContainers"].reduce(
      (result, list) => mapItems(result, list, defaultRequests),
      spec,
    );
    const filled = withFallbacks(defaultPodRequests(requesting), { enableServiceLinks: true });
    if (filled["hostNetwork"] !== true) return defaultPodSpec(filled);
    return defaultPodSpec(
      ["containers", "initContainers"].reduce(
        (result, list) => mapItems(result, list, defaultHostPorts),
        filled,
      ),
    );
  });
  return mapMember(withSpec, "status", withPodIps);
}

/** `serviceAccount` is the old name of `serviceAccountName`; answers have both. */
function withServiceAccount(spec: JsonObject): JsonObject {
  const name = stringAt(spec, "serviceAccountName") || stringAt(spec, "serviceAccount");
  return name === "" ? spec : { ...spec, serviceAccountName: name, serviceAccount: name };
}

/** `podIP` is the first of `podIPs`; who writes the one writes the other. */
function withPodIps(status: JsonObject): JsonObject {
  const ip = stringAt(status, "podIP");
  const all = objectsAt(status, "podIPs");
  if (ip === "" && all.length > 0) return { ...status, podIP: stringAt(all[0], "ip") };
  if (ip === "" || stringAt(all[0], "ip") === ip) return status;
  return { ...status, podIPs: [{ ip }] };
}

const hasLimits = (item: JsonObject) => isObject(objectAt(item, "resources")["limits"]);

function defaultRequests(container: JsonObject): JsonObject {
  if (!hasLimits(container)) return container;
  return mapMember(container, "resources", (resources) => ({
    ...resources,
    requests: { ...objectAt(resources, "limits"), ...objectAt(resources, "requests") },
  }));
}

/** Limits of the whole pod imply requests: what its containers request together, or the limit. */
function defaultPodRequests(spec: JsonObject): JsonObject {
  if (!hasLimits(spec)) return spec;
  return mapMember(spec, "resources", (resources) => {
    const requests = { ...objectAt(resources, "requests") };
    for (const [name, quantity] of Object.entries(sumOfRequests(spec))) {
      if (name === "cpu" || name === "memory") requests[name] ??= quantity;
    }
    for (const [name, limit] of Object.entries(objectAt(resources, "limits"))) {
      if (POD_LEVEL_RESOURCES.test(name)) requests[name] ??= limit;
    }
    return { ...resources, requests };
  });
}

function sumOfRequests(spec: JsonObject): JsonObject {
  const requestsOf = (container: JsonObject) =>
    Object.entries(objectAt(objectAt(container, "resources"), "requests"));
  const sums = new Map<string, bigint>();
  const isBinary = /[KMGTPE]i"/.test(JSON.stringify(spec));
  for (const [name, quantity] of objectsAt(spec, "containers").flatMap(requestsOf)) {
    sums.set(name, (sums.get(name) ?? 0n) + (quantityNanos(String(quantity)) ?? 0n));
  }
  // An init container runs alone, so that the largest one counts.
  for (const [name, quantity] of objectsAt(spec, "initContainers").flatMap(requestsOf)) {
    const nanos = quantityNanos(String(quantity)) ?? 0n;
    if (nanos > (sums.get(name) ?? 0n)) sums.set(name, nanos);
  }
  return Object.fromEntries([...sums].map(([name, nanos]) => [name, nanosText(nanos, isBinary)]));
}

function nanosText(nanos: bigint, isBinary: boolean): string {
  const kibibytes = nanos / NANOS / 1024n;
  if (isBinary && kibibytes > 0n && kibibytes * 1024n * NANOS === nanos) {
    return canonicalQuantity(`${kibibytes}Ki`) ?? "";
  }
  return canonicalQuantity(`${nanos}n`) ?? "";
}

function defaultHostPorts(container: JsonObject): JsonObject {
  return mapItems(container, "ports", (port) =>
    withFallbacks(port, { hostPort: port["containerPort"] ?? 0 }),
  );
}

function defaultContainer(container: JsonObject): JsonObject {
  const filled = withFallbacks(container, {
    imagePullPolicy: pullPolicy(stringAt(container, "image")),
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
  });
  const withPorts = mapItems(filled, "ports", (port) => withFallbacks(port, { protocol: "TCP" }));
  const withEnv = mapItems(withPorts, "env", (entry) =>
    mapMember(entry, "valueFrom", (source) => mapMember(source, "fieldRef", defaultFieldRef)),
  );
  const withProbes = ["livenessProbe", "readinessProbe", "startupProbe"].reduce(
    (result, name) => mapMember(result, name, defaultProbe),
    withEnv,
  );
  const withHooks = mapMember(withProbes, "lifecycle", (lifecycle) =>
    ["postStart", "preStop"].reduce(
      (result, name) =>
        mapMember(result, name, (hook) => mapMember(hook, "httpGet", defaultHttpGet)),
      lifecycle,
    ),
  );
  return mapMember(withHooks, "resources", milliResources);
}

const milliResources = (resources: JsonObject) =>
  mapMember(mapMember(resources, "limits", milli), "requests", milli);

const milli = (list: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(list).map(([name, value]): [string, Json] => [
      name,
      typeof value === "string" ? milliQuantity(value) : value,
    ]),
  );

function pullPolicy(image: string): string {
  const match = IMAGE.exec(image);
  if (match === null) return "IfNotPresent";
  const [, tag, digest] = match;
  return tag === "latest" || (tag === undefined && digest === undefined)
    ? "Always"
    : "IfNotPresent";
}

const defaultFieldRef = (ref: JsonObject) => withFallbacks(ref, { apiVersion: "v1" });

const defaultHttpGet = (action: JsonObject) => withFallbacks(action, { path: "/", scheme: "HTTP" });

function defaultProbe(probe: JsonObject): JsonObject {
  const filled = withFallbacks(probe, {
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
  });
  return mapMember(mapMember(filled, "httpGet", defaultHttpGet), "grpc", (action) =>
    withFallbacks(action, { service: "" }),
  );
}

/** Filled into the volumes of one type. */
const VOLUME_FALLBACKS: { readonly [type: string]: JsonObject } = {
  secret: { defaultMode: VOLUME_FILE_MODE },
  configMap: { defaultMode: VOLUME_FILE_MODE },
  downwardAPI: { defaultMode: VOLUME_FILE_MODE },
  projected: { defaultMode: VOLUME_FILE_MODE },
  hostPath: { type: "" },
  iscsi: { iscsiInterface: "default" },
  rbd: { pool: "rbd", user: "admin", keyring: "/etc/ceph/keyring" },
};

function defaultVolume(volume: JsonObject): JsonObject {
  if (Object.keys(volume).every((name) => name === "name")) return { ...volume, emptyDir: {} };
  const filled = Object.entries(VOLUME_FALLBACKS).reduce(
    (result, [type, fallbacks]) =>
      mapMember(result, type, (source) => withFallbacks(source, fallbacks)),
    volume,
  );
  const withItems = mapMember(filled, "downwardAPI", defaultDownward);
  const withSources = mapMember(withItems, "projected", (projected) =>
    mapItems(projected, "sources", (source) =>
      mapMember(mapMember(source, "downwardAPI", defaultDownward), "serviceAccountToken", (token) =>
        withFallbacks(token, { expirationSeconds: TOKEN_SECONDS }),
      ),
    ),
  );
  return mapMember(withSources, "ephemeral", (source) =>
    mapMember(source, "volumeClaimTemplate", (template) =>
      mapMember(template, "spec", (spec) => withFallbacks(spec, { volumeMode: "Filesystem" })),
    ),
  );
}

const defaultDownward = (source: JsonObject) =>
  mapItems(source, "items", (item) => mapMember(item, "fieldRef", defaultFieldRef));
