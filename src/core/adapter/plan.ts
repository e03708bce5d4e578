/**
 * The decisions about one ModelAdapter, as a pure function of what is seen.
 *
 *            no pod may host it                  every pod lost it, or is gone
 *          +---------------------+------------------------------------------------+
 *          v                     |                                                |
 *      Pending ----------> Scheduled ----------> Loading ----------> Bound ----> Running
 *          pods chosen           |   load begun  ^   |   one engine    Service and
 *                                |               |   |   lists it      EndpointSlice
 *                                v               |   v                 name it
 *                                +------------> Failed
 *                                 every chosen pod is given up; tried again every five minutes,
 *                                 and at once when the spec, a pod or the Secret changes
 *
 * A phase is never stored and read back: each look computes it from the facts. One pod goes its own way below:
 *
 *      absent --load--> current ==published==> serving --gone, NotReady--> (out at once)
 *        ^                 |  spec changes                        |
 *        |                 v                                      | another pod took over,
 *        |              outdated --unpublish, drain, load--> current    or it is not meant any more
 *        |                                                        v
 *        +-----------------------------------------unload--- leftover (out of the slice, drained)
 *
 * The order of things is the safety argument, and the acting side keeps to it:
 *  1. the finalizer is there, and the pod on record, before anything is loaded on it;
 *  2. a pod is published only after its engine lists the adapter;
 *  3. a pod is out of the EndpointSlice, and drained, before the adapter is unloaded or replaced there;
 *  4. the finalizer goes only when no engine holds the adapter, or what may hold it is written down elsewhere.
 */
import type { ModelAdapterStatus } from "#api/model-adapter.ts";
import { ANNOTATION, FINALIZER } from "#api/names.ts";
import {
  cancels,
  drainedAtMs,
  isDrained,
  leftovers,
  loads,
  mayHold,
  type Operation,
  unloads,
} from "./operations.ts";
import { nextLoadMs, nextUnloadMs, retryAnnotations } from "./retry.ts";
import { type PodSeen, publishedPods, type Seen } from "./seen.ts";
import { type Choice, choose, holdsOurs, ineligible, isUnknown, STABLE_MS } from "./select.ts";
import { deletionStatus, statusOf } from "./status.ts";

/**
 * How long a deletion waits for engines that do not answer before it lets the object go: with the writes around it, the finalizer
 * is off within ten seconds.
 */
const DELETION_WAIT_MS = 8000;
/**
 * How long an engine that answers may take over an unload beyond that time: when many adapters are deleted at once, some have their turn
 * only then.
 */
const UNLOAD_GRACE_MS = 3000;

export interface Plan {
  /** Changes of the object's metadata; to be written before anything else is done. Null removes an annotation. */
  readonly metadata: {
    readonly finalizer: "add" | "remove" | undefined;
    readonly annotations: Readonly<Record<string, string | null>>;
  };
  readonly publish: {
    /** The Service is to be written. */
    readonly service: boolean;
    /** The EndpointSlice is to be written, with these pods; undefined: it is as it should be. */
    readonly slice: readonly PodSeen[] | undefined;
    /** Both are to go. */
    readonly withdraw: boolean;
  };
  readonly operations: readonly Operation[];
  /** What the status should say; undefined when it does not matter any more. */
  readonly status: ModelAdapterStatus | undefined;
  /** Something is under way that will change the status in a moment: a write may wait a little for it. */
  readonly isMoving: boolean;
  /** The pods that the adapter should be on, by name. */
  readonly selected: readonly string[];
  /** Pods that may still hold the adapter when the object goes; to be written down before it does. */
  readonly tombstones: readonly PodSeen[];
  /** When to look again even if nothing happens, milliseconds since the epoch. */
  readonly wakeAtMs: number | undefined;
}

/** Decides what to do for one adapter. */
export function plan(seen: Seen): Plan {
  const { doomedMs } = seen;
  return doomedMs === undefined ? planLife(seen) : planDeletion(seen, doomedMs);
}

function planLife(seen: Seen): Plan {
  const { metadata } = seen.adapter;
  const choice = choose(seen);
  const publish = publishedOf(seen, choice.serving);
  const operations = [...cancels(seen, choice), ...loads(seen, choice), ...unloads(seen, choice)];
  const isPublishing = publish.service || publish.slice !== undefined;
  return {
    metadata: {
      finalizer: metadata.finalizers?.includes(FINALIZER) ? undefined : "add",
      annotations: annotationChanges(metadata.annotations, annotationsOf(seen, choice)),
    },
    publish,
    operations,
    status: statusOf(seen, choice),
    isMoving:
      operations.length > 0 ||
      (isPublishing && seen.publishFailure === undefined) ||
      seen.pods.some((pod) => pod.busy !== undefined),
    selected: choice.selected.map((pod) => pod.name).sort(),
    tombstones: [],
    wakeAtMs: wakeAt(seen, choice),
  };
}

/** What is to be written of Service and EndpointSlice. */
function publishedOf(seen: Seen, serving: readonly PodSeen[]): Plan["publish"] {
  const { service, slice } = seen;
  // A name that somebody else holds is reported, never taken.
  const isTaken = service.state === "foreign" || slice.state === "foreign";
  // They come into being with the first pod that serves, and stay from then on.
  const exist = service.state === "ours" || slice.state === "ours";
  if (isTaken) {
    // Ours must not send requests to our pods under somebody else's Service.
    const isLeft = slice.state === "ours" && slice.content.length > 0;
    return { service: false, slice: isLeft ? [] : undefined, withdraw: false };
  }
  if (serving.length === 0 && !exist) {
    return { service: false, slice: undefined, withdraw: false };
  }
  const names = serving.map((pod) => pod.name).sort();
  const isSame =
    slice.state === "ours" && slice.intact && names.join() === [...slice.content].sort().join();
  return {
    service: service.state !== "ours" || !service.intact,
    slice: isSame ? undefined : serving,
    withdraw: false,
  };
}

