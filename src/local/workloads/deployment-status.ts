import type { Deployment, PodCondition, ReplicaSet } from "#api/kubernetes.ts";
import { fromTimestamp, toTimestamp } from "#base/clock.ts";
import { desiredOf, rollingLimits } from "./rolling-limits.ts";

type DeploymentCondition = PodCondition & { lastUpdateTime?: string };

export interface DeploymentFacts {
  /** The ReplicaSet of the present template. */
  readonly current: ReplicaSet | undefined;
  readonly old: readonly ReplicaSet[];
  readonly nowMs: number;
}

const DEFAULT_DEADLINE_S = 600;

/** A Deployment's status, as `kubectl rollout status` reads it, and when it may change by time alone. */
export function deploymentStatus(
  deployment: Deployment,
  facts: DeploymentFacts,
): { status: NonNullable<Deployment["status"]>; wakeAtMs: number | undefined } {
  const { current, old, nowMs } = facts;
  const all = current === undefined ? old : [...old, current];
  const total = (count: (status: NonNullable<ReplicaSet["status"]>) => number | undefined) =>
    all.reduce((sum, { status }) => sum + (status === undefined ? 0 : (count(status) ?? 0)), 0);
  const available = total((status) => status.availableReplicas);
  const wanted = all.reduce((sum, replicaSet) => sum + (replicaSet.spec.replicas ?? 1), 0);
  const counts = {
    replicas: total((status) => status.replicas),
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: total((status) => status.readyReplicas),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, wanted - available),
  };
  const before = deployment.status?.conditions ?? [];
  const verdicts = [availableVerdict(deployment, available)];
  const progress = progressVerdict(deployment, facts, counts);
  if (progress.verdict !== undefined) verdicts.push(progress.verdict);
  const conditions = verdicts.map((verdict) => {
    const last = before.find((condition) => condition.type === verdict.type);
    return stamped(verdict, last, progress.hasMoved && verdict.type === "Progressing", nowMs);
  });
  const { generation } = deployment.metadata;
  return {
    status: {
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      ...counts,
      ...(deployment.status?.collisionCount === undefined
        ? {}
        : { collisionCount: deployment.status.collisionCount }),
      conditions,
    },
    wakeAtMs: progress.deadlineMs,
  };
}

type Verdict = Required<Pick<PodCondition, "type" | "status" | "reason" | "message">>;

function stamped(
  verdict: Verdict,
  last: DeploymentCondition | undefined,
  hasMoved: boolean,
  nowMs: number,
): DeploymentCondition {
  const now = toTimestamp(nowMs);
  const isSame =
    last?.status === verdict.status &&
    last.reason === verdict.reason &&
    last.message === verdict.message;
  return {
    ...verdict,
    lastUpdateTime: isSame && !hasMoved ? (last.lastUpdateTime ?? now) : now,
    lastTransitionTime: last?.status === verdict.status ? (last.lastTransitionTime ?? now) : now,
  };
}

function availableVerdict(deployment: Deployment, available: number): Verdict {
  const least = desiredOf(deployment) - rollingLimits(deployment).unavailable;
  return available >= least
    ? {
        type: "Available",
        status: "True",
        reason: "MinimumReplicasAvailable",
        message: "Deployment has minimum availability.",
      }
    : {
        type: "Available",
        status: "False",
        reason: "MinimumReplicasUnavailable",
        message: "Deployment does not have minimum availability.",
      };
}

interface Progress {
  readonly verdict: Verdict | undefined;
  /** More is done than when we last looked. */
  readonly hasMoved: boolean;
  /** When it counts as stuck. */
  readonly deadlineMs?: number | undefined;
}

type Counts = Pick<
  Required<NonNullable<Deployment["status"]>>,
  "replicas" | "updatedReplicas" | "readyReplicas" | "availableReplicas"
>;

function progressVerdict(
  deployment: Deployment,
  { current, nowMs }: DeploymentFacts,
  counts: Counts,
): Progress {
  const before = deployment.status;
  const last = before?.conditions?.find((condition) => condition.type === "Progressing");
  const verdict = (status: Verdict["status"], reason: string, message: string): Verdict => ({
    type: "Progressing",
    status,
    reason,
    message,
  });
  if (deployment.spec.paused === true) {
    return {
      verdict: verdict("Unknown", "DeploymentPaused", "Deployment is paused"),
      hasMoved: false,
    };
  }
  if (current === undefined) return { verdict: undefined, hasMoved: false };
  const { name } = current.metadata;
  const desired = desiredOf(deployment);
  const isComplete =
    counts.updatedReplicas === desired &&
    counts.replicas === desired &&
    counts.availableReplicas === desired;
  if (isComplete) {
    const done = `ReplicaSet "${name}" has successfully progressed.`;
    return { verdict: verdict("True", "NewReplicaSetAvailable", done), hasMoved: false };
  }
  const isFirstLook = last === undefined || !(last.message ?? "").includes(`"${name}"`);
  const hasMoved =
    isFirstLook ||
    counts.updatedReplicas > (before?.updatedReplicas ?? 0) ||
    counts.readyReplicas > (before?.readyReplicas ?? 0) ||
    counts.availableReplicas > (before?.availableReplicas ?? 0) ||
    counts.replicas - counts.updatedReplicas <
      (before?.replicas ?? 0) - (before?.updatedReplicas ?? 0);
  const limitMs = (deployment.spec.progressDeadlineSeconds ?? DEFAULT_DEADLINE_S) * 1000;
  const sinceMs = hasMoved ? nowMs : (fromTimestamp(last?.lastUpdateTime) ?? nowMs);
  const wasComplete = last?.reason === "NewReplicaSetAvailable";
  // A finished rollout that lost pods is not late: there is nothing to progress to.
  if (wasComplete && !hasMoved) return { verdict: last as Verdict, hasMoved: false };
  if (nowMs >= sinceMs + limitMs) {
    const late = `ReplicaSet "${name}" has timed out progressing.`;
    return { verdict: verdict("False", "ProgressDeadlineExceeded", late), hasMoved: false };
  }
  const reason = isFirstLook ? "NewReplicaSetCreated" : "ReplicaSetUpdated";
  const text = isFirstLook
    ? `Created new replica set "${name}"`
    : `ReplicaSet "${name}" is progressing.`;
  return { verdict: verdict("True", reason, text), hasMoved, deadlineMs: sinceMs + limitMs };
}
