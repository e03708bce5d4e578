/** The one line that `kubectl get -o wide` has room for. */
import { conditionOf } from "#api/conditions.ts";
import type { Condition } from "#api/kubernetes.ts";
import {
  type ModelAdapterPodStatus,
  type Phase,
  SUMMARY_LENGTH_MAX,
  shortened,
} from "#api/model-adapter.ts";
import { PHASE_CONDITION } from "#api/reasons.ts";
import { RETRIES_MAX } from "./retry.ts";

type Line = ModelAdapterPodStatus;

/** What a person has to see comes first. */
const BY_URGENCY: readonly Line["state"][] = [
  "Failed",
  "Retrying",
  "Unavailable",
  "Waiting",
  "Loading",
  "Loaded",
  "Unloading",
];

/** The reason of the phase, and what holds the pods up; `lines`: those that matter. */
export function summaryOf(
  phase: Phase,
  conditions: readonly Condition[],
  lines: readonly Line[],
): string {
  const condition = conditionOf(conditions, PHASE_CONDITION[phase]);
  const troubles = troublesOf(lines);
  if (condition?.status !== "False") {
    return summary(condition?.reason ?? phase, ", but ", troubles);
  }
  const { reason, message } = condition;
  // What the lines of the pods do not tell.
  const isItself = phase === "Bound" || (troubles.length === 0 && reason !== "Loading");
  return summary(reason, ": ", isItself ? [message, ...troubles] : troubles);
}

/** The same while the object goes. */
export function deletionSummary(
  { reason, message }: Pick<Condition, "reason" | "message">,
  lines: readonly Line[],
): string {
  return summary(reason, ": ", [message, ...troublesOf(lines)]);
}

function summary(reason: string, separator: string, why: readonly string[]): string {
  const text = why.length === 0 ? reason : `${reason}${separator}${why.join("; ")}`;
  return shortened(text, SUMMARY_LENGTH_MAX);
}

/** Pods of which the same is to be told stand together. */
function troublesOf(lines: readonly Line[]): string[] {
  const rank = ({ state }: Line) => BY_URGENCY.indexOf(state);
  const groups = new Map<string, string[]>();
  for (const line of [...lines].sort((a, b) => rank(a) - rank(b))) {
    const { name, state, message, retries = 0 } = line;
    if (message === undefined) continue;
    const next = state === "Retrying" ? ` (retry ${retries + 1} of ${RETRIES_MAX} follows)` : "";
    const text = `${message}${next}`;
    groups.set(text, [...(groups.get(text) ?? []), name]);
  }
  return [...groups].map(([text, [first, ...more]]) => {
    const who = more.length === 0 ? first : `${first} and ${more.length} more`;
    return `${who}: ${text}`;
  });
}
