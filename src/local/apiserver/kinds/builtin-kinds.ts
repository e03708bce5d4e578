import { resolvedDefinition } from "../schema/kubernetes-schema.ts";
import type { Kind } from "./kind.ts";

type Scope = "Namespaced" | "Cluster";
interface Names {
  shortNames?: readonly string[];
  categories?: readonly string[];
  subresources?: Kind["subresources"];
}

const CORE = "io.k8s.api.core.v1";
const APPS = "io.k8s.api.apps.v1";
const RBAC = "io.k8s.api.rbac.v1";
const ADMISSION = "io.k8s.api.admissionregistration.v1";
const EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/** Package of the OpenAPI definitions of each served group; all are served as v1. */
const PACKAGES: { readonly [group: string]: string } = {
  "": CORE,
  apps: APPS,
  "admissionregistration.k8s.io": ADMISSION,
  "apiextensions.k8s.io": EXTENSIONS,
  "coordination.k8s.io": "io.k8s.api.coordination.v1",
  "discovery.k8s.io": "io.k8s.api.discovery.v1",
  "events.k8s.io": "io.k8s.api.events.v1",
  "rbac.authorization.k8s.io": RBAC,
};

const ALL = ["all"];
const API_EXTENSIONS = ["api-extensions"];

function kind(group: string, name: string, scope: Scope, names: Names = {}): Kind {
  const singular = name.toLowerCase();
  return {
    group,
    version: "v1",
    kind: name,
    listKind: `${name}List`,
    plural: `${singular}s`,
    singular,
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    namespaced: scope === "Namespaced",
    subresources: names.subresources ?? [],
    // Most kinds are never touched in a run, so their schemas are put together at the first use.
    get schema() {
      return resolvedDefinition(builtinDefinitionName(group, name));
    },
    custom: false,
    columns: [],
  };
}

/** The OpenAPI name of a built-in kind's definition. */
export function builtinDefinitionName(group: string, kindName: string): string {
  const prefix = PACKAGES[group];
  if (prefix === undefined) throw new Error(`bug: ${group} is not a built-in group`);
  return `${prefix}.${kindName}`;
}

const KINDS: readonly Kind[] = [
  kind("", "Namespace", "Cluster", { shortNames: ["ns"], subresources: ["status", "finalize"] }),
  kind("", "Pod", "Namespaced", {
    shortNames: ["po"],
    categories: ALL,
    subresources: ["status", "log", "exec", "binding"],
  }),
  kind("", "Service", "Namespaced", {
    shortNames: ["svc"],
    categories: ALL,
    subresources: ["status"],
  }),
  kind("", "Secret", "Namespaced"),
  kind("", "ConfigMap", "Namespaced", { shortNames: ["cm"] }),
  kind("", "Event", "Namespaced", { shortNames: ["ev"] }),
  kind("", "Node", "Cluster", { shortNames: ["no"], subresources: ["status"] }),
  kind("", "ServiceAccount", "Namespaced", { shortNames: ["sa"], subresources: ["token"] }),
  kind("", "PersistentVolumeClaim", "Namespaced", {
    shortNames: ["pvc"],
    subresources: ["status"],
  }),
  kind("apps", "Deployment", "Namespaced", {
    shortNames: ["deploy"],
    categories: ALL,
    subresources: ["status", "scale"],
  }),
  kind("apps", "ReplicaSet", "Namespaced", {
    shortNames: ["rs"],
    categories: ALL,
    subresources: ["status", "scale"],
  }),
  kind("discovery.k8s.io", "EndpointSlice", "Namespaced"),
  kind("events.k8s.io", "Event", "Namespaced", { shortNames: ["ev"] }),
  kind("coordination.k8s.io", "Lease", "Namespaced"),
  kind("apiextensions.k8s.io", "CustomResourceDefinition", "Cluster", {
    shortNames: ["crd", "crds"],
    categories: API_EXTENSIONS,
    subresources: ["status"],
  }),
  kind("rbac.authorization.k8s.io", "Role", "Namespaced"),
  kind("rbac.authorization.k8s.io", "RoleBinding", "Namespaced"),
  kind("rbac.authorization.k8s.io", "ClusterRole", "Cluster"),
  kind("rbac.authorization.k8s.io", "ClusterRoleBinding", "Cluster"),
  kind("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "Cluster", {
    categories: API_EXTENSIONS,
  }),
  kind("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "Cluster", {
    categories: API_EXTENSIONS,
  }),
];

/** The kinds that the API serves without any CustomResourceDefinition. */
export function builtinKinds(): readonly Kind[] {
  return KINDS;
}

/** Schema of autoscaling/v1 Scale, the body of every scale subresource. */
export function scaleSchema() {
  return resolvedDefinition("io.k8s.api.autoscaling.v1.Scale");
}
