/** Which pods an adapter may, should and does serve on. */
import type { ModelAdapter } from "#api/model-adapter.ts";
import { ANNOTATION } from "#api/names.ts";
import { schedulerOf } from "../schedule/scheduler.ts";
import { isGivenUp, nextLoadMs } from "./retry.ts";
import { type PodSeen, publishedPods, type Seen } from "./seen.ts";

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
  if (pod.ip === undefined) return "has no address yet";
  return undefined;
}

/** The engine lists the adapter, and it is ours. */
export const holdsOurs = (pod: PodSeen) => pod.held === "current" || pod.held === "outdated";

/** The pods of one decision. */
export interface Choice {
  /** Where the adapter should be. */
  readonly selected: readonly PodSeen[];
  /** Where it is and requests may go: what Service and EndpointSlice should name. */
  readonly serving: readonly PodSeen[];
  /** The pod that is out of traffic to have its version replaced. */
  readonly replacing: PodSeen | undefined;
}

/**
 * The pods on which the adapter should be: all eligible ones, or with `replicas: 1` one of them. That one is kept as long as
 * it can be; a pod that is given up is left for another.
 */
export function select(seen: Seen): PodSeen[] {
  const eligible = seen.pods.filter((pod) => ineligible(pod, seen.nowMs) === undefined);
  if (seen.adapter.spec.replicas === undefined) return eligible;
  const instances = seen.adapter.status?.instances ?? [];
  const before = scheduledPods(seen.adapter);
  const isInstance = (pod: PodSeen) => instances.includes(pod.name);
  const isHopeful = (pod: PodSeen) => !isGivenUp(pod.loadFailure);
  const preferences: ((pod: PodSeen) => boolean)[] = [
    (pod) => isInstance(pod) && (pod.held === "current" || pod.held === "unasked"),
    (pod) => pod.held === "current",
    (pod) => isInstance(pod) && pod.held === "outdated" && isHopeful(pod),
    (pod) => pod.held === "outdated" && isHopeful(pod),
    (pod) => before.includes(pod.name) && isHopeful(pod),
    // Its engine lost the adapter: it is put back where it was.
    (pod) => isInstance(pod) && isHopeful(pod),
  ];
  for (const isPreferred of preferences) {
    const kept = eligible.find(isPreferred);
    if (kept !== undefined) return [kept];
  }
  return scheduleOne(seen, eligible);
}

function scheduleOne(seen: Seen, eligible: readonly PodSeen[]): PodSeen[] {
  const hopeful = eligible.filter((pod) => !isGivenUp(pod.loadFailure));
  if (hopeful.length === 0) {
    // Every pod is given up: the one that failed longest ago is the next to be tried again.
    const failedAt = (pod: PodSeen) => pod.loadFailure?.atMs ?? 0;
    return [...eligible].sort((a, b) => failedAt(a) - failedAt(b)).slice(0, 1);
  }
  // How full a pod is, and whether it holds the adapter already, is known only after it was asked.
  const known = hopeful.filter((pod) => !isUnknown(pod));
  if (known.length === 0) return [];
  // One that does not answer is tried only when nobody does.
  const answering = known.filter((pod) => pod.held !== "silent");
  const candidates = answering.length > 0 ? answering : known;
  const { metadata, spec } = seen.adapter;
  const choice = schedulerOf(spec.schedulerName, seen.schedulerPolicy)(
    `${metadata.namespace}/${metadata.name}`,
    candidates.map((pod) => ({ name: pod.name, adapters: pod.otherAdapters })),
  );
  return candidates.filter((pod) => pod.name === choice);
}

/** Nobody knows what the engine holds; it is being asked. */
export const isUnknown = (pod: PodSeen) => pod.held === "unasked" || pod.held === "unknown";

/** The pods that the annotation says were chosen and not yet loaded. */
export function scheduledPods({ metadata }: ModelAdapter): string[] {
  const text = metadata.annotations?.[ANNOTATION.scheduledPods] ?? "";
  return text.split(",").filter((name) => name !== "");
}

/** Selects the pods, and says which of them serve. */
export function choose(seen: Seen): Choice {
  const selected = select(seen);
  const held = [...selected, ...standIns(seen, selected)].filter((pod) => canServe(seen, pod));
  const replacing = chooseReplacement(seen, selected, held);
  return { selected, serving: held.filter((pod) => pod !== replacing), replacing };
}

function canServe(seen: Seen, pod: PodSeen): boolean {
  if (pod.busy === "unloading") return false;
  // Until it has been asked, a pod that was published stays published: a restart of ours is no reason to stop requests.
  if (pod.held === "unasked") return publishedPods(seen).includes(pod.name);
  // What somebody else may have loaded is not sent requests before it was replaced.
  return pod.held === "current" || (pod.held === "outdated" && pod.known);
}

/**
 * With `replicas: 1`: the pod that serves an earlier version while the new one, which it was given up for, is being loaded on
 * another.
 */
function standIns(seen: Seen, selected: readonly PodSeen[]): PodSeen[] {
  const { adapter, pods, nowMs } = seen;
  const isServed = selected.some((pod) => holdsOurs(pod) || canServe(seen, pod));
  if (adapter.spec.replicas === undefined || isServed) return [];
  const instances = adapter.status?.instances ?? [];
  return pods
    .filter((pod) => !selected.includes(pod) && ineligible(pod, nowMs) === undefined)
    .filter((pod) => holdsOurs(pod) && instances.includes(pod.name))
    .slice(0, 1);
}

/**
 * A changed artifact goes out pod by pod: the one that is taken out of traffic now. Undefined when there is none to replace, or
 * when only one pod serves, which then is replaced while it serves.
 */
function chooseReplacement(
  seen: Seen,
  selected: readonly PodSeen[],
  held: readonly PodSeen[],
): PodSeen | undefined {
  if (held.length < 2) return undefined;
  const next = nextToReplace(selected);
  if (next === undefined || next.busy === "loading") return next;
  return isLoadDue(seen, next) ? next : undefined;
}

/**
 * The pod whose version is the next to be replaced. A pod on which the new version failed for good comes before those that were
 * not tried: a bad version never reaches a second pod.
 */
export function nextToReplace(selected: readonly PodSeen[]): PodSeen | undefined {
  const outdated = selected.filter((pod) => pod.held === "outdated");
  return (
    outdated.find((pod) => pod.busy === "loading") ??
    outdated.find((pod) => pod.loadFailure?.retriable === false) ??
    outdated.find((pod) => pod.loadFailure === undefined) ??
    [...outdated].sort((a, b) => nextLoadMs(a.loadFailure) - nextLoadMs(b.loadFailure))[0]
  );
}

/** Time has come for the first or the next attempt. */
export function isLoadDue(seen: Seen, pod: PodSeen): boolean {
  return nextLoadMs(pod.loadFailure) <= seen.nowMs;
}
