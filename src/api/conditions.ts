import type { Condition } from "./kubernetes.ts";
import { MESSAGE_LENGTH_MAX, shortened } from "./model-adapter.ts";
import { CONDITION_TYPES, type ConditionClaim, type ConditionType } from "./reasons.ts";

/** The condition of a type; undefined while nothing was claimed of it. */
export function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: ConditionType,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** Whether a condition holds: false also while nothing was claimed of it. */
export function isTrue(conditions: readonly Condition[] | undefined, type: ConditionType): boolean {
  return conditionOf(conditions, type)?.status === "True";
}

/**
 * The conditions after `claims`: a type that nothing is claimed of stays as it was, and the time of the last transition moves
 * only when the status does (KEP-1623).
 */
export function withClaims(
  before: readonly Condition[],
  claims: readonly ConditionClaim[],
  observedGeneration: number,
  now: string,
): Condition[] {
  return CONDITION_TYPES.flatMap((type) => {
    const old = before.find((condition) => condition.type === type);
    const claim = claims.find((condition) => condition.type === type);
    if (claim === undefined) return old === undefined ? [] : [old];
    const moved = old?.status !== claim.status;
    const lastTransitionTime = moved ? now : old.lastTransitionTime;
    const message = shortened(claim.message, MESSAGE_LENGTH_MAX);
    return [{ ...claim, message, observedGeneration, lastTransitionTime }];
  });
}
