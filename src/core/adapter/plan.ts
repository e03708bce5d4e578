/**
 * The decisions about one ModelAdapter, as a pure function of what is seen.
 *
 *                    no pod may host it
 *          +-------------------------------------------+
 *          v                                           |
 *      Pending --> Scheduled --> Loading --> Bound --> Running
 *                                |     ^     holds it,   serves
 *                  all given up  v     |     not yet published
 *                              Failed -+  tried again slowly, or when spec or pods change
 *
 * The order of things is the safety argument, and the acting side keeps to it:
 *  1. the finalizer is there before anything is loaded;
 *  2. a pod is published only after its engine lists the adapter;
 *  3. a pod is out of the EndpointSlice before the adapter is unloaded or replaced there;
 *  4. the finalizer goes only when no engine in reach holds the adapter.
 */

import type { ModelAdapterStatus } from "#api/model-adapter.ts";
import { ANNOTATION, FINALIZER } from "#api/names.ts";
import type { EventText } from "#api/reasons.ts";
import { fromTimestamp } from "#base/clock.ts";
import { nextAttemptMs, retryAnnotations } from "./retry.ts";
import type { PodSeen, Seen } from "./seen.ts";
import { holdsOurs, ineligible, isServing, STABLE_MS, select } from "./select.ts";
import { eventsOf, statusOf } from "./status.ts";

/** How long a deletion waits for engines that do not answer before it lets the object go. */
export const DELETION_WAIT_MS = 10_000;

export interface Operation {
  readonly kind: "load" | "unload";
  readonly pod: string;
}

export interface Plan {
  /** Changes of the object's metadata; to be written before anything else is done. Null removes an annotation. */
  readonly metadata: {
    readonly finalizer: "add" | "remove" | undefined;
    readonly annotations: Readonly<Record<string, string | null>>;
  };
  /** Pods that the Service and the EndpointSlice should send requests to; undefined: nothing to write. */
  readonly publish: readonly PodSeen[] | undefined;
  readonly operations: readonly Operation[];
  /** Undefined: nothing to write. */
  readonly status: ModelAdapterStatus | undefined;
  readonly events: readonly EventText[];
  /** The pods that the adapter should be on. */
  readonly selected: readonly string[];
  /** The spec changed: failures of the old one say nothing of the new one. */
  readonly forgetFailures: boolean;
  /** Pods on which the adapter must still be unloaded when they can be reached again. */
  readonly tombstones: readonly string[];
  /** When to look again even if nothing happens, milliseconds since the epoch. */
  readonly wakeAtMs: number | undefined;
}

/** Decides what to do for one adapter. */
export function plan(seen: Seen): Plan {
  if (seen.adapter.metadata.deletionTimestamp !== undefined) return planDeletion(seen);
  const { metadata, status: before } = seen.adapter;
  const forgetFailures =
    before?.observedGeneration !== undefined && before.observedGeneration !== metadata.generation;
  if (forgetFailures) return { ...planLife(withoutFailures(seen)), forgetFailures };
  return planLife(seen);
}

function withoutFailures(seen: Seen): Seen {
  return { ...seen, pods: seen.pods.map((pod) => ({ ...pod, failure: undefined })) };
}

function planLife(seen: Seen): Plan {
  const { metadata } = seen.adapter;
  const before = scheduledPods(metadata.annotations);
  const selected = select(seen, before);
  const replacing = chooseReplacement(seen, selected);
  const serving = selected.filter(
    (pod) => isServing(pod) && holdsOurs(pod) && pod.busy !== "unloading" && pod !== replacing,
  );
  const publish = publishedOf(seen, serving);
  const status = statusOf(seen, { selected, serving });
  const waiting = selected.filter((pod) => pod.held !== "current").map((pod) => pod.name);
  // Written down while they matter: once the adapter is where it should be, nothing of the way there stays.
  const annotations = waiting.length > 0 ? retryAnnotations(seen.pods) : {};
  if (waiting.length > 0) annotations[ANNOTATION.scheduledPods] = waiting.join(",");
  return {
    metadata: {
      finalizer: metadata.finalizers?.includes(FINALIZER) ? undefined : "add",
      annotations: annotationChanges(metadata.annotations, annotations),
    },
    publish,
    operations: [...loads(seen, selected, replacing), ...unloads(seen, selected, serving)],
    status,
    events: eventsOf(seen, status, selected),
    selected: selected.map((pod) => pod.name).sort(),
    forgetFailures: false,
    tombstones: [],
    wakeAtMs: wakeAt(seen, selected),
  };
}

/**
 * A changed artifact goes out pod by pod: the one pod that may be taken out of traffic now. Undefined when there is none to replace, or
 * when only one pod serves, which then is replaced while it serves. A pod on which the new version failed is the next
 * to be tried, so that a bad version never reaches a second pod.
 */
function chooseReplacement(seen: Seen, selected: readonly PodSeen[]): PodSeen | undefined {
  const outdated = selected.filter((pod) => pod.held === "outdated");
  const others = selected.filter((pod) => holdsOurs(pod) && isServing(pod));
  if (outdated.length === 0 || others.length < 2) return undefined;
  const next = nextToReplace(outdated);
  if (next === undefined || next.busy === "loading") return next;
  return nextAttemptMs(next.failure) <= seen.nowMs ? next : undefined;
}

