import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { LABEL } from "#api/names.ts";
import { fromTimestamp } from "#base/clock.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { isReady } from "./rollout.ts";

/** Where one adapter stands on its way to its pods. */
export interface AdapterProgress {
  readonly name: string;
  readonly phase: string;
  readonly pods: number;
  readonly isRunning: boolean;
  readonly isFailed: boolean;
  /** What its engines, its source or the controller say about why it is not running. */
  readonly holdUp: string;
}

/** On how many of `pods` an adapter should be once all of them are ready. */
function podsWanted({ metadata, spec }: ModelAdapter, pods: readonly Pod[]): number {
  const matching = pods.filter(
    (pod) =>
      isReady(pod) &&
      pod.metadata.namespace === metadata.namespace &&
      pod.metadata.labels?.[LABEL.adapterEnabled] === "true" &&
      matchesSelector(spec.podSelector, pod.metadata.labels),
  );
  return spec.replicas ?? Math.max(1, matching.length);
}

/**
 * An adapter counts as running when it is on every pod of `pods` that it should be on, and has become
 * ready since `sinceMs`: what a status says from before a restart is not about the engines of now. Pure.
 */
export function adapterProgress(
  adapter: ModelAdapter,
  pods: readonly Pod[],
  sinceMs: number,
): AdapterProgress {
  const { metadata, status } = adapter;
  const conditions = status?.conditions ?? [];
  const ready = conditions.find(({ type }) => type === "Ready");
  // Conditions know only whole seconds.
  const isOfNow = ({ lastTransitionTime }: { lastTransitionTime: string }) =>
    (fromTimestamp(lastTransitionTime) ?? 0) >= Math.floor(sinceMs / 1000) * 1000;
  const isObserved = (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0);
  const isEverywhere = (status?.readyReplicas ?? 0) >= podsWanted(adapter, pods);
  const phase = isObserved && conditions.some(isOfNow) ? (status?.phase ?? "Pending") : "Pending";
  const isReadyNow = ready?.status === "True" && isOfNow(ready);
  const held = status?.pods?.find(({ message }) => message !== undefined);
  const holdUp = held?.message ?? ready?.message;
  return {
    name: metadata.name,
    phase,
    pods: status?.readyReplicas ?? 0,
    isRunning: phase === "Running" && isReadyNow && isEverywhere,
    isFailed: phase === "Failed",
    holdUp: holdUp ?? "the controller has not said why",
  };
}

/** For example `1/3 running, shout-lora Loading, pirate-lora Pending`. */
export function describeAdapters(adapters: readonly AdapterProgress[]): string {
  const waiting = adapters.filter(({ isRunning }) => !isRunning);
  const running = adapters.length - waiting.length;
  const list = waiting.map(({ name, phase }) => `${name} ${phase}`).join(", ");
  return `${running}/${adapters.length} running${list === "" ? "" : `, ${list}`}`;
}
