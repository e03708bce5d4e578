/** What is claimed of each condition, in words that name the cure. */
import { conditionOf } from "#api/conditions.ts";
import type { Phase } from "#api/model-adapter.ts";
import {
  type AdapterName,
  CONDITION,
  type ConditionClaim,
  type ConditionType,
} from "#api/reasons.ts";
import { loadingReason, namesOf } from "./pod-lines.ts";
import { isExhausted, isGivenUp, RETRIES_MAX } from "./retry.ts";
import type { PodSeen, Seen } from "./seen.ts";
import { type Choice, ineligible, isUnknown } from "./select.ts";
import { inOurWords } from "./wording.ts";

/** What is true of each condition now. */
export function claimsOf(seen: Seen, choice: Choice, phase: Phase): ConditionClaim[] {
  const claims = phaseClaims(seen, choice, phase);
  const ready = claims.find(({ type }) => type === "Ready");
  const isBoundTold = claims.some(({ type }) => type === "Bound");
  // Why it was not bound in another phase is not why it is not now.
  if (isBoundTold || conditionOf(seen.conditions, "Bound")?.status !== "False") return claims;
  if (ready === undefined) return claims;
  return [...claims, CONDITION.unbound("ModelAdapterLoadingError", ready.message)];
}

function phaseClaims(seen: Seen, choice: Choice, phase: Phase): ConditionClaim[] {
  const adapter = nameOf(seen);
  const initialized = CONDITION.initialized();
  // While no pod is left to be chosen, an earlier version may still serve where it is.
  const chosen = choice.selected.length > 0 ? choice.selected : choice.serving;
  if (chosen.length === 0) return [initialized, ...pendingClaims(seen)];
  const scheduled = CONDITION.scheduled(adapter, namesOf(chosen));
  const claims = [initialized, scheduled, loadedClaim(seen, chosen)];
  switch (phase) {
    case "Running":
      return [...claims, CONDITION.bound(adapter), CONDITION.ready(adapter)];
    case "Failed": {
      const reason = loadingReason(seen.adapter.spec);
      const why = `Loading failed on all pods: ${failuresOf(seen.pods).join("; ")}`;
      return [...claims, CONDITION.unbound(reason, why), CONDITION.unready(reason, why)];
    }
    case "Bound":
      return [...claims, ...unpublishedClaims(seen)];
    default:
      return [...claims, ...notYetReady(seen, choice)];
  }
}

/** Nobody can host the adapter now. */
function pendingClaims(seen: Seen): ConditionClaim[] {
  const why = whyPending(seen);
  const scheduled = conditionOf(seen.conditions, "Scheduled");
  const wasChosen = scheduled !== undefined && scheduled.reason !== "PodNotReady";
  const claims = [wasChosen ? CONDITION.rescheduling(why) : CONDITION.unscheduled(why)];
  if (conditionOf(seen.conditions, "Loaded") !== undefined) claims.push(CONDITION.unloaded(why));
  if (conditionOf(seen.conditions, "Bound") !== undefined) claims.push(boundClaim(seen, why));
  return [...claims, CONDITION.unready("ModelAdapterUnavailable", why)];
}

function nameOf({ adapter: { metadata } }: Seen): AdapterName {
  return { namespace: metadata.namespace ?? "", name: metadata.name };
}

/** Why no pod is chosen: each pod that matches, with what it lacks. */
function whyPending(seen: Seen): string {
  const matching = seen.pods.filter((pod) => pod.matches);
  if (matching.length === 0) {
    return "No pod matches spec.podSelector: check that the base model's pods run in this namespace and carry its labels";
  }
  const reasons = matching.map((pod) => {
    const why = ineligible(pod, seen.nowMs);
    return `pod ${pod.name} ${why ?? (isUnknown(pod) ? "has not told yet what it holds" : "waits")}`;
  });
  return `No pod can host the adapter: ${reasons.join("; ")}`;
}

