import type { Pod, ReplicaSet } from "#api/kubernetes.ts";
import { fromTimestamp } from "#base/clock.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { availableAtMs, controllerOf, isActive, isControlledBy, isReady } from "./pod-state.ts";

/** What is known when a ReplicaSet is looked at. */
export interface ReplicaSetSeen {
  readonly replicaSet: ReplicaSet;
  /** All pods of its namespace. */
  readonly pods: readonly Pod[];
  /** Uids of pods that were deleted by us and may not be seen so yet. */
  readonly deleted: ReadonlySet<string>;
  readonly nowMs: number;
}

export interface ReplicaSetPlan {
  /** How many pods to create. */
  readonly create: number;
  readonly delete: readonly Pod[];
  /** Pods without a controller that match the selector. */
  readonly adopt: readonly Pod[];
  /** Pods of ours that match no more. */
  readonly release: readonly Pod[];
  readonly status: NonNullable<ReplicaSet["status"]>;
  /** When a ready pod becomes available. */
  readonly wakeAtMs: number | undefined;
}

/** At most so many pods are created in one pass; the rest follows in the next. */
const CREATE_BURST = 100;

const DELETION_COST = "controller.kubernetes.io/pod-deletion-cost";

/** Decides what a ReplicaSet needs. Pure. */
export function planReplicaSet(seen: ReplicaSetSeen): ReplicaSetPlan {
  const { replicaSet, nowMs } = seen;
  const matches = (pod: Pod) => matchesSelector(replicaSet.spec.selector, pod.metadata.labels);
  const isBeingDeleted = replicaSet.metadata.deletionTimestamp !== undefined;
  const owned = seen.pods.filter((pod) => isControlledBy(pod, replicaSet));
  const release = isBeingDeleted ? [] : owned.filter((pod) => !matches(pod) && isActive(pod));
  const adopt = isBeingDeleted
    ? []
    : seen.pods.filter((pod) => controllerOf(pod) === undefined && matches(pod) && isActive(pod));
  const active = [...owned.filter(matches), ...adopt].filter(
    (pod) => isActive(pod) && !seen.deleted.has(pod.metadata.uid ?? ""),
  );
  const missing = (replicaSet.spec.replicas ?? 1) - active.length;
  const surplus = isBeingDeleted || missing >= 0 ? [] : leastUseful(active).slice(0, -missing);

  const minReadySeconds = replicaSet.spec.minReadySeconds ?? 0;
  const times = active.map((pod) => availableAtMs(pod, minReadySeconds));
  const later = times.filter((at) => at !== undefined && at > nowMs) as number[];
  const labels = Object.entries(replicaSet.spec.template?.metadata?.labels ?? {});
  return {
    create: isBeingDeleted ? 0 : Math.min(Math.max(0, missing), CREATE_BURST),
    delete: surplus,
    adopt,
    release,
    status: {
      replicas: active.length,
      fullyLabeledReplicas: active.filter((pod) =>
        labels.every(([key, value]) => pod.metadata.labels?.[key] === value),
      ).length,
      readyReplicas: active.filter(isReady).length,
      availableReplicas: times.filter((at) => at !== undefined && at <= nowMs).length,
      ...(replicaSet.metadata.generation === undefined
        ? {}
        : { observedGeneration: replicaSet.metadata.generation }),
    },
    wakeAtMs: later.length === 0 ? undefined : Math.min(...later),
  };
}

/** Kubernetes' order of deletion: what does least goes first. */
function leastUseful(pods: readonly Pod[]): Pod[] {
  const rank = (pod: Pod): number[] => [
    pod.spec.nodeName ? 1 : 0,
    pod.status?.phase === "Running" ? 1 : 0,
    isReady(pod) ? 1 : 0,
    Number(pod.metadata.annotations?.[DELETION_COST] ?? "0") || 0,
    -(fromTimestamp(pod.metadata.creationTimestamp) ?? 0),
  ];
  return [...pods].sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    const at = left.findIndex((value, index) => value !== right[index]);
    if (at < 0) return a.metadata.name < b.metadata.name ? 1 : -1;
    return (left[at] ?? 0) - (right[at] ?? 0);
  });
}