function planDeletion(seen: Seen, doomedMs: number): Plan {
  const { metadata } = seen.adapter;
  const isPublished = publishedPods(seen).length > 0;
  const remaining = seen.pods.filter(mayHold);
  const endMs = doomedMs + DELETION_WAIT_MS;
  const settled = remaining.every(isOnlyLate);
  const isLate =
    seen.nowMs >= endMs && (isPublished || !remaining.some((pod) => isComing(seen, pod)));
  const done = (settled && !isPublished) || isLate;
  const isOurs = metadata.finalizers?.includes(FINALIZER) ?? false;
  const due = remaining
    // A load that is still under way is broken off by the unload.
    .filter((pod) => pod.busy !== "unloading" && !isOnlyLate(pod) && !isPublished)
    .filter((pod) => nextUnloadMs(pod.unloadFailure) <= seen.nowMs && isDrained(seen, pod));
  return {
    metadata: { finalizer: done && isOurs ? "remove" : undefined, annotations: {} },
    publish: {
      service: false,
      slice: undefined,
      withdraw: seen.service.state === "ours" || seen.slice.state === "ours",
    },
    operations: done ? [] : due.map((pod) => ({ kind: "unload", pod: pod.name })),
    status: done ? undefined : deletionStatus(seen, remaining),
    isMoving: true,
    selected: [],
    tombstones: done ? remaining : [],
    wakeAtMs: done
      ? undefined
      : nextAfter(seen.nowMs, [
          endMs,
          ...remaining.flatMap(unloadMoments),
          ...remaining.map((pod) => (pod.stalledSinceMs ?? 0) + UNLOAD_GRACE_MS),
        ]),
  };
}

/** Nothing speaks against an unload that is about to be asked for, or was a moment ago. */
function isComing({ nowMs }: Seen, pod: PodSeen): boolean {
  if (!holdsOurs(pod) || pod.readySinceMs === undefined || pod.unloadFailure !== undefined) {
    return false;
  }
  return nowMs < (pod.stalledSinceMs ?? nowMs) + UNLOAD_GRACE_MS;
}

/** The engine does not list it; only a load that was broken off could still bring it. */
function isOnlyLate(pod: PodSeen): boolean {
  return pod.held === "absent" && pod.busy === undefined;
}

/** What matters on the way to the engines; once the adapter is where it should be, and the status says so, nothing of it stays. */
function annotationsOf(seen: Seen, { selected }: Choice): Record<string, string> {
  const isTold = (pod: PodSeen) =>
    seen.adapter.status?.pods?.some((line) => line.name === pod.name && line.state !== "Waiting");
  const waiting = seen.pods
    // Nothing is loaded where nobody knows what is there already.
    .filter((pod) => pod.recorded || !isUnknown(pod))
    .filter((pod) =>
      selected.includes(pod)
        ? pod.held !== "current" || !isTold(pod)
        : pod.recorded && mayHold(pod) && !isTold(pod),
    )
    .map((pod) => pod.name);
  if (waiting.length === 0) return {};
  return { ...retryAnnotations(seen), [ANNOTATION.scheduledPods]: waiting.sort().join(",") };
}

function annotationChanges(
  before: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string>>,
): Record<string, string | null> {
  const changes: Record<string, string | null> = {};
  const ours = Object.values(ANNOTATION);
  for (const key of Object.keys(before ?? {})) {
    if (ours.some((prefix) => key.startsWith(prefix)) && !(key in wanted)) changes[key] = null;
  }
  for (const [key, value] of Object.entries(wanted)) {
    if (before?.[key] !== value) changes[key] = value;
  }
  return changes;
}

/** The next moment at which time alone changes what is to be done. */
function wakeAt(seen: Seen, choice: Choice): number | undefined {
  const stable = seen.pods
    .filter((pod) => pod.matches && pod.enabled && !pod.terminating)
    .filter((pod) => ineligible(pod, seen.nowMs) !== undefined)
    .map((pod) => (pod.readySinceMs ?? Number.POSITIVE_INFINITY) + STABLE_MS);
  const retries = choice.selected
    .filter((pod) => pod.busy === undefined && pod.held !== "current")
    .flatMap((pod) => [nextLoadMs(pod.loadFailure), drainedAtMs(pod)]);
  const cleaning = leftovers(seen, choice).flatMap(unloadMoments);
  const late = seen.pods
    .filter((pod) => !choice.selected.includes(pod))
    .map((pod) => pod.lateLoadUntilMs ?? Number.NEGATIVE_INFINITY);
  return nextAfter(seen.nowMs, [...stable, ...retries, ...cleaning, ...late]);
}

function unloadMoments(pod: PodSeen): number[] {
  return [
    nextUnloadMs(pod.unloadFailure),
    drainedAtMs(pod),
    pod.lateLoadUntilMs ?? Number.NEGATIVE_INFINITY,
  ];
}

function nextAfter(nowMs: number, moments: readonly number[]): number | undefined {
  const next = Math.min(...moments.filter((ms) => ms > nowMs));
  return Number.isFinite(next) ? next : undefined;
}