function loadedClaim(seen: Seen, selected: readonly PodSeen[]): ConditionClaim {
  const told = seen.adapter.status?.instances ?? [];
  // Of an engine that is still to be asked only what was told before may be told again.
  const isLoaded = ({ held, name }: PodSeen) =>
    held === "current" || (held === "unasked" && told.includes(name));
  const missing = selected.filter((pod) => !isLoaded(pod));
  if (missing.length === 0) return CONDITION.loaded(namesOf(selected));
  const failing = missing.filter((pod) => pod.loadFailure !== undefined);
  const exhausted = failing.filter((pod) => isExhausted(pod.loadFailure));
  const [only] = exhausted;
  if (
    only?.loadFailure !== undefined &&
    exhausted.length === failing.length &&
    failing.length === 1
  )
    return CONDITION.retriesExhausted(only.name, inOurWords(only.loadFailure.message));
  if (failing.length > 0) {
    return CONDITION.loadFailed(loadingReason(seen.adapter.spec), failuresOf(failing).join("; "));
  }
  return CONDITION.loading(namesOf(missing));
}

/** `pod <name>: <error>` of each pod that failed, and how it goes on there. */
function failuresOf(pods: readonly PodSeen[]): string[] {
  return pods.flatMap(({ name, loadFailure: failure }) => {
    if (failure === undefined) return [];
    const next = isGivenUp(failure)
      ? ""
      : ` (retry ${failure.retries + 1} of ${RETRIES_MAX} follows)`;
    return [`pod ${name}: ${inOurWords(failure.message)}${next}`];
  });
}

/** It is loaded, and not yet, or no longer, published. */
function unpublishedClaims(seen: Seen): ConditionClaim[] {
  const { namespace, name } = nameOf(seen);
  const taken = seen.service.state === "foreign" ? "Service" : "EndpointSlice";
  if (seen.service.state === "foreign" || seen.slice.state === "foreign") {
    const reason = `${taken}CreateError` as const;
    const why = `${taken} ${namespace}/${name} exists and belongs to somebody else: delete or rename it, or give the adapter another name`;
    return [CONDITION.unbound(reason, why), CONDITION.unready(reason, why)];
  }
  if (seen.publishFailure !== undefined) {
    const reason = seen.publishFailure.startsWith("EndpointSlice")
      ? "EndpointSliceCreateError"
      : "ServiceCreateError";
    const why = seen.publishFailure;
    return [CONDITION.unbound(reason, why), CONDITION.unready(reason, why)];
  }
  return unservedClaims(seen, "Loaded, and about to be published");
}

/** It is not served yet, or no longer. */
function notYetReady(seen: Seen, { selected }: Choice): ConditionClaim[] {
  const names = namesOf(selected);
  const before = (seen.adapter.status?.instances ?? []).filter((name) => !names.includes(name));
  if (seen.adapter.spec.replicas === 1 && before.length > 0) {
    const why = `Moving from pod ${before.join(", ")} to pod ${names.join(", ")}`;
    return unservedClaims(seen, why, "AdapterMigrating");
  }
  const why = `No pod serves the adapter now; it is being loaded on ${names.join(", ")}`;
  return unservedClaims(seen, why);
}

/** Bound and Ready are not spoken of before they were ever decided; once they were, they must not keep on claiming the past. */
function unservedClaims(
  seen: Seen,
  why: string,
  reason: "ModelAdapterUnavailable" | "AdapterMigrating" = "ModelAdapterUnavailable",
): ConditionClaim[] {
  const isKnown = (type: ConditionType) => conditionOf(seen.conditions, type) !== undefined;
  return [
    ...(isKnown("Bound") ? [boundClaim(seen, why)] : []),
    ...(isKnown("Ready") ? [CONDITION.unready(reason, why)] : []),
  ];
}

/** Service and EndpointSlice stay, empty, while no pod serves. */
function boundClaim(seen: Seen, why: string): ConditionClaim {
  const exist = seen.service.state === "ours" && seen.slice.state === "ours";
  return exist ? CONDITION.bound(nameOf(seen)) : CONDITION.unbound("ModelAdapterUnavailable", why);
}
