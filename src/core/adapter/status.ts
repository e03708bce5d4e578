/** What is told of an adapter: phase, conditions, the line per pod, Events. A projection of facts, never read back as one. */
import { redactArtifactUrl } from "#api/artifact-url.ts";
import { type ConditionClaim, withClaims } from "#api/conditions.ts";
import type { ModelAdapterPodStatus, ModelAdapterStatus, Phase } from "#api/model-adapter.ts";
import { CONDITION, EVENT, type EventText } from "#api/reasons.ts";
import { toTimestamp } from "#base/clock.ts";
import { jsonEqual } from "#base/json.ts";
import { isGivenUp, nextAttemptMs, RETRIES_MAX } from "./retry.ts";
import type { PodSeen, Seen } from "./seen.ts";
import { ineligible } from "./select.ts";

/** What the planner decided before. */
export interface Chosen {
  readonly selected: readonly PodSeen[];
  /** Those of them that hold the adapter and may take requests. */
  readonly serving: readonly PodSeen[];
}

/** The status to write; undefined when it would say what it says already. */
export function statusOf(seen: Seen, chosen: Chosen): ModelAdapterStatus | undefined {
  const { adapter, pods, nowMs } = seen;
  const before = adapter.status;
  const { selected, serving } = chosen;
  const phase = phaseOf(seen, chosen);
  const generation = adapter.metadata.generation ?? 0;
  const ready = pods.filter((pod) => {
    return pod.matches && pod.enabled && !pod.terminating && pod.readySinceMs !== undefined;
  });
  const status: ModelAdapterStatus = {
    phase,
    observedGeneration: generation,
    candidates: ready.length,
    desiredReplicas: adapter.spec.replicas ?? selected.length,
    readyReplicas: serving.length,
    conditions: withClaims(
      before?.conditions ?? [],
      claims(seen, chosen, phase),
      generation,
      toTimestamp(nowMs),
    ),
    instances: names(serving),
    pods: podLines(seen, selected),
  };
  return jsonEqual(status, before) ? undefined : status;
}

function phaseOf(seen: Seen, { selected, serving }: Chosen): Phase {
  const published = seen.slice.state === "ours" ? seen.slice.content : [];
  const reachable = serving.some((pod) => published.includes(pod.name));
  if (serving.length > 0) return seen.service.state === "ours" && reachable ? "Running" : "Bound";
  if (selected.length === 0) return "Pending";
  if (selected.every((pod) => isGivenUp(pod.failure) && pod.busy === undefined)) return "Failed";
  const begun = selected.some((pod) => pod.busy === "loading" || pod.failure !== undefined);
  return begun ? "Loading" : "Scheduled";
}

function claims(seen: Seen, chosen: Chosen, phase: Phase): ConditionClaim[] {
  const { adapter } = seen;
  const name = { namespace: adapter.metadata.namespace ?? "", name: adapter.metadata.name };
  const was = (type: string) => adapter.status?.conditions?.find((one) => one.type === type);
  const made = [CONDITION.initialized()];
  const { selected } = chosen;
  if (selected.length === 0) {
    const why = whyPending(seen);
    const again = was("Scheduled") !== undefined && was("Scheduled")?.reason !== "PodNotReady";
    made.push(again ? CONDITION.rescheduling(why) : CONDITION.unscheduled(why));
    if (was("Loaded") !== undefined) made.push(CONDITION.unloaded(why));
    made.push(CONDITION.unready("ModelAdapterUnavailable", why));
    return made;
  }
  made.push(CONDITION.scheduled(name, names(selected)), loadedClaim(seen, selected));
  if (phase === "Running") return [...made, CONDITION.bound(name), CONDITION.ready(name)];
  if (phase === "Failed") {
    const why = `Loading failed on all pods: ${failures(seen).join("; ")}`;
    const claim = "ModelAdapterLoadingError";
    return [...made, CONDITION.unbound(claim, why), CONDITION.unready(claim, why)];
  }
  const taken = takenName(seen);
  if (phase === "Bound" && taken !== undefined) {
    const claim = "ServiceCreateError";
    return [...made, CONDITION.unbound(claim, taken), CONDITION.unready(claim, taken)];
  }
  // Ready is not spoken of before it was ever decided; once it was, it must not keep on claiming the past.
  if (was("Ready") === undefined) return made;
  const why =
    phase === "Bound"
      ? "Loaded, and about to be published"
      : `No pod serves the adapter now; it is being loaded on ${names(selected).join(", ")}`;
  return [...made, CONDITION.unready("ModelAdapterUnavailable", why)];
}

function takenName(seen: Seen): string | undefined {
  const { namespace, name } = seen.adapter.metadata;
  const kind = seen.service.state === "foreign" ? "Service" : "EndpointSlice";
  if (seen.service.state !== "foreign" && seen.slice.state !== "foreign") return undefined;
  return `${kind} ${namespace}/${name} exists and belongs to somebody else: delete or rename it, or give the adapter another name`;
}

