import type { ModelAdapter } from "#api/model-adapter.ts";
import { fromTimestamp } from "#base/clock.ts";

/** Where one adapter stands on its way to its pods. */
export interface AdapterProgress {
  readonly name: string;
  readonly phase: string;
  readonly pods: number;
  readonly isRunning: boolean;
  /** Its engines' or its source's refusal, when it has failed. */
  readonly failure: string | undefined;
  /** Why it is not on a pod yet. */
  readonly holdUp: string | undefined;
}

/**
 * An adapter counts as running when it is on every pod that it should be on, and has become ready
 * since `sinceMs`: what a status says from before a restart is not about the engines of now. Pure.
 */
export function adapterProgress(adapter: ModelAdapter, sinceMs: number): AdapterProgress {
  const { metadata, status } = adapter;
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  const changedMs = fromTimestamp(ready?.lastTransitionTime) ?? 0;
  // Conditions know only whole seconds.
  const isOfNow = changedMs >= Math.floor(sinceMs / 1000) * 1000;
  const isObserved = (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0);
  const pods = status?.readyReplicas ?? 0;
  const isEverywhere = pods > 0 && pods >= (status?.desiredReplicas ?? 0);
  const isCurrent = isOfNow && isObserved;
  const failed = status?.phase === "Failed" && isCurrent;
  const held = status?.pods?.find(({ message }) => message !== undefined);
  return {
    name: metadata.name,
    phase: status?.phase ?? "Pending",
    pods,
    isRunning: isCurrent && isEverywhere && status?.phase === "Running" && ready?.status === "True",
    failure: failed ? (held?.message ?? ready?.message ?? "no reason given") : undefined,
    holdUp: held?.message ?? ready?.message,
  };
}

/** For example `1/3 running, shout-lora Loading, pirate-lora Pending`. */
export function describeAdapters(adapters: readonly AdapterProgress[]): string {
  const waiting = adapters.filter(({ isRunning }) => !isRunning);
  const running = adapters.length - waiting.length;
  const list = waiting.map(({ name, phase }) => `${name} ${phase}`).join(", ");
  return `${running}/${adapters.length} running${list === "" ? "" : `, ${list}`}`;
}
