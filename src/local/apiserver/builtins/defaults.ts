import { isObject, type JsonObject } from "#base/json.ts";
import { objectAt, stringAt } from "../json-access.ts";
import { defaultCrd } from "../kinds/crd-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { kindKey, mapItems, mapMember, withFallbacks, without } from "./edit.ts";
import { goForm } from "./go-form.ts";
import { defaultPod, defaultPodSpec } from "./pod-defaults.ts";

const AFFINITY_SECONDS = 10_800;
const RBAC_GROUP = "rbac.authorization.k8s.io";
const HTTPS_PORT = 443;

type Defaults = (object: JsonObject) => JsonObject;

/**
 * An object of a built-in kind as kube-apiserver holds it after reading it: in its canonical form
 * (see `goForm`), with everything that has a default filled in. Of other kinds the object as it is.
 * To be called for what clients send and for what a patch makes of a stored object.
 */
export function defaultBuiltin(kind: Kind, object: JsonObject): JsonObject {
  if (kind.custom) return object;
  const form = goForm(kind, object);
  return DEFAULTS[kindKey(kind)]?.(form) ?? form;
}

const DEFAULTS: { readonly [key: string]: Defaults } = {
  "/Namespace": defaultNamespace,
  "/Pod": defaultPod,
  "/Service": defaultService,
  "/Secret": (secret) => withFallbacks(secret, { type: "Opaque" }),
  "/Node": defaultNode,
  "/PersistentVolumeClaim": (claim) =>
    mapMember(
      mapMember(claim, "spec", (spec) => withFallbacks(spec, { volumeMode: "Filesystem" })),
      "status",
      (status) => withFallbacks(status, { phase: "Pending" }),
    ),
  "apps/Deployment": defaultDeployment,
  "apps/ReplicaSet": (set) =>
    mapMember(set, "spec", (spec) => defaultTemplate(withFallbacks(spec, { replicas: 1 }))),
  "discovery.k8s.io/EndpointSlice": (slice) =>
    mapItems(slice, "ports", (port) => withFallbacks(port, { name: "", protocol: "TCP" })),
  "rbac.authorization.k8s.io/RoleBinding": defaultBinding,
  "rbac.authorization.k8s.io/ClusterRoleBinding": defaultBinding,
  "admissionregistration.k8s.io/ValidatingWebhookConfiguration": (configuration) =>
    mapItems(configuration, "webhooks", defaultWebhook),
  "admissionregistration.k8s.io/MutatingWebhookConfiguration": (configuration) =>
    mapItems(configuration, "webhooks", (webhook) =>
      withFallbacks(defaultWebhook(webhook), { reinvocationPolicy: "Never" }),
    ),
  "apiextensions.k8s.io/CustomResourceDefinition": defaultCrd,
};

/** The label by which selectors find a namespace by its name, and the phase. */
function defaultNamespace(namespace: JsonObject): JsonObject {
  const named = mapMember(namespace, "metadata", withNameLabel);
  return mapMember(named, "status", (status) => withFallbacks(status, { phase: "Active" }));
}

/** Namespaces carry their name as a label, too, once they have one. */
export function withNameLabel(metadata: JsonObject): JsonObject {
  const name = stringAt(metadata, "name");
  if (name === "") return metadata;
  const labels = { ...objectAt(metadata, "labels"), "kubernetes.io/metadata.name": name };
  return { ...metadata, labels };
}

function defaultNode(node: JsonObject): JsonObject {
  const addressed = mapMember(node, "spec", (spec) => {
    const cidr = stringAt(spec, "podCIDR");
    const all = Array.isArray(spec["podCIDRs"]) ? spec["podCIDRs"] : [];
    if (cidr === "") return all.length > 0 ? { ...spec, podCIDR: all[0] ?? "" } : spec;
    return all[0] === cidr ? spec : { ...spec, podCIDRs: [cidr] };
  });
  return mapMember(addressed, "status", (status) =>
    isObject(status["capacity"])
      ? withFallbacks(status, { allocatable: status["capacity"] })
      : status,
  );
}

