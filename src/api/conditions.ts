import type { Condition } from "./kubernetes.ts";

/** The conditions of a ModelAdapter, in the order in which `kubectl describe` shows them. */
export const CONDITION_TYPES = ["Initialized", "Scheduled", "Loaded", "Bound", "Ready"] as const;
export type ConditionType = (typeof CONDITION_TYPES)[number];

/** What is claimed of one condition now. */
export interface ConditionClaim {
  readonly type: ConditionType;
  readonly status: Condition["status"];
  readonly reason: string;
  readonly message: string;
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
    return [{ ...claim, observedGeneration, lastTransitionTime }];
  });
}
