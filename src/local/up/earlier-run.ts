import type { Pod, PodCondition } from "#api/kubernetes.ts";
import { SYSTEM_NAMESPACE } from "#api/names.ts";
import { type Clock, toMicroTimestamp, toTimestamp } from "#base/clock.ts";
import { UserError } from "#base/errors.ts";
import { type KubeClient, LEASES, PODS } from "#kube/client.ts";
import { endAllPods } from "../pods/leftovers.ts";
import { isStateLocked } from "../pods/state-lock.ts";
import { checkPorts, type NeededPort } from "../preflight.ts";
import type { Screen } from "./progress.ts";

/** Killed processes see their stdin end and then stop their pods. */
const WAIT_MAX_MS = 30_000;
const POLL_MS = 200;
/** For pods that lost their kubelet; others get what their manifest says. */
export const PODS_GRACE_MS = 5_000;

interface EarlierRun {
  readonly stateDir: string;
  readonly ports: readonly NeededPort[];
  /** True when it has not cleaned up behind itself. */
  readonly wasKilled: boolean;
}

/**
 * After a kill of `loradock up` its processes still take a moment to stop; what their kubelet could
 * not stop is stopped here. Then their ports are free.
 */
export async function endEarlierRun(
  { stateDir, ports, wasKilled }: EarlierRun,
  { clock, screen }: { clock: Clock; screen: Screen },
  signal: AbortSignal,
): Promise<void> {
  const endMs = clock.now() + WAIT_MAX_MS;
  const until = async (isOver: () => boolean | Promise<boolean>) => {
    while (!(await isOver()) && clock.now() < endMs) await clock.sleep(POLL_MS, signal);
  };
  if (wasKilled) screen.stdout.write("An earlier run was killed; ending what is left of it\n");
  await until(() => !isStateLocked(stateDir));
  // A kubelet that does not end is told by the next one, with its process.
  if (isStateLocked(stateDir)) return;
  await endAllPods(stateDir, PODS_GRACE_MS, clock);
  if (wasKilled) await until(() => areFree(ports));
}

async function areFree(ports: readonly NeededPort[]): Promise<boolean> {
  try {
    await checkPorts(ports);
    return true;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

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
