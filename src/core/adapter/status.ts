/** What is told of an adapter: phase, counts, conditions, a line per pod. A projection of facts, never read back as one. */
import { withClaims } from "#api/conditions.ts";
import type {
  ModelAdapterPodStatus,
  ModelAdapterSpec,
  ModelAdapterStatus,
  Phase,
} from "#api/model-adapter.ts";
import { CONDITION } from "#api/reasons.ts";
import { claimsOf } from "./claims.ts";
import { namesOf, podLines } from "./pod-lines.ts";
import { isGivenUp } from "./retry.ts";
import { type PodSeen, publishedPods, type Seen, timestampOf } from "./seen.ts";
import type { Choice } from "./select.ts";
import { deletionSummary, summaryOf } from "./summary.ts";

/** What the status should say. */
export function statusOf(seen: Seen, choice: Choice): ModelAdapterStatus {
  const { spec } = seen.adapter;
  const phase = phaseOf(seen, choice);
  const conditions = conditionsAfter(seen, claimsOf(seen, choice, phase));
  const pods = podLines(seen, choice);
  const candidates = seen.pods.filter(
    (pod) => pod.matches && pod.enabled && !pod.terminating && pod.readySinceMs !== undefined,
  );
  return {
    phase,
    observedGeneration: generationOf(seen),
    candidates: candidates.length,
    desiredReplicas: spec.replicas ?? choice.selected.length,
    readyReplicas: choice.serving.length,
    conditions,
    instances: namesOf(choice.serving),
    pods,
    summary: summaryOf(phase, conditions, pods.filter(isOfInterest(spec, choice))),
  };
}

/** Where one pod is enough, the others matter only while it does not serve. */
const isOfInterest =
  ({ replicas }: ModelAdapterSpec, { serving }: Choice) =>
  ({ name }: ModelAdapterPodStatus) =>
    replicas === undefined || serving.length === 0 || serving.some((pod) => pod.name === name);

/** What is told while the object goes: nothing serves any more. */
export function deletionStatus(seen: Seen, remaining: readonly PodSeen[]): ModelAdapterStatus {
  const why = "The adapter is being deleted";
  const lines = remaining.map((pod): ModelAdapterPodStatus => {
    const line = { name: pod.name, state: "Unloading" as const, reason: "Leftover" };
    const message = pod.unloadFailure?.message;
    return message === undefined ? line : { ...line, message };
  });
  const unready = CONDITION.unready("ModelAdapterUnavailable", why);
  return {
    ...seen.adapter.status,
    phase: "Pending",
    observedGeneration: generationOf(seen),
    readyReplicas: 0,
    conditions: conditionsAfter(seen, [unready]),
    instances: [],
    pods: lines.sort((a, b) => (a.name < b.name ? -1 : 1)),
    summary: deletionSummary(unready, lines),
  };
}

function generationOf(seen: Seen): number {
  return seen.adapter.metadata.generation ?? 0;
}

function conditionsAfter(seen: Seen, claims: Parameters<typeof withClaims>[1]) {
  return withClaims(seen.conditions, claims, generationOf(seen), timestampOf(seen, seen.nowMs));
}

/** How far the adapter has come: the diagram in plan.ts. */
function phaseOf(seen: Seen, { selected, serving }: Choice): Phase {
  const published = publishedPods(seen);
  const isReachable =
    seen.service.state === "ours" && serving.some((pod) => published.includes(pod.name));
  if (serving.length > 0) return isReachable ? "Running" : "Bound";
  if (selected.length === 0) return "Pending";
  if (selected.every((pod) => isGivenUp(pod.loadFailure) && pod.busy === undefined))
    return "Failed";
  const hasBegun = selected.some(
    (pod) => pod.busy === "loading" || pod.loadFailure !== undefined || pod.held === "outdated",
  );
  return hasBegun ? "Loading" : "Scheduled";
}
