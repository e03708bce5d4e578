import type { EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter, SchedulerName } from "#api/model-adapter.ts";
import { LABEL } from "#api/names.ts";
import { fromTimestamp } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import { directPath } from "#core/adapter/direct-path.ts";
import type { Held, PodSeen, Seen } from "#core/adapter/seen.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import type { Inventory, Listed } from "./inventory.ts";
import type { Memory } from "./memory.ts";
import { seenService, seenSlice } from "./objects.ts";

/** Where the facts of a snapshot come from. */
export interface Sources {
  readonly pods: readonly Pod[];
  readonly service: Service | undefined;
  readonly slice: EndpointSlice | undefined;
  readonly memory: Memory;
  readonly inventory: Inventory;
  readonly schedulerPolicy: SchedulerName;
  readonly nowMs: number;
}

/** One snapshot of everything that a decision about `adapter` may depend on. */
export function observe(adapter: ModelAdapter, sources: Sources): Seen {
  const pods = sources.pods
    .filter((pod) => isConcerned(adapter, pod))
    .map((pod) => seePod(adapter, pod, sources));
  return {
    nowMs: sources.nowMs,
    adapter,
    pods,
    service: seenService(adapter, sources.service),
    slice: seenSlice(adapter, sources.slice, pods),
    schedulerPolicy: sources.schedulerPolicy,
  };
}

/** Pods that match, and those that did when the adapter was put there. */
function isConcerned(adapter: ModelAdapter, pod: Pod): boolean {
  if (pod.metadata.namespace !== adapter.metadata.namespace) return false;
  if (matchesSelector(adapter.spec.podSelector, pod.metadata.labels)) return true;
  return adapter.status?.pods?.some((line) => line.name === pod.metadata.name) ?? false;
}

function seePod(adapter: ModelAdapter, pod: Pod, { inventory, memory }: Sources): PodSeen {
  const { metadata, status } = pod;
  const work = memory.of(adapter, pod);
  const list = inventory.of(pod);
  const held = heldBy(adapter, list);
  // What is loaded has not failed.
  if (held === "current") work.failure = undefined;
  return {
    name: metadata.name,
    uid: metadata.uid ?? "",
    ip: status?.podIP,
    matches: matchesSelector(adapter.spec.podSelector, metadata.labels),
    enabled: metadata.labels?.[LABEL.adapterEnabled] === "true",
    baseModel: metadata.labels?.[LABEL.modelName],
    readySinceMs: readySince(pod),
    terminating: metadata.deletionTimestamp !== undefined,
    held,
    busy: work.busy,
    failure: work.failure,
    otherAdapters:
      typeof list === "string" ? 0 : list.size - (list.has(adapter.metadata.name) ? 1 : 0),
  };
}

function heldBy(adapter: ModelAdapter, list: Listed | "unknown" | "silent"): Held {
  if (typeof list === "string") return list;
  if (!list.has(adapter.metadata.name)) return "absent";
  return list.get(adapter.metadata.name) === pathOf(adapter) ? "current" : "outdated";
}

/** The path that the engine should tell; undefined where nothing can be right, which the load then says. */
function pathOf(adapter: ModelAdapter): string | undefined {
  try {
    return directPath(adapter.spec.artifactURL);
  } catch (error) {
    return `unusable: ${messageOf(error)}`;
  }
}

/** Since when a pod is Ready, milliseconds since the epoch; undefined while it is not. */
export function readySince(pod: Pod): number | undefined {
  const ready = pod.status?.conditions?.find((condition) => condition.type === "Ready");
  return ready?.status === "True" ? (fromTimestamp(ready.lastTransitionTime) ?? 0) : undefined;
}