function nextToReplace(outdated: readonly PodSeen[]): PodSeen | undefined {
  return (
    outdated.find((pod) => pod.busy === "loading") ??
    outdated.find((pod) => pod.failure !== undefined) ??
    outdated[0]
  );
}

function loads(
  seen: Seen,
  selected: readonly PodSeen[],
  replacing: PodSeen | undefined,
): Operation[] {
  const published = seen.slice.state === "ours" ? seen.slice.content : [];
  const single =
    replacing === undefined
      ? nextToReplace(selected.filter((p) => p.held === "outdated"))
      : undefined;
  const alone = selected.filter((pod) => holdsOurs(pod) && isServing(pod)).length < 2;
  return selected
    .filter((pod) => pod.busy === undefined && nextAttemptMs(pod.failure) <= seen.nowMs)
    .filter((pod) => {
      if (pod.held === "absent" || pod.held === "silent") return true;
      if (pod.held !== "outdated") return false;
      // Out of traffic first; with nobody to take over, the engine replaces it in place.
      if (pod === replacing) return !published.includes(pod.name);
      return alone && pod === single;
    })
    .map((pod) => ({ kind: "load", pod: pod.name }));
}

function unloads(
  seen: Seen,
  selected: readonly PodSeen[],
  serving: readonly PodSeen[],
): Operation[] {
  const published = seen.slice.state === "ours" ? seen.slice.content : [];
  const moved = seen.adapter.spec.replicas === 1 && serving.some((pod) => pod.held === "current");
  return seen.pods
    .filter((pod) => holdsOurs(pod) && isServing(pod) && pod.busy === undefined)
    .filter((pod) => !selected.includes(pod) && !published.includes(pod.name))
    .filter((pod) => !pod.matches || !pod.enabled || moved)
    .map((pod) => ({ kind: "unload", pod: pod.name }));
}

/** What is to be written of Service and EndpointSlice; undefined when both are as they should be. */
function publishedOf(seen: Seen, serving: readonly PodSeen[]): readonly PodSeen[] | undefined {
  const { service, slice } = seen;
  // A name that somebody else holds is reported, never taken.
  if (service.state === "foreign" || slice.state === "foreign") return undefined;
  // They come into being with the first pod that serves, and stay from then on.
  if (serving.length === 0 && service.state === "absent" && slice.state === "absent")
    return undefined;
  if (service.state !== "ours" || slice.state !== "ours") return serving;
  const names = serving.map((pod) => pod.name).sort();
  const same = names.join() === [...slice.content].sort().join();
  return same && service.intact && slice.intact ? undefined : serving;
}

function planDeletion(seen: Seen): Plan {
  const { metadata } = seen.adapter;
  const published = seen.slice.state === "ours" ? seen.slice.content : [];
  // Who has not answered may hold it: only an answer, or the end of the pod, settles that.
  const open = (pod: PodSeen) => pod.enabled && (pod.held === "unknown" || pod.held === "silent");
  const remaining = seen.pods.filter(
    (pod) => pod.busy !== undefined || holdsOurs(pod) || open(pod),
  );
  const endMs = (fromTimestamp(metadata.deletionTimestamp) ?? 0) + DELETION_WAIT_MS;
  const done = remaining.length === 0 || seen.nowMs >= endMs;
  const mine = metadata.finalizers?.includes(FINALIZER) ?? false;
  return {
    metadata: { finalizer: done && mine ? "remove" : undefined, annotations: {} },
    publish: published.length > 0 ? [] : undefined,
    operations: remaining
      .filter((pod) => pod.busy === undefined && holdsOurs(pod) && published.length === 0)
      .filter((pod) => nextAttemptMs(pod.failure) <= seen.nowMs)
      .map((pod) => ({ kind: "unload", pod: pod.name })),
    status: undefined,
    events: [],
    selected: [],
    forgetFailures: false,
    tombstones: done ? remaining.map((pod) => pod.name) : [],
    wakeAtMs: done ? undefined : endMs,
  };
}

function scheduledPods(annotations: Readonly<Record<string, string>> | undefined): string[] {
  return (annotations?.[ANNOTATION.scheduledPods] ?? "").split(",").filter((name) => name !== "");
}

function annotationChanges(
  before: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string>>,
): Record<string, string | null> {
  const changes: Record<string, string | null> = {};
  const ours = [
    ANNOTATION.retryCountPrefix,
    ANNOTATION.lastRetryTimePrefix,
    ANNOTATION.scheduledPods,
  ];
  for (const key of Object.keys(before ?? {})) {
    if (ours.some((prefix) => key.startsWith(prefix)) && !(key in wanted)) changes[key] = null;
  }
  for (const [key, value] of Object.entries(wanted)) {
    if (before?.[key] !== value) changes[key] = value;
  }
  return changes;
}

/** The next moment at which time alone changes what is to be done. */
function wakeAt(seen: Seen, selected: readonly PodSeen[]): number | undefined {
  const moments = [
    ...seen.pods
      .filter((pod) => pod.matches && pod.enabled && !pod.terminating)
      .filter((pod) => ineligible(pod, seen.nowMs) !== undefined && pod.readySinceMs !== undefined)
      .map((pod) => (pod.readySinceMs ?? 0) + STABLE_MS),
    ...selected
      .filter((pod) => pod.busy === undefined && pod.held !== "current")
      .map((pod) => nextAttemptMs(pod.failure)),
  ].filter((ms) => ms > seen.nowMs);
  return moments.length === 0 ? undefined : Math.min(...moments);
}
