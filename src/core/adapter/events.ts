import { conditionOf } from "#api/conditions.ts";
import type { ModelAdapterStatus } from "#api/model-adapter.ts";
import { type ConditionClaim, EVENT, type EventText, PHASE_CONDITION } from "#api/reasons.ts";

/** The Events that tell of what changed from one written status to the next, in the order of the story. */
export function eventsOf(
  before: ModelAdapterStatus | undefined,
  after: ModelAdapterStatus,
  selected: readonly string[],
): EventText[] {
  const events: EventText[] = [];
  const old = (name: string) => before?.pods?.find((pod) => pod.name === name);
  for (const pod of after.pods ?? []) {
    if (pod.reason === "MaxRetriesExceeded" && old(pod.name)?.reason !== pod.reason) {
      events.push(EVENT.maxRetriesExceeded(pod.name, pod.message ?? ""));
    }
  }
  if (selected.length > 0 && scheduledText(before) !== scheduledText(after)) {
    events.push(EVENT.scheduled(selected));
  }
  const loaded = (after.pods ?? []).filter((pod) => {
    const was = old(pod.name);
    return pod.state === "Loaded" && (was?.state !== "Loaded" || was.version !== pod.version);
  });
  if (loaded.length > 0) events.push(EVENT.loaded(loaded.map((pod) => pod.name)));
  return [...events, ...phaseEvent(before, after)];
}

function scheduledText(status: ModelAdapterStatus | undefined): string | undefined {
  const condition = conditionOf(status?.conditions, "Scheduled");
  return condition?.status === "True" ? condition.message : undefined;
}

/** A phase that was worth writing down is worth an Event; Scheduled has its own. */
function phaseEvent(
  before: ModelAdapterStatus | undefined,
  after: ModelAdapterStatus,
): EventText[] {
  const { phase } = after;
  if (phase === undefined || phase === before?.phase || phase === "Scheduled") return [];
  const condition = conditionOf(after.conditions, PHASE_CONDITION[phase]);
  if (condition === undefined) return [];
  const isTrouble = condition.status === "False" && phase !== "Loading";
  return [EVENT.ofCondition(isTrouble ? "Warning" : "Normal", condition as ConditionClaim)];
}
