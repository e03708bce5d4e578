import type { Pod, PodCondition } from "#api/kubernetes.ts";
import { SYSTEM_NAMESPACE } from "#api/names.ts";
import { type Clock, toMicroTimestamp, toTimestamp } from "#base/clock.ts";
import { type KubeClient, LEASES, PODS } from "#kube/client.ts";

/**
 * Takes back what the API still says about processes of an earlier run, before anything acts on it:
 * as in a cluster whose node was away, its pods are not ready until the kubelet has looked at them,
 * and nobody leads who cannot have renewed. A process that is alive after all says so again.
 */
export async function forgetEarlierRun(
  client: KubeClient,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const nowMs = clock.now();
  for (const pod of (await client.list(PODS, {}, signal)).items) {
    const conditions = unreadyConditions(pod, nowMs);
    if (conditions === undefined) continue;
    const patch = { status: { conditions } };
    await client.patch(PODS, pod.metadata, "merge", patch, { subresource: "status", signal });
  }
  // The controller of a run that was killed could not give its lease back; waiting for it would
  // take longer than the whole start.
  const leases = await client.list(LEASES, { namespace: SYSTEM_NAMESPACE }, signal);
  for (const { metadata, spec } of leases.items) {
    if ((spec.holderIdentity ?? "") === "") continue;
    const patch = { spec: { holderIdentity: "", renewTime: toMicroTimestamp(nowMs) } };
    await client.patch(LEASES, metadata, "merge", patch, { signal });
  }
}

/** A pod's conditions with it not being ready; undefined when they say so already. Pure. */
export function unreadyConditions(pod: Pod, nowMs: number): PodCondition[] | undefined {
  const conditions = pod.status?.conditions ?? [];
  const isAffected = ({ type, status }: PodCondition) =>
    (type === "Ready" || type === "ContainersReady") && status === "True";
  if (!conditions.some(isAffected)) return undefined;
  const unready = {
    status: "False",
    reason: "NodeRestarted",
    message: "loradock up was started again and has not looked at the pod yet",
    lastTransitionTime: toTimestamp(nowMs),
  } as const;
  return conditions.map((condition) =>
    isAffected(condition) ? { ...condition, ...unready } : condition,
  );
}
