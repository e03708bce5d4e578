import type { Deployment, ObjectMeta, ReplicaSet } from "#api/kubernetes.ts";
import { assert } from "#base/assert.ts";
import { fromTimestamp } from "#base/clock.ts";
import { jsonEqual } from "#base/json.ts";
import { deploymentStatus } from "./deployment-status.ts";
import { controllerReference } from "./pod-state.ts";
import { isSameTemplate, TEMPLATE_HASH, templateHash } from "./pod-template-hash.ts";
import { desiredOf, rollingLimits } from "./rolling-limits.ts";

export const REVISION = "deployment.kubernetes.io/revision";
/** Annotations of the Deployment that mean only the Deployment. */
const NOT_COPIED = new Set([
  "kubectl.kubernetes.io/last-applied-configuration",
  REVISION,
  "deployment.kubernetes.io/revision-history",
  "deployment.kubernetes.io/desired-replicas",
  "deployment.kubernetes.io/max-replicas",
]);
const DEFAULT_HISTORY = 10;

/** What is known when a Deployment is looked at. */
export interface DeploymentSeen {
  readonly deployment: Deployment;
  /** ReplicaSets that it controls. */
  readonly replicaSets: readonly ReplicaSet[];
  /** Pods of its ReplicaSets that are still there, terminating ones included, by ReplicaSet uid. */
  readonly podsOf: (replicaSet: ReplicaSet) => number;
  readonly nowMs: number;
}

export interface DeploymentPlan {
  /** A ReplicaSet to create; nothing else is done before it is there. */
  readonly create: ReplicaSet | undefined;
  readonly scale: readonly {
    readonly replicaSet: ReplicaSet;
    readonly from: number;
    readonly to: number;
  }[];
  /** Annotations of a ReplicaSet that have to change, as a merge patch. */
  readonly annotate: readonly {
    readonly replicaSet: ReplicaSet;
    readonly annotations: Record<string, string>;
  }[];
  /** Old ReplicaSets beyond the history limit. */
  readonly prune: readonly ReplicaSet[];
  /** The revision that the Deployment itself has to carry, when it does not yet. */
  readonly revision: string | undefined;
  readonly status: NonNullable<Deployment["status"]>;
  readonly wakeAtMs: number | undefined;
}

const revisionOf = (object: { metadata: ObjectMeta }) =>
  Number(object.metadata.annotations?.[REVISION] ?? "0") || 0;
const replicasOf = (replicaSet: ReplicaSet) => replicaSet.spec.replicas ?? 1;
const availableOf = (replicaSet: ReplicaSet) => replicaSet.status?.availableReplicas ?? 0;
const total = (sets: readonly ReplicaSet[], count: (replicaSet: ReplicaSet) => number) =>
  sets.reduce((sum, replicaSet) => sum + count(replicaSet), 0);

/** Decides what a Deployment needs, by Kubernetes' rules of rolling updates. Pure. */
export function planDeployment(seen: DeploymentSeen): DeploymentPlan {
  const { deployment } = seen;
  const byAge = [...seen.replicaSets].sort(
    (a, b) =>
      (fromTimestamp(a.metadata.creationTimestamp) ?? 0) -
        (fromTimestamp(b.metadata.creationTimestamp) ?? 0) ||
      (a.metadata.name < b.metadata.name ? -1 : 1),
  );
  const current = byAge.find(
    (replicaSet) =>
      replicaSet.spec.template !== undefined &&
      isSameTemplate(replicaSet.spec.template, deployment.spec.template),
  );
  const old = byAge.filter((replicaSet) => replicaSet !== current);
  const paused = deployment.spec.paused === true;
  const isDeleted = deployment.metadata.deletionTimestamp !== undefined;
  const { status, wakeAtMs } = deploymentStatus(deployment, { current, old, nowMs: seen.nowMs });
  const nothing = { create: undefined, scale: [], annotate: [], prune: [], revision: undefined };
  if (isDeleted) return { ...nothing, status, wakeAtMs };

  const newest = Math.max(0, ...old.map(revisionOf));
  if (current === undefined) {
    if (paused) return { ...nothing, scale: scalePaused(seen, old), status, wakeAtMs };
    const revision = String(newest + 1);
    const create = newReplicaSet(deployment, revision);
    // When the old pods have to be gone first, the new ReplicaSet begins empty.
    create.spec.replicas = isRecreate(deployment)
      ? 0
      : roomForNew(deployment, total(old, replicasOf), 0);
    return { ...nothing, create, status, wakeAtMs };
  }
  const revision = String(Math.max(revisionOf(current), newest + 1));
  const annotations = { ...copiedAnnotations(deployment), [REVISION]: revision };
  const isAnnotated = jsonEqual(
    { ...current.metadata.annotations, ...annotations },
    current.metadata.annotations ?? {},
  );
  return {
    create: undefined,
    scale: paused
      ? scalePaused(seen, [...old, current])
      : isRecreate(deployment)
        ? scaleRecreate(seen, current, old)
        : scaleRolling(deployment, current, old),
    annotate: isAnnotated ? [] : [{ replicaSet: current, annotations }],
    prune: paused ? [] : prunable(deployment, old),
    revision: deployment.metadata.annotations?.[REVISION] === revision ? undefined : revision,
    status,
    wakeAtMs,
  };
}

const isRecreate = (deployment: Deployment) => deployment.spec.strategy?.type === "Recreate";

function copiedAnnotations(deployment: Deployment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(deployment.metadata.annotations ?? {}).filter(([key]) => !NOT_COPIED.has(key)),
  );
}

