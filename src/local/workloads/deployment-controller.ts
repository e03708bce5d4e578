import type { Deployment, ReplicaSet } from "#api/kubernetes.ts";
import { jsonEqual } from "#base/json.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { DEPLOYMENTS, isNotFound, KubeApiError, keyOf, REPLICA_SETS } from "#kube/client.ts";
import type { HandlerResult } from "#kube/workqueue.ts";
import { pauseUntil, runController, versions, type WorkloadDeps } from "./controller.ts";
import { planDeployment, REVISION } from "./deployment-plan.ts";
import { controllerOf, controllerReference, isControlledBy } from "./pod-state.ts";

/** Rolls each Deployment's template out over its ReplicaSets. */
export function runDeploymentController(deps: WorkloadDeps, signal: AbortSignal): Promise<void> {
  const { deployments, pods, replicaSets } = deps;
  const deploymentsOf = (set: ReplicaSet): string[] => {
    const controller = controllerOf(set);
    const { namespace, labels } = set.metadata;
    if (controller?.kind === "Deployment") return [`${namespace}/${controller.name}`];
    if (controller !== undefined) return [];
    return deployments
      .list()
      .filter((deployment) => deployment.metadata.namespace === namespace)
      .filter((deployment) => matchesSelector(deployment.spec.selector, labels))
      .map(keyOf);
  };
  return runController(
    deps,
    {
      name: "deployment",
      watch: (add) => {
        for (const deployment of deployments.list()) add(keyOf(deployment));
        return [
          deployments.onChange((before, after) => add(keyOf((after ?? before) as Deployment))),
          replicaSets.onChange((before, after) => {
            for (const set of versions(before, after)) {
              for (const key of deploymentsOf(set)) add(key);
            }
          }),
          // A Deployment that recreates waits for the very last old pod.
          pods.onChange((before, after) => {
            if (before === undefined || after !== undefined) return;
            const owner = controllerOf(before);
            if (owner?.kind !== "ReplicaSet") return;
            const set = replicaSets.get(`${before.metadata.namespace}/${owner.name}`);
            if (set !== undefined) for (const key of deploymentsOf(set)) add(key);
          }),
        ];
      },
      reconcile: (key) => reconcile(deps, key),
    },
    signal,
  );
}

async function reconcile(deps: WorkloadDeps, key: string): Promise<HandlerResult | undefined> {
  const { client, clock, deployments, pods, events } = deps;
  const deployment = deployments.get(key);
  if (deployment === undefined) return undefined;
  const { name, namespace } = deployment.metadata;
  const plan = planDeployment({
    deployment,
    replicaSets: await ownReplicaSets(deps, deployment),
    podsOf: (set) => pods.list().filter((pod) => isControlledBy(pod, set)).length,
    nowMs: clock.now(),
  });
  if (plan.create !== undefined) await createReplicaSet(deps, deployment, plan.create);
  for (const { replicaSet, from, to } of plan.scale) {
    await patchReplicaSet(deps, replicaSet, { spec: { replicas: to } });
    const direction = to > from ? "up" : "down";
    const text = `Scaled ${direction} replica set ${replicaSet.metadata.name} from ${from} to ${to}`;
    events.record(deployment, "Normal", "ScalingReplicaSet", text);
  }
  for (const { replicaSet, annotations } of plan.annotate) {
    await patchReplicaSet(deps, replicaSet, { metadata: { annotations } });
  }
  for (const { metadata } of plan.prune) {
    await client.delete(
      REPLICA_SETS,
      { name: metadata.name, namespace },
      metadata.uid === undefined ? {} : { uid: metadata.uid },
    );
  }
  if (plan.revision !== undefined) {
    const patch = { metadata: { annotations: { [REVISION]: plan.revision } } };
    deployments.written(await client.patch(DEPLOYMENTS, { name, namespace }, "merge", patch));
  }
  await writeStatus(deps, deployment, plan.status);
  return { requeueAfterMs: pauseUntil(plan.wakeAtMs, clock) };
}

/** ReplicaSets that the Deployment controls; those that match and have no controller are adopted. */
async function ownReplicaSets(deps: WorkloadDeps, deployment: Deployment): Promise<ReplicaSet[]> {
  const { namespace, deletionTimestamp } = deployment.metadata;
  const own: ReplicaSet[] = [];
  for (const set of deps.replicaSets.list()) {
    if (set.metadata.namespace !== namespace) continue;
    if (isControlledBy(set, deployment)) own.push(set);
    else if (
      deletionTimestamp === undefined &&
      set.metadata.deletionTimestamp === undefined &&
      controllerOf(set) === undefined &&
      matchesSelector(deployment.spec.selector, set.metadata.labels)
    ) {
      const reference = controllerReference(deployment, "apps/v1", "Deployment");
      const ownerReferences = [...(set.metadata.ownerReferences ?? []), reference];
      const patch = { metadata: { uid: set.metadata.uid, ownerReferences } };
      const adopted = await patchReplicaSet(deps, set, patch);
      if (adopted !== undefined) own.push(adopted);
    }
  }
  return own;
}

async function patchReplicaSet(
  { client, replicaSets }: WorkloadDeps,
  set: ReplicaSet,
  patch: object,
): Promise<ReplicaSet | undefined> {
  const { name, namespace } = set.metadata;
  try {
    const written = await client.patch(REPLICA_SETS, { name, namespace }, "merge", patch);
    replicaSets.written(written);
    return written;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function createReplicaSet(
  deps: WorkloadDeps,
  deployment: Deployment,
  set: ReplicaSet,
): Promise<void> {
  try {
    const created = await deps.client.create(REPLICA_SETS, set);
    deps.replicaSets.written(created);
    const replicas = created.spec.replicas ?? 0;
    // As in a cluster: one that begins empty is scaled up later, and told then.
    if (replicas === 0) return;
    const text = `Scaled up replica set ${created.metadata.name} from 0 to ${replicas}`;
    deps.events.record(deployment, "Normal", "ScalingReplicaSet", text);
  } catch (error) {
    const isTaken = error instanceof KubeApiError && error.reason === "AlreadyExists";
    if (!isTaken) throw error;
    await resolveCollision(deps, deployment, set);
  }
}

/** Another ReplicaSet has the name that the template's hash gives: the next hash will be another. */
async function resolveCollision(
  { client, deployments }: WorkloadDeps,
  deployment: Deployment,
  set: ReplicaSet,
): Promise<void> {
  const existing = await client.get(REPLICA_SETS, set.metadata);
  // It is ours, only the cache has not shown it yet.
  if (isControlledBy(existing, deployment)) return;
  const { name, namespace } = deployment.metadata;
  const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
  const patch = { status: { collisionCount } };
  const status = { subresource: "status" } as const;
  deployments.written(await client.patch(DEPLOYMENTS, { name, namespace }, "merge", patch, status));
}

async function writeStatus(
  { client, deployments }: WorkloadDeps,
  deployment: Deployment,
  status: NonNullable<Deployment["status"]>,
): Promise<void> {
  const { collisionCount: _kept, ...wanted } = status;
  if (jsonEqual({ ...deployment.status, ...wanted }, deployment.status)) return;
  const { name, namespace } = deployment.metadata;
  try {
    deployments.written(
      await client.patch(
        DEPLOYMENTS,
        { name, namespace },
        "merge",
        { status: wanted },
        {
          subresource: "status",
        },
      ),
    );
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
