/** What engines are asked to do. */
import { versionOf } from "#api/adapter-version.ts";
import { nextUnloadMs } from "./retry.ts";
import { type PodSeen, publishedPods, type Seen } from "./seen.ts";
import { type Choice, holdsOurs, isLoadDue, isUnknown, nextToReplace } from "./select.ts";

/** How long after it left the EndpointSlice a pod still gets requests of proxies that have not heard of it. */
export const DRAIN_MS = 1000;

export interface Operation {
  /** `cancel`: a load under way is of no use any more. An unload breaks off a load by itself. */
  readonly kind: "load" | "unload" | "cancel";
  readonly pod: string;
}

/** Since requests stopped being sent to the pod, long enough has passed. */
export function isDrained(seen: Seen, pod: PodSeen): boolean {
  if (publishedPods(seen).includes(pod.name)) return false;
  return seen.nowMs >= drainedAtMs(pod);
}

/** When a pod that left the EndpointSlice counts as drained. */
export function drainedAtMs(pod: PodSeen): number {
  return pod.routedAtMs === undefined ? Number.NEGATIVE_INFINITY : pod.routedAtMs + DRAIN_MS;
}

export function loads(seen: Seen, { selected, serving, replacing }: Choice): Operation[] {
  // The only pod that serves is replaced in place: there is nobody to take over.
  const inPlace =
    replacing === undefined && serving.length < 2 ? nextToReplace(selected) : undefined;
  return selected
    .filter((pod) => pod.busy === undefined && isLoadDue(seen, pod))
    .filter((pod) => {
      if (pod.held === "absent" || pod.held === "silent" || pod.held === "foreign") return true;
      if (pod.held !== "outdated") return false;
      return pod === replacing ? isDrained(seen, pod) : pod === inPlace;
    })
    .map((pod) => ({ kind: "load", pod: pod.name }));
}

/** Loads of a version that is no longer wanted, or on a pod that is no longer meant or about to go. */
export function cancels(seen: Seen, choice: Choice): Operation[] {
  const left = leftovers(seen, choice);
  const wanted = versionOf(seen.adapter.spec);
  return seen.pods
    .filter((pod) => pod.busy === "loading")
    .filter((pod) => pod.loadingVersion !== wanted || left.includes(pod) || pod.terminating)
    .map((pod) => ({ kind: "cancel", pod: pod.name }));
}

export function unloads(seen: Seen, choice: Choice): Operation[] {
  return leftovers(seen, choice)
    .filter((pod) => holdsOurs(pod) && pod.busy === undefined && pod.readySinceMs !== undefined)
    .filter((pod) => nextUnloadMs(pod.unloadFailure) <= seen.nowMs && isDrained(seen, pod))
    .map((pod) => ({ kind: "unload", pod: pod.name }));
}

/**
 * The pods that have the adapter, or may have it, and should not. Where it was asked for once, an adapter goes only for a reason:
 * the pod is no longer meant, or another one has taken its place.
 */
export function leftovers(seen: Seen, { selected, serving }: Choice): PodSeen[] {
  const hasMoved =
    seen.adapter.spec.replicas === 1 &&
    selected.some((pod) => pod.held === "current" && serving.includes(pod));
  return seen.pods.filter((pod) => {
    if (selected.includes(pod) || serving.includes(pod) || !mayHold(pod)) return false;
    return !pod.matches || !pod.enabled || hasMoved;
  });
}

/** The engine has the adapter, or nobody can say that it has not. */
export function mayHold(pod: PodSeen): boolean {
  if (pod.busy !== undefined || holdsOurs(pod)) return true;
  return (
    pod.recorded && (isUnknown(pod) || pod.held === "silent" || pod.lateLoadUntilMs !== undefined)
  );
}
