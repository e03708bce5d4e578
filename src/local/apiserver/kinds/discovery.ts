import { createHash } from "node:crypto";
import type { JsonObject } from "#base/json.ts";
import type { Kind, Subresource } from "./kind.ts";

const OBJECT_VERBS = [
  "create",
  "delete",
  "deletecollection",
  "get",
  "list",
  "patch",
  "update",
  "watch",
];
/** Namespaces are deleted one by one, with all that is in them. */
const NAMESPACE_VERBS = OBJECT_VERBS.filter((verb) => verb !== "deletecollection");
/** The same, in the order in which the API server tells them of custom kinds. */
const CUSTOM_VERBS = [
  "delete",
  "deletecollection",
  "get",
  "list",
  "patch",
  "create",
  "update",
  "watch",
];
const SUBRESOURCE_VERBS: { readonly [name in Subresource]: readonly string[] } = {
  status: ["get", "patch", "update"],
  scale: ["get", "patch", "update"],
  log: ["get"],
  exec: ["create", "get"],
  binding: ["create"],
  finalize: ["update"],
  token: ["create"],
};

/** The kinds of one group in one version, as `group/version`; the core group has no group part. */
export function groupVersionOf(kind: { group: string; version: string }): string {
  return kind.group === "" ? kind.version : `${kind.group}/${kind.version}`;
}

/** The groups of the given kinds, without the core group, each with its versions, best first. */
export function groupsOf(kinds: readonly Kind[]): Map<string, string[]> {
  const groups = new Map<string, Set<string>>();
  for (const { group, version } of kinds) {
    if (group === "") continue;
    groups.set(group, (groups.get(group) ?? new Set()).add(version));
  }
  const entries = [...groups].map(([group, versions]): [string, string[]] => [
    group,
    [...versions].sort(compareVersions),
  ]);
  return new Map(entries);
}

/** Orders versions as Kubernetes does: v2, v1, v1beta2, v1beta1, v1alpha1, then all others by name. */
export function compareVersions(a: string, b: string): number {
  const rank = (version: string): number[] => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
    if (match === null) return [0];
    const stage = match[2] === undefined ? 3 : match[2] === "beta" ? 2 : 1;
    return [stage, Number(match[1]), Number(match[3] ?? 0)];
  };
  const [ranksA, ranksB] = [rank(a), rank(b)];
  for (const [position, value] of ranksA.entries()) {
    const difference = (ranksB[position] ?? 0) - value;
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * The body of GET /api (root `api`) and GET /apis for clients that ask for everything at once
 * (`g=apidiscovery.k8s.io;as=APIGroupDiscoveryList`).
 */
export function aggregatedDiscovery(
  kinds: readonly Kind[],
  root: "api" | "apis",
  version: "v2" | "v2beta1",
): JsonObject {
  const groups: [string, string[]][] = root === "api" ? [["", ["v1"]]] : [...groupsOf(kinds)];
  return {
    kind: "APIGroupDiscoveryList",
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map(([group, versions]) => ({
      metadata: group === "" ? {} : { name: group },
      versions: versions.map((served) => ({
        version: served,
        resources: kindsIn(kinds, group, served).map(discoveredResource),
        freshness: "Current",
      })),
    })),
  };
}

function kindsIn(kinds: readonly Kind[], group: string, version: string): Kind[] {
  return kinds
    .filter((kind) => kind.group === group && kind.version === version)
    .sort((a, b) => (a.plural < b.plural ? -1 : 1));
}

function discoveredResource(kind: Kind): JsonObject {
  const subresources = [...kind.subresources].sort().map((name) => ({
    subresource: name,
    responseKind: responseKindOf(kind, name),
    verbs: [...SUBRESOURCE_VERBS[name]],
  }));
  return {
    resource: kind.plural,
    responseKind: { group: kind.group, version: kind.version, kind: kind.kind },
    scope: kind.namespaced ? "Namespaced" : "Cluster",
    singularResource: kind.singular,
    verbs: [...verbsOf(kind)],
    ...listed("shortNames", kind.shortNames),
    ...listed("categories", kind.categories),
    ...(subresources.length === 0 ? {} : { subresources }),
  };
}

const listed = (name: string, values: readonly string[]): JsonObject =>
  values.length === 0 ? {} : { [name]: [...values] };

function verbsOf(kind: Kind): readonly string[] {
  if (kind.custom) return CUSTOM_VERBS;
  return kind.group === "" && kind.kind === "Namespace" ? NAMESPACE_VERBS : OBJECT_VERBS;
}

/** What a subresource answers with. */
function responseKindOf(kind: Kind, name: Subresource) {
  const { group, version } = kind;
  switch (name) {
    case "scale":
      return { group: "autoscaling", version: "v1", kind: "Scale" };
    case "token":
      return { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" };
    case "exec":
      return { group, version, kind: "PodExecOptions" };
    case "binding":
      return { group, version, kind: "Binding" };
    default:
      return { group, version, kind: kind.kind };
  }
}

/** The body of GET /api for clients that ask group by group. */
export function apiVersions(serverAddress: string): JsonObject {
  return {
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress }],
  };
}

/** The body of GET /apis for clients that ask group by group. */
export function apiGroupList(kinds: readonly Kind[]): JsonObject {
  const groups = [...groupsOf(kinds)].map(([name, versions]) => groupBody(name, versions));
  return { kind: "APIGroupList", apiVersion: "v1", groups };
}

/** The body of GET /apis/{group}; undefined when nothing is served under it. */
export function apiGroup(kinds: readonly Kind[], name: string): JsonObject | undefined {
  const versions = groupsOf(kinds).get(name);
  if (versions === undefined) return undefined;
  return { kind: "APIGroup", apiVersion: "v1", ...groupBody(name, versions) };
}

function groupBody(name: string, versions: readonly string[]): JsonObject {
  const [preferred = "", ...others] = versions;
  const body = (version: string) => ({ groupVersion: `${name}/${version}`, version });
  return {
    name,
    versions: [preferred, ...others].map(body),
    preferredVersion: body(preferred),
  };
}

/** The body of GET /api/v1 and GET /apis/{group}/{version}; undefined when nothing is served there. */
export function apiResourceList(
  kinds: readonly Kind[],
  group: string,
  version: string,
): JsonObject | undefined {
  const found = kindsIn(kinds, group, version);
  if (found.length === 0) return undefined;
  return {
    kind: "APIResourceList",
    ...(group === "" ? {} : { apiVersion: "v1" }),
    groupVersion: groupVersionOf({ group, version }),
    resources: found.flatMap((kind) => [mainResource(kind), ...subresourcesOf(kind)]),
  };
}

function mainResource(kind: Kind): JsonObject {
  return {
    name: kind.plural,
    singularName: kind.singular,
    namespaced: kind.namespaced,
    kind: kind.kind,
    verbs: [...verbsOf(kind)],
    ...listed("shortNames", kind.shortNames),
    ...listed("categories", kind.categories),
    storageVersionHash: createHash("sha256")
      .update(`${kind.group}/${kind.version}/${kind.kind}`)
      .digest()
      .subarray(0, 8)
      .toString("base64"),
  };
}

function subresourcesOf(kind: Kind): JsonObject[] {
  return (kind.custom ? kind.subresources : [...kind.subresources].sort()).map((name) => ({
    name: `${kind.plural}/${name}`,
    singularName: "",
    namespaced: kind.namespaced,
    ...(responseKindOf(kind, name).group === kind.group
      ? { kind: responseKindOf(kind, name).kind }
      : responseKindOf(kind, name)),
    verbs: [...SUBRESOURCE_VERBS[name]],
  }));
}
