import type { EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter, SchedulerName } from "#api/model-adapter.ts";
import { LABEL } from "#api/names.ts";
import type { Clock } from "#base/clock.ts";
import { remembered } from "#base/remembered.ts";
import { heldBy, isKnown, type LoadedAs } from "#core/adapter/held.ts";
import type { Held, PodSeen, Seen } from "#core/adapter/seen.ts";
import { scheduledPods } from "#core/adapter/select.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { keyOf } from "#kube/client.ts";
import type { Answer, Inventory } from "./inventory.ts";
import { type Memory, uidOf, type Work } from "./memory.ts";
import { seenService, seenSlice } from "./objects.ts";
import type { Occupancy } from "./occupancy.ts";
import { adapterPlace } from "./places.ts";
import type { Readiness } from "./readiness.ts";

/** Where the facts of a snapshot come from. */
export interface Sources {
  /** The pods of the adapter's namespace. */
  readonly pods: readonly Pod[];
  readonly service: Service | undefined;
  readonly slice: EndpointSlice | undefined;
  readonly memory: Memory;
  readonly readiness: Readiness;
  readonly inventory: Inventory;
  readonly occupancy: Occupancy;
  /** Since when an earlier adapter of this name may be left on a pod; undefined: it is not. */
  readonly leftMs: (pod: Pod) => number | undefined;
  readonly enableRuntimeSidecar: boolean;
  readonly schedulerPolicy: SchedulerName;
  readonly clock: Clock;
}

/** One snapshot of everything that a decision about `adapter` may depend on. */
export function observe(adapter: ModelAdapter, sources: Sources): Seen {
  const { memory, service, slice, clock, schedulerPolicy } = sources;
  const recorded = recordedPods(adapter);
  const pods = sources.pods
    .filter(
      (pod) =>
        matchesSelector(adapter.spec.podSelector, pod.metadata.labels) ||
        recorded.has(pod.metadata.name) ||
        memory.isAbout(adapter, pod) ||
        sources.leftMs(pod) !== undefined,
    )
    .filter((pod) => !isFinished(pod))
    .map((pod) => seePod(adapter, pod, recorded.has(pod.metadata.name), sources))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const notes = memory.notes(adapter);
  return {
    nowMs: clock.now(),
    offsetMs: clock.offsetMs?.() ?? 0,
    adapter,
    doomedMs: memory.doomedMs(adapter),
    conditions: notes.draft?.conditions ?? adapter.status?.conditions ?? [],
    pods,
    service: seenService(adapter, service),
    slice: seenSlice(adapter, slice, pods),
    publishFailure: notes.publishFailure,
    schedulerPolicy,
  };
}

/** Names of the pods on which it is written down that the adapter was loaded, or begun to be. */
export function recordedPods(adapter: ModelAdapter): Set<string> {
  const names = new Set(scheduledPods(adapter));
  for (const line of adapter.status?.pods ?? []) if (line.state !== "Waiting") names.add(line.name);
  return names;
}

function seePod(adapter: ModelAdapter, pod: Pod, isOnRecord: boolean, sources: Sources): PodSeen {
  const { inventory, memory, occupancy, enableRuntimeSidecar } = sources;
  const work = memory.peek(adapter, pod, isOnRecord);
  const matches = matchesSelector(adapter.spec.podSelector, pod.metadata.labels);
  const facts = factsOf(pod);
  const leftMs = sources.leftMs(pod);
  const isLeft = leftMs !== undefined;
  const recorded =
    isOnRecord ||
    [work.loadedAs, work.lateLoadUntilMs, leftMs].some((reason) => reason !== undefined);
  const answer = inventory.answer(
    adapterPlace(adapter, pod, enableRuntimeSidecar),
    adapter.metadata.name,
  );
  const records = recordsOf(adapter, pod, work);
  return {
    ...facts,
    matches,
    readySinceMs: sources.readiness.sinceMs(pod),
    held: heldOf(adapter, answer, { isMeant: matches && facts.enabled, recorded, records }),
    path: answer.state === "listed" ? answer.root : undefined,
    recorded,
    known: answer.state === "listed" && isKnown(adapter, { root: answer.root, isLeft, records }),
    busy: work.busy,
    stalledSinceMs: work.turns?.movedMs,
    loadingVersion: work.loadingVersion,
    progress: work.progress,
    loadFailure: memory.loadFailure(adapter, work),
    unloadFailure: work.unloadFailure,
    lateLoadUntilMs: work.lateLoadUntilMs,
    // Requests to an earlier adapter ceased when it went.
    routedAtMs: Math.max(work.routedAtMs, leftMs ?? work.routedAtMs),
    // Where an adapter goes everywhere, nobody weighs the pods.
    otherAdapters:
      adapter.spec.replicas === undefined ? 0 : occupancy.others(facts.uid, keyOf(adapter)),
  };
}

/** What a pod says of itself, the same for every adapter: thousands of them look at each pod. */
const factsOf = remembered((pod: Pod) => ({
  name: pod.metadata.name,
  uid: uidOf(pod),
  ip: pod.status?.podIP,
  enabled: pod.metadata.labels?.[LABEL.adapterEnabled] === "true",
  baseModel: pod.metadata.labels?.[LABEL.modelName],
  terminating: pod.metadata.deletionTimestamp !== undefined,
}));

function heldOf(
  adapter: ModelAdapter,
  answer: Answer,
  facts: { isMeant: boolean; recorded: boolean; records: readonly LoadedAs[] },
): Held {
  if (answer.state !== "listed") return answer.state;
  return heldBy(adapter, { root: answer.root, ...facts });
}

/** What is known of how the pod's engine came to have the adapter; the newest first. */
function recordsOf(adapter: ModelAdapter, pod: Pod, work: Work): LoadedAs[] {
  const line = adapter.status?.pods?.find((one) => one.name === pod.metadata.name);
  const records = work.loadedAs === undefined ? [] : [work.loadedAs];
  if (line?.path === undefined || line.version === undefined) return records;
  return [...records, { path: line.path, version: line.version }];
}

/** A pod that has run to its end comes never back. */
export function isFinished(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}
