import type { Deployment } from "#api/kubernetes.ts";

/** How many replicas a Deployment asks for. */
export const desiredOf = (deployment: Deployment) => deployment.spec.replicas ?? 1;

/** A number or a share of the desired replicas; shares of surge are rounded up, of absence down. */
function resolveShare(value: number | string | undefined, desired: number, up: boolean): number {
  const share = /^(\d+)%$/.exec(String(value ?? "25%"))?.[1];
  if (share === undefined) return Math.max(0, Number(value) || 0);
  const exact = (Number(share) * desired) / 100;
  return up ? Math.ceil(exact) : Math.floor(exact);
}

/** How far a rolling update may go beyond and below the desired number; never both zero. */
export function rollingLimits(deployment: Deployment): { surge: number; unavailable: number } {
  const desired = desiredOf(deployment);
  const rolling = deployment.spec.strategy?.rollingUpdate;
  const surge = resolveShare(rolling?.maxSurge, desired, true);
  const unavailable = Math.min(desired, resolveShare(rolling?.maxUnavailable, desired, false));
  // The API refuses two zeros, but shares can round to them.
  return { surge, unavailable: surge === 0 && unavailable === 0 ? 1 : unavailable };
}