function defaultDeployment(deployment: JsonObject): JsonObject {
  return mapMember(deployment, "spec", (spec) => {
    const filled = withFallbacks(spec, {
      replicas: 1,
      revisionHistoryLimit: 10,
      progressDeadlineSeconds: 600,
    });
    return defaultTemplate(mapMember(filled, "strategy", defaultStrategy));
  });
}

function defaultStrategy(strategy: JsonObject): JsonObject {
  const typed = withFallbacks(strategy, { type: "RollingUpdate" });
  if (typed["type"] !== "RollingUpdate") return typed;
  return mapMember(withFallbacks(typed, { rollingUpdate: {} }), "rollingUpdate", (update) =>
    withFallbacks(update, { maxUnavailable: "25%", maxSurge: "25%" }),
  );
}

const defaultTemplate = (spec: JsonObject) =>
  mapMember(spec, "template", (template) => mapMember(template, "spec", defaultPodSpec));

/** Whether traffic from outside the cluster reaches a Service. */
export function isExternallyAccessible(spec: JsonObject): boolean {
  const { type, externalIPs } = spec;
  if (type === "LoadBalancer" || type === "NodePort") return true;
  return type === "ClusterIP" && Array.isArray(externalIPs) && externalIPs.length > 0;
}

function defaultService(service: JsonObject): JsonObject {
  const filled = mapMember(service, "spec", (given) => {
    const spec = withAffinity(withFallbacks(given, { sessionAffinity: "None", type: "ClusterIP" }));
    const { type } = spec;
    const withPorts = mapItems(spec, "ports", defaultServicePort);
    return withFallbacks(withPorts, {
      ...(isExternallyAccessible(spec) ? { externalTrafficPolicy: "Cluster" } : {}),
      ...(["ClusterIP", "NodePort", "LoadBalancer"].includes(String(type))
        ? { internalTrafficPolicy: "Cluster" }
        : {}),
      ...(type === "LoadBalancer" ? { allocateLoadBalancerNodePorts: true } : {}),
    });
  });
  if (objectAt(filled, "spec")["type"] !== "LoadBalancer") return filled;
  return mapMember(filled, "status", (status) =>
    mapMember(status, "loadBalancer", (balancer) =>
      mapItems(balancer, "ingress", (ingress) =>
        "ip" in ingress ? withFallbacks(ingress, { ipMode: "VIP" }) : ingress,
      ),
    ),
  );
}

function withAffinity(spec: JsonObject): JsonObject {
  if (spec["sessionAffinity"] === "None") return without(spec, "sessionAffinityConfig");
  if (spec["sessionAffinity"] !== "ClientIP") return spec;
  const client = objectAt(objectAt(spec, "sessionAffinityConfig"), "clientIP");
  if (typeof client["timeoutSeconds"] === "number") return spec;
  return { ...spec, sessionAffinityConfig: { clientIP: { timeoutSeconds: AFFINITY_SECONDS } } };
}

function defaultServicePort(port: JsonObject): JsonObject {
  const target = port["targetPort"];
  const isSet = target !== undefined && target !== 0 && target !== "";
  return {
    ...withFallbacks(port, { protocol: "TCP" }),
    targetPort: isSet ? target : (port["port"] ?? 0),
  };
}

function defaultBinding(binding: JsonObject): JsonObject {
  const withRole = mapMember(binding, "roleRef", (ref) =>
    stringAt(ref, "apiGroup") === "" ? { ...ref, apiGroup: RBAC_GROUP } : ref,
  );
  return mapItems(withRole, "subjects", (subject) => {
    const isPerson = subject["kind"] === "User" || subject["kind"] === "Group";
    return isPerson ? withFallbacks(subject, { apiGroup: RBAC_GROUP }) : subject;
  });
}

function defaultWebhook(webhook: JsonObject): JsonObject {
  const filled = withFallbacks(webhook, {
    failurePolicy: "Fail",
    matchPolicy: "Equivalent",
    namespaceSelector: {},
    objectSelector: {},
    timeoutSeconds: 10,
  });
  const withRules = mapItems(filled, "rules", (rule) => withFallbacks(rule, { scope: "*" }));
  return mapMember(withRules, "clientConfig", (config) =>
    mapMember(config, "service", (service) => withFallbacks(service, { port: HTTPS_PORT })),
  );
}