function newReplicaSet(deployment: Deployment, revision: string): ReplicaSet {
  const { metadata, spec, status } = deployment;
  const hash = templateHash(spec.template, status?.collisionCount ?? 0);
  const labels = { ...spec.template.metadata?.labels, [TEMPLATE_HASH]: hash };
  assert(metadata.namespace !== undefined, "a Deployment without a namespace");
  return {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: {
      name: `${metadata.name}-${hash}`,
      namespace: metadata.namespace,
      labels,
      annotations: { ...copiedAnnotations(deployment), [REVISION]: revision },
      ownerReferences: [controllerReference(deployment, "apps/v1", "Deployment")],
    },
    spec: {
      replicas: 0,
      ...(spec.minReadySeconds === undefined ? {} : { minReadySeconds: spec.minReadySeconds }),
      selector: {
        ...spec.selector,
        matchLabels: { ...spec.selector.matchLabels, [TEMPLATE_HASH]: hash },
      },
      template: { ...spec.template, metadata: { ...spec.template.metadata, labels } },
    },
  };
}

function roomForNew(deployment: Deployment, allReplicas: number, newReplicas: number): number {
  const desired = desiredOf(deployment);
  if (newReplicas >= desired) return desired;
  const room = desired + rollingLimits(deployment).surge - allReplicas;
  return Math.min(desired, newReplicas + Math.max(0, room));
}

type Scale = DeploymentPlan["scale"][number];

function scaleRolling(
  deployment: Deployment,
  current: ReplicaSet,
  old: readonly ReplicaSet[],
): Scale[] {
  const all = total([...old, current], replicasOf);
  const to = roomForNew(deployment, all, replicasOf(current));
  const scale: Scale[] = [];
  if (to !== replicasOf(current)) {
    scale.push({ replicaSet: current, from: replicasOf(current), to });
  }
  // Growing and shrinking in one pass could rest on figures that the growth makes untrue.
  return to > replicasOf(current) ? scale : [...scale, ...shrinkOld(deployment, current, old)];
}

function shrinkOld(
  deployment: Deployment,
  current: ReplicaSet,
  old: readonly ReplicaSet[],
): Scale[] {
  const { unavailable } = rollingLimits(deployment);
  const leastAvailable = desiredOf(deployment) - unavailable;
  const newReplicas = Math.min(replicasOf(current), desiredOf(deployment));
  const newMissing = Math.max(0, newReplicas - availableOf(current));
  let spare = total(old, replicasOf) + newReplicas - leastAvailable - newMissing;
  const wanted = new Map(old.map((replicaSet) => [replicaSet, replicasOf(replicaSet)]));
  const shrink = (replicaSet: ReplicaSet, atMost: number) => {
    const now = wanted.get(replicaSet) ?? 0;
    const by = Math.max(0, Math.min(atMost, spare, now));
    wanted.set(replicaSet, now - by);
    spare -= by;
    return by;
  };
  // Replicas that serve nobody go first, whatever their age.
  for (const replicaSet of old)
    shrink(replicaSet, replicasOf(replicaSet) - availableOf(replicaSet));
  let serving = total(old, availableOf) + availableOf(current) - leastAvailable;
  for (const replicaSet of old) serving -= Math.max(0, shrink(replicaSet, serving));
  return old
    .map((replicaSet) => ({
      replicaSet,
      from: replicasOf(replicaSet),
      to: wanted.get(replicaSet) ?? 0,
    }))
    .filter(({ from, to }) => from !== to);
}

function scaleRecreate(
  seen: DeploymentSeen,
  current: ReplicaSet,
  old: readonly ReplicaSet[],
): Scale[] {
  const running = old.filter((replicaSet) => replicasOf(replicaSet) > 0);
  if (running.length > 0) {
    return running.map((replicaSet) => ({ replicaSet, from: replicasOf(replicaSet), to: 0 }));
  }
  // Terminating pods still hold what the new ones need: addresses, files, the GPU.
  if (old.some((replicaSet) => seen.podsOf(replicaSet) > 0)) return [];
  const desired = desiredOf(seen.deployment);
  const from = replicasOf(current);
  return from === desired ? [] : [{ replicaSet: current, from, to: desired }];
}

/** A paused Deployment follows its number of replicas and nothing else. */
function scalePaused(seen: DeploymentSeen, sets: readonly ReplicaSet[]): Scale[] {
  const active = sets.filter((replicaSet) => replicasOf(replicaSet) > 0);
  const target = active.at(-1) ?? sets.at(-1);
  if (target === undefined) return [];
  const others = total(active, replicasOf) - (active.includes(target) ? replicasOf(target) : 0);
  const to = Math.max(0, desiredOf(seen.deployment) - others);
  const from = replicasOf(target);
  return from === to ? [] : [{ replicaSet: target, from, to }];
}

function prunable(deployment: Deployment, old: readonly ReplicaSet[]): ReplicaSet[] {
  const limit = deployment.spec.revisionHistoryLimit ?? DEFAULT_HISTORY;
  const empty = old.filter(
    (replicaSet) =>
      replicasOf(replicaSet) === 0 &&
      (replicaSet.status?.replicas ?? 0) === 0 &&
      replicaSet.metadata.deletionTimestamp === undefined,
  );
  const oldestFirst = [...empty].sort((a, b) => revisionOf(a) - revisionOf(b));
  return oldestFirst.slice(0, Math.max(0, empty.length - limit));
}