function loadedClaim(seen: Seen, selected: readonly PodSeen[]): ConditionClaim {
  const missing = selected.filter((pod) => pod.held !== "current");
  if (missing.length === 0) return CONDITION.loaded(names(selected));
  const failed = seen.pods.filter((pod) => isGivenUp(pod.failure));
  const blocked = missing.find((pod) => isGivenUp(pod.failure));
  if (blocked?.failure === undefined) return CONDITION.loading(names(missing));
  if (failed.length === 1 && isExhausted(blocked)) {
    return CONDITION.retriesExhausted(blocked.name, blocked.failure.message);
  }
  return CONDITION.loadFailed(failures(seen).join("; "));
}

const isExhausted = ({ failure }: PodSeen) =>
  failure?.retriable === true && failure.retries >= RETRIES_MAX;

function failures(seen: Seen): string[] {
  return seen.pods.flatMap((pod) => {
    return isGivenUp(pod.failure) ? [`pod ${pod.name}: ${pod.failure?.message}`] : [];
  });
}

/** Why no pod is chosen: each pod that matches, with what it lacks. */
function whyPending(seen: Seen): string {
  const matching = seen.pods.filter((pod) => pod.matches);
  if (matching.length === 0) {
    return "No pod matches spec.podSelector: check that the base model's pods run in this namespace and carry its labels";
  }
  const reasons = matching.map((pod) => `pod ${pod.name} ${ineligible(pod, seen.nowMs)}`);
  return `No pod can host the adapter: ${reasons.join("; ")}`;
}

/** The line of each pod that matters: chosen, waited for, failing, or still to be cleaned. */
function podLines(seen: Seen, selected: readonly PodSeen[]): ModelAdapterPodStatus[] {
  return seen.pods
    .flatMap((pod): ModelAdapterPodStatus[] => {
      const chosen = selected.includes(pod);
      const why = ineligible(pod, seen.nowMs);
      if (pod.busy === "unloading") return [{ name: pod.name, state: "Unloading" }];
      if (chosen || pod.failure !== undefined) return [lineOf(seen, pod)];
      if (!pod.matches || why === undefined) return [];
      return [
        { name: pod.name, state: "Waiting", reason: "PodNotReady", message: `The pod ${why}` },
      ];
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function lineOf(seen: Seen, pod: PodSeen): ModelAdapterPodStatus {
  const { failure } = pod;
  const { spec } = seen.adapter;
  const line = { name: pod.name };
  if (pod.held === "current") {
    const loaded = {
      ...line,
      state: "Loaded" as const,
      artifactURL: redactArtifactUrl(spec.artifactURL),
    };
    if (spec.baseModel === undefined || pod.baseModel === spec.baseModel) return loaded;
    const message = `spec.baseModel is ${spec.baseModel}, but the pod's label model.aibrix.ai/name is ${pod.baseModel ?? "missing"}`;
    return { ...loaded, reason: "BaseModelMismatch", message };
  }
  if (pod.busy === "loading" || failure === undefined) return { ...line, state: "Loading" };
  const nextRetryTime = toTimestamp(nextAttemptMs(failure));
  const { message, retries } = failure;
  if (!isGivenUp(failure)) {
    return {
      ...line,
      state: "Retrying",
      reason: "ModelAdapterLoadingError",
      message,
      retries,
      nextRetryTime,
    };
  }
  const reason = isExhausted(pod) ? "MaxRetriesExceeded" : "ModelAdapterLoadingError";
  return { ...line, state: "Failed", reason, message, retries, nextRetryTime };
}

/** The Events that tell of what changed since the status before. */
export function eventsOf(
  seen: Seen,
  after: ModelAdapterStatus | undefined,
  selected: readonly PodSeen[],
): EventText[] {
  // Nothing new is told, or it will be told again with the status that could not be written.
  if (after === undefined) return [];
  const before = seen.adapter.status;
  const events: EventText[] = [];
  const message = (status: ModelAdapterStatus | undefined) =>
    status?.conditions?.find((one) => one.type === "Scheduled" && one.status === "True")?.message;
  const old = (name: string) => before?.pods?.find((pod) => pod.name === name);
  for (const pod of after.pods ?? []) {
    if (pod.reason === "MaxRetriesExceeded" && old(pod.name)?.reason !== pod.reason) {
      events.push(EVENT.maxRetriesExceeded(pod.name, pod.message ?? ""));
    }
  }
  if (selected.length > 0 && message(before) !== message(after)) {
    events.push(EVENT.scheduled(names(selected)));
  }
  const loaded = (after.pods ?? []).filter((pod) => {
    return pod.state === "Loaded" && old(pod.name)?.state !== "Loaded";
  });
  if (loaded.length > 0) events.push(EVENT.loaded(names(loaded)));
  return events;
}

function names(pods: readonly { readonly name: string }[]): string[] {
  return pods.map((pod) => pod.name).sort();
}
