/** Bugs that somebody could write into the planner one day. The simulation must notice each of them. */
import { toTimestamp } from "#base/clock.ts";
import { type Plan, plan } from "#core/adapter/plan.ts";
import type { PodSeen, Seen } from "#core/adapter/seen.ts";
import { ineligible } from "#core/adapter/select.ts";

type Mutation = (made: Plan, seen: Seen) => Plan;

const withoutOperations = (made: Plan, drop: (pod: string, kind: string) => boolean): Plan => ({
  ...made,
  operations: made.operations.filter(({ pod, kind }) => !drop(pod, kind)),
});
const NOTHING: Plan["publish"] = { service: false, slice: undefined, withdraw: false };
const isServing = (pod: PodSeen) => ineligible(pod, Number.POSITIVE_INFINITY) === undefined;
const heldBy = (seen: Seen, name: string) => seen.pods.find((pod) => pod.name === name)?.held;

export const PLANTED: Readonly<Record<string, Mutation>> = {
  "loads before the finalizer is there": (made) => ({
    ...made,
    metadata: {
      ...made.metadata,
      finalizer: made.metadata.finalizer === "add" ? undefined : made.metadata.finalizer,
    },
  }),
  "lets the object go at once": (made, seen) =>
    seen.adapter.metadata.deletionTimestamp === undefined
      ? made
      : { ...made, metadata: { ...made.metadata, finalizer: "remove" } },
  "forgets what could not be unloaded": (made) => ({ ...made, tombstones: [] }),
  "never lets the object go": (made) => ({
    ...made,
    metadata: {
      ...made.metadata,
      finalizer: made.metadata.finalizer === "remove" ? undefined : made.metadata.finalizer,
    },
  }),
  "publishes every pod that could serve": (made, seen) =>
    made.publish.slice === undefined
      ? made
      : { ...made, publish: { ...made.publish, slice: seen.pods.filter(isServing) } },
  "never publishes": (made) => ({ ...made, publish: NOTHING }),
  "unloads under traffic": (made, seen) => {
    const pod = seen.slice.state === "ours" ? seen.slice.content[0] : undefined;
    if (pod === undefined || seen.pods.some((one) => one.busy !== undefined)) return made;
    if (seen.adapter.metadata.deletionTimestamp === undefined) return made;
    return { ...made, publish: NOTHING, operations: [{ kind: "unload", pod }] };
  },
  "does not load again what an engine lost": (made, seen) =>
    withoutOperations(made, () => (seen.adapter.status?.instances?.length ?? 0) > 0),
  "does not replace an earlier version": (made, seen) =>
    withoutOperations(made, (pod) => heldBy(seen, pod) === "outdated"),
  "replaces under traffic": (made, seen) => {
    const outdated = seen.pods.filter((pod) => pod.held === "outdated" && pod.busy === undefined);
    const kept = made.operations.filter(({ pod }) => !outdated.some((one) => one.name === pod));
    const added = outdated.map((pod) => ({ kind: "load" as const, pod: pod.name }));
    return { ...made, operations: [...kept, ...added] };
  },
  "loads twice at the same time": (made, seen) => {
    const busy = seen.pods.find((pod) => pod.busy === "loading");
    if (busy === undefined) return made;
    return { ...made, operations: [...made.operations, { kind: "load", pod: busy.name }] };
  },
  "leaves the adapter where it moved away from": (made) =>
    withoutOperations(made, (_, kind) => kind === "unload"),
  "leaves retry annotations behind": (made) => ({
    ...made,
    metadata: {
      ...made.metadata,
      annotations: Object.fromEntries(
        Object.entries(made.metadata.annotations).filter(([, value]) => value !== null),
      ),
    },
  }),
  "claims Running without an instance": (made) =>
    made.status === undefined
      ? made
      : { ...made, status: { ...made.status, phase: "Running", instances: [] } },
  "keeps claiming what is no longer so": (made, seen) =>
    seen.adapter.status?.phase === "Running" ? { ...made, status: undefined } : made,
  "moves the times of its conditions at every look": (made, seen) => {
    if (made.status === undefined) return made;
    const lastTransitionTime = toTimestamp(seen.nowMs);
    const conditions = made.status.conditions?.map((one) => ({ ...one, lastTransitionTime }));
    return { ...made, status: { ...made.status, conditions } };
  },
  "loads an adapter on every pod where one was asked for": (made, seen) => ({
    ...made,
    operations: seen.pods
      .filter((pod) => pod.held === "absent" && pod.busy === undefined && isServing(pod))
      .map((pod) => ({ kind: "load" as const, pod: pod.name })),
  }),
};

/** The planner with one of the bugs. */
export function plannerWith(bug: Mutation): (seen: Seen) => Plan {
  return (seen) => bug(plan(seen), seen);
}
