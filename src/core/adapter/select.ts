/** Which pods an adapter may, should and does serve on. */
import { schedulerOf } from "../schedule/scheduler.ts";
import { isGivenUp } from "./retry.ts";
import type { PodSeen, Seen } from "./seen.ts";

/** A pod must have been Ready for this long before it is chosen, so that a flapping one is not. */
export const STABLE_MS = 5000;

/** What keeps a pod from being chosen now, in words that name the cure; undefined when nothing does. */
export function ineligible(pod: PodSeen, nowMs: number): string | undefined {
  if (!pod.matches) return "does not match spec.podSelector";
  if (!pod.enabled) return "lacks the label adapter.model.aibrix.ai/enabled=true";
  if (pod.terminating) return "is terminating";
  if (pod.readySinceMs === undefined) return "is not Ready";
  const forMs = nowMs - pod.readySinceMs;
  if (forMs < STABLE_MS)
    return `is Ready for ${Math.max(0, Math.floor(forMs / 1000))} of ${STABLE_MS / 1000} s`;
  return undefined;
}

/** A pod whose answers count: it takes requests, whatever happened to its labels or its stability since. */
export function isServing(pod: PodSeen): boolean {
  return pod.readySinceMs !== undefined && !pod.terminating && pod.ip !== undefined;
}

export const holdsOurs = (pod: PodSeen) => pod.held === "current" || pod.held === "outdated";

/**
 * The pods on which the adapter should be: all eligible ones, or with `replicas: 1` the one that has it, else the one that
 * was chosen before, else the scheduler's choice among those that are not given up.
 */
export function select(seen: Seen, scheduledBefore: readonly string[]): PodSeen[] {
  const eligible = seen.pods.filter((pod) => ineligible(pod, seen.nowMs) === undefined);
  if (seen.adapter.spec.replicas === undefined) return eligible;
  const instances = seen.adapter.status?.instances ?? [];
  const kept =
    eligible.find((pod) => holdsOurs(pod) && instances.includes(pod.name)) ??
    eligible.find((pod) => pod.held === "current") ??
    eligible.find((pod) => pod.held === "outdated") ??
    eligible.find((pod) => scheduledBefore.includes(pod.name) && !isGivenUp(pod.failure));
  if (kept !== undefined) return [kept];
  return scheduleOne(seen, eligible);
}

function scheduleOne(seen: Seen, eligible: readonly PodSeen[]): PodSeen[] {
  if (eligible.length === 0) return [];
  const fresh = eligible.filter((pod) => !isGivenUp(pod.failure));
  // When every pod is given up, the one that failed longest ago is the next to be tried again.
  const [oldest] = [...eligible].sort((a, b) => (a.failure?.atMs ?? 0) - (b.failure?.atMs ?? 0));
  if (fresh.length === 0) return oldest === undefined ? [] : [oldest];
  const { metadata, spec } = seen.adapter;
  const choice = schedulerOf(spec.schedulerName, seen.schedulerPolicy)(
    `${metadata.namespace}/${metadata.name}`,
    fresh.map((pod) => ({ name: pod.name, adapters: pod.otherAdapters })),
  );
  return fresh.filter((pod) => pod.name === choice);
}
