import { byWeight } from "./hash.ts";
import type { Scheduler } from "./scheduler.ts";

/** How far above the average a pod may be filled before the next in line is taken. */
const OVERLOAD_MAX = 1.02;

/**
 * Even and stable: rendezvous hashing with bounded loads. Each adapter has its own order of pods, and takes the first that is
 * not filled beyond the bound.
 * Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018.
 */
export const defaultScheduler: Scheduler = (key, candidates) => {
  const total = candidates.reduce((sum, pod) => sum + pod.adapters, 0);
  const bound = Math.ceil((OVERLOAD_MAX * (total + 1)) / candidates.length);
  const order = byWeight(key, candidates);
  const choice = order.find((pod) => pod.adapters < bound) ?? order[0];
  if (choice === undefined) throw new Error("bug: scheduling without candidates");
  return choice.name;
};
