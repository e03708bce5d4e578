import type { ContainerStatus, Deployment, KubeEvent, Pod } from "#api/kubernetes.ts";
import { fromTimestamp } from "#base/clock.ts";

/** How far a Deployment's pods are. */
export interface Rollout {
  readonly ready: number;
  readonly wanted: number;
  /** True when the pods may be those of an older version. */
  readonly isOutdated: boolean;
  /** True when as many pods as wanted are ready, all of the present version. */
  readonly isComplete: boolean;
  /** When the last of the ready pods became so. */
  readonly readySinceMs: number;
}

/** Ready and not on its way out. */
export const isReady = (pod: Pod) =>
  pod.metadata.deletionTimestamp === undefined &&
  (pod.status?.conditions ?? []).some(({ type, status }) => type === "Ready" && status === "True");

/** The pods of `pods` that belong to a Deployment. */
export function podsOf(deployment: Deployment, pods: readonly Pod[]): Pod[] {
  const wanted = Object.entries(deployment.spec.selector.matchLabels ?? {});
  return pods.filter(
    ({ metadata }) =>
      metadata.namespace === deployment.metadata.namespace &&
      wanted.every(([key, value]) => metadata.labels?.[key] === value),
  );
}

/** Counts pods themselves: a Deployment's own numbers may be those of an earlier run. Pure. */
export function rolloutOf(deployment: Deployment, pods: readonly Pod[]): Rollout {
  const { metadata, spec, status } = deployment;
  const wanted = spec.replicas ?? 1;
  const ready = podsOf(deployment, pods).filter(isReady);
  const isObserved = (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0);
  const isUpdated = isObserved && (status?.updatedReplicas ?? 0) >= wanted;
  return {
    ready: Math.min(ready.length, wanted),
    wanted,
    isOutdated: !isUpdated,
    isComplete: isUpdated && ready.length >= wanted,
    readySinceMs: Math.max(0, ...ready.map(readySince)),
  };
}

function readySince(pod: Pod): number {
  const condition = pod.status?.conditions?.find(({ type }) => type === "Ready");
  return fromTimestamp(condition?.lastTransitionTime) ?? 0;
}

/** For example `base: 2/3 pods ready`. */
export function describeRollout(name: string, { ready, wanted, isOutdated }: Rollout): string {
  const count = `${name}: ${ready}/${wanted} pods ready`;
  return isOutdated && ready >= wanted ? `${count}, not all of its present version` : count;
}

/** What stands in a pod's way. */
export interface Trouble {
  readonly pod: Pod;
  /** The container that it is about; undefined when it is about the pod as a whole. */
  readonly container: string | undefined;
  readonly text: string;
  /** True when waiting longer cannot help. */
  readonly isFinal: boolean;
}

/** Reasons of waiting that are part of every start. */
const ORDINARY = ["ContainerCreating", "PodInitializing"];
/** Reasons of waiting that only a change of the manifest ends. */
const FINAL = ["ImagePullBackOff", "ErrImagePull", "InvalidImageName"];

/** The first thing that keeps one of `pods` from being ready, from its status and its Events. Pure. */
export function troubleOf(pods: readonly Pod[], events: readonly KubeEvent[]): Trouble | undefined {
  const waiting = pods.filter((pod) => !isReady(pod));
  const found = waiting.flatMap((pod) => containerTroubles(pod));
  return found.find(({ isFinal }) => isFinal) ?? found[0] ?? eventTrouble(waiting, events);
}

function containerTroubles(pod: Pod): Trouble[] {
  const statuses = [
    ...(pod.status?.initContainerStatuses ?? []),
    ...(pod.status?.containerStatuses ?? []),
  ];
  return statuses.flatMap((status) => {
    const text = containerTrouble(status);
    if (text === undefined) return [];
    const isFinal = FINAL.includes(status.state?.waiting?.reason ?? "");
    return [{ pod, container: status.name, text, isFinal }];
  });
}

function containerTrouble({ ready, state, lastState }: ContainerStatus): string | undefined {
  if (ready) return undefined;
  const waiting = state?.waiting;
  const ended = state?.terminated ?? lastState?.terminated;
  const code =
    ended !== undefined && ended.exitCode !== 0 ? `ended with exit code ${ended.exitCode}` : "";
  if (waiting?.reason !== undefined && !ORDINARY.includes(waiting.reason)) {
    if (waiting.reason === "CrashLoopBackOff" && code !== "") return code;
    return waiting.message === undefined ? waiting.reason : `${waiting.reason}: ${waiting.message}`;
  }
  return state?.terminated !== undefined && code !== "" ? code : undefined;
}

/** What the latest warning about a pod says; its first container that is not ready may know more. */
function eventTrouble(pods: readonly Pod[], events: readonly KubeEvent[]): Trouble | undefined {
  const timeOf = ({ lastTimestamp }: KubeEvent) => fromTimestamp(lastTimestamp ?? undefined) ?? 0;
  for (const pod of pods) {
    const [latest] = events
      .filter(({ type }) => type === "Warning")
      .filter(({ involvedObject }) => involvedObject.uid === pod.metadata.uid)
      .sort((a, b) => timeOf(b) - timeOf(a));
    if (latest?.message === undefined) continue;
    const container = pod.status?.containerStatuses?.find(({ ready }) => !ready)?.name;
    return { pod, container, text: latest.message, isFinal: false };
  }
  return undefined;
}
