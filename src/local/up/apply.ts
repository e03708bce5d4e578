import type { KubeObject } from "#api/kubernetes.ts";
import { assert } from "#base/assert.ts";
import type { Clock } from "#base/clock.ts";
import { hashHex } from "#base/hash.ts";
import {
  CUSTOM_RESOURCE_DEFINITIONS,
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  isNotFound,
  type KubeClient,
  MODEL_ADAPTERS,
  NAMESPACES,
  type ObjectName,
  type Resource,
  SERVICE_ACCOUNTS,
  SERVICES,
} from "#kube/client.ts";

/** Who `loradock up` is in `managedFields`. */
const FIELD_MANAGER = "loradock-up";
/** On every object that `loradock up` made: which shipped text it was made from. */
export const SHIPPED_ANNOTATION = "loradock.local/shipped";
/** How long a kind may take to be served after its CRD was applied. */
const KIND_TIMEOUT_MS = 15_000;
const KIND_POLL_MS = 100;

const rbac = (plural: string, kind: string, namespaced: boolean): Resource<KubeObject> => ({
  group: "rbac.authorization.k8s.io",
  version: "v1",
  plural,
  kind,
  namespaced,
});

const RESOURCES: readonly Resource<never>[] = [
  NAMESPACES,
  SERVICE_ACCOUNTS,
  SERVICES,
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  CUSTOM_RESOURCE_DEFINITIONS,
  MODEL_ADAPTERS,
  rbac("roles", "Role", true),
  rbac("rolebindings", "RoleBinding", true),
  rbac("clusterroles", "ClusterRole", false),
  rbac("clusterrolebindings", "ClusterRoleBinding", false),
] as Resource<never>[];

function resourceOf(object: KubeObject): Resource<KubeObject> {
  const found = RESOURCES.find((resource) => {
    const { group, version, kind } = resource;
    const apiVersion = group === "" ? version : `${group}/${version}`;
    return kind === object.kind && apiVersion === object.apiVersion;
  });
  assert(found !== undefined, `no resource for ${object.apiVersion} ${object.kind}`);
  return found as Resource<KubeObject>;
}

/** The object as it is applied: with the mark of the text that it comes from. */
export function marked<T extends KubeObject>(object: T): T {
  const shipped = hashHex(JSON.stringify(object));
  const annotations = { ...object.metadata.annotations, [SHIPPED_ANNOTATION]: shipped };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

export type ApplyDecision = "create" | "update" | "keep";

/**
 * What to do about an object that we ship, given what the API has. An object that is there belongs to
 * the user, who may have edited it: it is only touched when it carries our mark and what we ship has
 * changed since, by a new version or other ports. One without our mark was made by the user.
 * Why: docs/decisions/0013-up-applies-once.md.
 */
export function decideApply(wanted: KubeObject, current: KubeObject | undefined): ApplyDecision {
  if (current === undefined) return "create";
  const mark = current.metadata.annotations?.[SHIPPED_ANNOTATION];
  return mark === undefined || mark === wanted.metadata.annotations?.[SHIPPED_ANNOTATION]
    ? "keep"
    : "update";
}

export interface Applied {
  readonly object: KubeObject;
  readonly decision: ApplyDecision;
}

/** Brings shipped objects into the API, in order, as `decideApply` says. */
export async function applyShipped(
  client: KubeClient,
  objects: readonly KubeObject[],
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<Applied[]> {
  const applied: Applied[] = [];
  for (const object of objects) {
    const wanted = marked(object);
    const resource = resourceOf(wanted);
    const current = await find(client, resource, wanted.metadata, signal);
    const decision = decideApply(wanted, current);
    if (decision !== "keep") {
      await untilKnown(clock, signal, () =>
        client.apply(resource, wanted, { fieldManager: FIELD_MANAGER, signal }),
      );
    }
    applied.push({ object: wanted, decision });
  }
  return applied;
}

async function find(
  client: KubeClient,
  resource: Resource<KubeObject>,
  { namespace, name }: ObjectName,
  signal: AbortSignal,
): Promise<KubeObject | undefined> {
  try {
    return await client.get(resource, { namespace, name }, signal);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** A kind is not found for a moment after its CRD was made. */
async function untilKnown(clock: Clock, signal: AbortSignal, apply: () => Promise<unknown>) {
  const endMs = clock.now() + KIND_TIMEOUT_MS;
  for (;;) {
    try {
      await apply();
      return;
    } catch (error) {
      if (!isNotFound(error) || clock.now() > endMs) throw error;
      await clock.sleep(KIND_POLL_MS, signal);
    }
  }
}
