import { conditionOf } from "#api/conditions.ts";
import type { ModelAdapterPodStatus, ModelAdapterStatus } from "#api/model-adapter.ts";
import {
  type ConditionClaim,
  EVENT,
  type EventText,
  PHASE_CONDITION,
  type Reason,
} from "#api/reasons.ts";

/** A pod's line beside the one that it had. */
interface Change {
  readonly line: ModelAdapterPodStatus;
  readonly was: ModelAdapterPodStatus | undefined;
}

/** The Events that tell of what changed from one written status to the next, in the order of the story. */
export function eventsOf(
  before: ModelAdapterStatus | undefined,
  after: ModelAdapterStatus,
  selected: readonly string[],
): EventText[] {
  const changes = (after.pods ?? []).map((line) => ({
    line,
    was: before?.pods?.find((pod) => pod.name === line.name),
  }));
  const isNewlyChosen = selected.length > 0 && scheduledText(before) !== scheduledText(after);
  return [
    ...exhaustedEvents(changes),
    // When no pod is left, the phase tells of it.
    ...(after.phase === "Failed" ? [] : failedEvents(changes)),
    ...(isNewlyChosen ? [EVENT.scheduled(selected)] : []),
    ...loadedEvents(changes),
    ...phaseEvents(before, after),
  ];
}

function exhaustedEvents(changes: readonly Change[]): EventText[] {
  return changes
    .filter(
      ({ line: { reason }, was }) => reason === "MaxRetriesExceeded" && was?.reason !== reason,
    )
    .map(({ line: { name, message = "" } }) => EVENT.maxRetriesExceeded(name, message));
}

/** Pods that are given up while others serve, or still may. */
function failedEvents(changes: readonly Change[]): EventText[] {
  const failed = changes
    .filter(({ line, was }) => line.state === "Failed" && was?.state !== "Failed")
    .map(({ line }) => line)
    .filter(({ reason }) => reason !== "MaxRetriesExceeded");
  const [first] = failed;
  if (first === undefined) return [];
  const why = failed.map(({ name, message }) => `pod ${name}: ${message}`).join("; ");
  return [EVENT.failed(first.reason as Reason, why)];
}

function loadedEvents(changes: readonly Change[]): EventText[] {
  const loaded = changes.filter(
    ({ line, was }) =>
      line.state === "Loaded" && (was?.state !== "Loaded" || was.version !== line.version),
  );
  return loaded.length === 0 ? [] : [EVENT.loaded(loaded.map(({ line }) => line.name))];
}

function scheduledText(status: ModelAdapterStatus | undefined): string | undefined {
  const condition = conditionOf(status?.conditions, "Scheduled");
  return condition?.status === "True" ? condition.message : undefined;
}

/** A phase that was worth writing down is worth an Event; Scheduled has its own. */
function phaseEvents(
  before: ModelAdapterStatus | undefined,
  after: ModelAdapterStatus,
): EventText[] {
  const { phase } = after;
  if (phase === undefined || phase === before?.phase || phase === "Scheduled") return [];
  const condition = conditionOf(after.conditions, PHASE_CONDITION[phase]);
  // An adapter that is being deleted is Pending with its pods chosen: who deleted it knows.
  if (condition === undefined || (phase === "Pending" && condition.status === "True")) return [];
  return EVENT.ofCondition(condition as ConditionClaim);
}
