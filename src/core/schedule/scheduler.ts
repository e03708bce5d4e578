import type { SchedulerName } from "#api/model-adapter.ts";
import { defaultScheduler } from "./default.ts";
import { leastAdapters } from "./least-adapters.ts";

/** A pod that could take the adapter. */
export interface Candidate {
  readonly name: string;
  /** Other adapters that it holds or is about to hold. */
  readonly adapters: number;
}

/**
 * Chooses one of `candidates` (at least one) for the adapter `key`, `namespace/name`. Pure: the same pods and
 * loads give the same choice, in whatever order they come.
 */
export type Scheduler = (key: string, candidates: readonly Candidate[]) => string;

const SCHEDULERS: Readonly<Record<SchedulerName, Scheduler>> = {
  default: defaultScheduler,
  "least-adapters": leastAdapters,
};

/** The scheduler of an adapter: its own, where `default` means the one that the controller was started with. */
export function schedulerOf(name: SchedulerName, policy: SchedulerName): Scheduler {
  return SCHEDULERS[name === "default" ? policy : name];
}
