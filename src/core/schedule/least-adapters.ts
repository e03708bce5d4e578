import { byWeight } from "./hash.ts";
import type { Scheduler } from "./scheduler.ts";

/** The pod with the fewest adapters, loads in flight included; equals are told apart by hash. */
export const leastAdapters: Scheduler = (key, candidates) => {
  const fewest = Math.min(...candidates.map((pod) => pod.adapters));
  const [choice] = byWeight(
    key,
    candidates.filter((pod) => pod.adapters === fewest),
  );
  if (choice === undefined) throw new Error("bug: scheduling without candidates");
  return choice.name;
};
