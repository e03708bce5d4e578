import type {
  Container,
  ContainerState,
  ContainerStatus,
  Pod,
  PodCondition,
  PodStatus,
} from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import { quantityNanos } from "../apiserver/schema/quantity.ts";
import type { PodSeen } from "./pod-plan.ts";
import { type ContainerExit, type ContainerSeen, NEVER_STARTED, type PodPlan } from "./pod-plan.ts";

type Phase = NonNullable<PodStatus["phase"]>;

/** Where the pod is, for its status. */
export interface PodPlace {
  readonly podAddress: string | undefined;
  readonly hostAddress: string;
}

/**
 * The kubelet's part of a pod's status, from what is known of its containers and what is planned
 * for them; conditions that are not the kubelet's are kept. Pure.
 */
export function statusOf(seen: PodSeen, plan: PodPlan, place: PodPlace): PodStatus {
  const { pod } = seen;
  const before = pod.status ?? {};
  const inits = pod.spec.initContainers ?? [];
  const initialized = inits.every((container) => hasSucceeded(seenOf(seen, container)));
  const waiting = inits.length > 0 && !initialized ? "PodInitializing" : "ContainerCreating";
  const containerStatuses = pod.spec.containers.map((container) =>
    containerStatus(seen, plan, container, { init: false, waiting }),
  );
  const initContainerStatuses = inits.map((container) =>
    containerStatus(seen, plan, container, { init: true, waiting }),
  );
  const phase = phaseOf(seen, plan, initialized);
  const addresses =
    place.podAddress === undefined
      ? {}
      : { podIP: place.podAddress, podIPs: [{ ip: place.podAddress }] };
  return {
    phase,
    conditions: conditionsOf(seen, { phase, initialized, containerStatuses }),
    hostIP: place.hostAddress,
    hostIPs: [{ ip: place.hostAddress }],
    ...addresses,
    startTime: before.startTime ?? toTimestamp(seen.nowMs),
    ...(inits.length > 0 ? { initContainerStatuses } : {}),
    containerStatuses,
    qosClass: before.qosClass ?? qosClassOf(pod),
  };
}

const seenOf = (seen: PodSeen, container: Container): ContainerSeen =>
  seen.containers.get(container.name) ?? NEVER_STARTED;

function hasSucceeded(container: ContainerSeen): boolean {
  return container.state.kind === "exited" && container.state.exit.exitCode === 0;
}

function phaseOf(seen: PodSeen, plan: PodPlan, initialized: boolean): Phase {
  const before = seen.pod.status?.phase;
  if (before === "Succeeded" || before === "Failed") return before;
  if (plan.finished !== undefined) return plan.finished;
  const hasStarted = seen.pod.spec.containers.some(
    (container) => seenOf(seen, container).attempt >= 0,
  );
  return initialized && hasStarted ? "Running" : "Pending";
}

function containerStatus(
  seen: PodSeen,
  plan: PodPlan,
  container: Container,
  role: { init: boolean; waiting: string },
): ContainerStatus {
  const current = seenOf(seen, container);
  const isRunning = current.state.kind === "running";
  const isTerminating = seen.pod.metadata.deletionTimestamp !== undefined;
  const state = containerState(seen, plan, container, role.waiting);
  // An ended container that waits for its restart tells its end as the last state.
  const last =
    current.state.kind === "exited" && state.terminated === undefined
      ? current.state.exit
      : current.previous;
  const containerId = containerIdOf(current);
  return {
    name: container.name,
    image: current.image ?? container.image ?? "",
    imageID: current.attempt >= 0 ? `loradock://${current.image ?? container.image ?? ""}` : "",
    ...(containerId === undefined ? {} : { containerID: containerId }),
    ready: role.init ? hasSucceeded(current) : isRunning && current.ready && !isTerminating,
    started: isRunning && current.started,
    restartCount: Math.max(0, current.attempt),
    state,
    lastState: last === undefined ? {} : { terminated: terminatedState(last) },
  };
}

function containerIdOf(container: ContainerSeen): string | undefined {
  if (container.state.kind === "running") return container.state.containerId;
  return container.state.kind === "exited" ? container.state.exit.containerId : undefined;
}

function containerState(
  seen: PodSeen,
  plan: PodPlan,
  container: Container,
  waiting: string,
): ContainerState {
  const current = seenOf(seen, container);
  if (current.state.kind === "running") {
    return { running: { startedAt: toTimestamp(current.state.startedAtMs) } };
  }
  if (current.blocked !== undefined) {
    return { waiting: { reason: current.blocked.reason, message: current.blocked.message } };
  }
  if (current.state.kind === "none") return { waiting: { reason: waiting } };
  const backingOff = plan.backingOff.get(container.name);
  if (backingOff === undefined) return { terminated: terminatedState(current.state.exit) };
  const message = backOffMessage(seen.pod, container.name, backingOff.delayMs);
  return { waiting: { reason: "CrashLoopBackOff", message } };
}

function backOffMessage(pod: Pod, container: string, delayMs: number): string {
  const { name, namespace, uid } = pod.metadata;
  return `back-off ${goDuration(delayMs)} restarting failed container=${container} pod=${name}_${namespace}(${uid})`;
}

/** Go's way to write a duration of whole seconds: `40s`, `2m40s`, `5m0s`. */
function goDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

function terminatedState(exit: ContainerExit): NonNullable<ContainerState["terminated"]> {
  return {
    exitCode: exit.exitCode,
    reason: exit.reason ?? (exit.exitCode === 0 ? "Completed" : "Error"),
    ...(exit.message === undefined ? {} : { message: exit.message }),
    startedAt: toTimestamp(exit.startedAtMs),
    finishedAt: toTimestamp(exit.finishedAtMs),
    containerID: exit.containerId,
  };
}

interface Facts {
  readonly phase: Phase;
  readonly initialized: boolean;
  readonly containerStatuses: readonly ContainerStatus[];
}

type Verdict = Pick<PodCondition, "status" | "reason" | "message">;

function conditionsOf(seen: PodSeen, facts: Facts): PodCondition[] {
  const isOver = facts.phase === "Succeeded" || facts.phase === "Failed";
  const ready = readyVerdict(facts);
  const verdicts: Record<string, Verdict> = {
    PodReadyToStartContainers: { status: seen.sandboxReady && !isOver ? "True" : "False" },
    Initialized: initializedVerdict(seen, facts),
    Ready: ready,
    ContainersReady: ready,
    PodScheduled: { status: "True" },
  };
  const before = seen.pod.status?.conditions ?? [];
  const ours = Object.entries(verdicts).map(([type, verdict]) => {
    const old = before.find((condition) => condition.type === type);
    const changedAt =
      old?.status === verdict.status && old.lastTransitionTime !== undefined
        ? old.lastTransitionTime
        : toTimestamp(seen.nowMs);
    return { type, ...verdict, lastProbeTime: null, lastTransitionTime: changedAt };
  });
  return [...before.filter((condition) => verdicts[condition.type] === undefined), ...ours];
}

function readyVerdict(facts: Facts): Verdict {
  if (facts.phase === "Succeeded") return { status: "False", reason: "PodCompleted" };
  if (facts.phase === "Failed") return { status: "False", reason: "PodFailed" };
  const unready = facts.containerStatuses.filter((status) => !status.ready);
  if (unready.length === 0) return { status: "True" };
  const names = unready.map((status) => status.name).join(" ");
  return {
    status: "False",
    reason: "ContainersNotReady",
    message: `containers with unready status: [${names}]`,
  };
}

function initializedVerdict(seen: PodSeen, facts: Facts): Verdict {
  if (facts.phase === "Succeeded") return { status: "True", reason: "PodCompleted" };
  if (facts.initialized) return { status: "True" };
  const incomplete = (seen.pod.spec.initContainers ?? []).filter(
    (container) => !hasSucceeded(seenOf(seen, container)),
  );
  const names = incomplete.map((container) => container.name).join(" ");
  return {
    status: "False",
    reason: "ContainersNotInitialized",
    message: `containers with incomplete status: [${names}]`,
  };
}

/** Kubernetes' quality of service class, from the cpu and memory figures of all containers. */
export function qosClassOf(pod: Pod): string {
  const containers = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
  let isBestEffort = true;
  let isGuaranteed = true;
  for (const { resources } of containers) {
    for (const name of ["cpu", "memory"]) {
      const limit = quantityNanos(resources?.limits?.[name] ?? "0") ?? 0n;
      const asked = resources?.requests?.[name];
      const request = asked === undefined ? limit : (quantityNanos(asked) ?? 0n);
      if (limit > 0n || request > 0n) isBestEffort = false;
      if (limit === 0n || limit !== request) isGuaranteed = false;
    }
  }
  if (isBestEffort) return "BestEffort";
  return isGuaranteed ? "Guaranteed" : "Burstable";
}
