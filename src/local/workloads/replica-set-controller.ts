import type { Pod, ReplicaSet } from "#api/kubernetes.ts";
import { messageOf } from "#base/errors.ts";
import { jsonEqual } from "#base/json.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { isNotFound, keyOf, PODS, REPLICA_SETS } from "#kube/client.ts";
import type { HandlerResult } from "#kube/workqueue.ts";
import { pauseUntil, runController, versions, type WorkloadDeps } from "./controller.ts";
import { controllerOf, controllerReference } from "./pod-state.ts";
import { planReplicaSet } from "./replica-set-plan.ts";

/** Keeps as many pods as each ReplicaSet asks for. */
export function runReplicaSetController(deps: WorkloadDeps, signal: AbortSignal): Promise<void> {
  const { pods, replicaSets } = deps;
  /** Pods that we deleted, until the cache says so too. */
  const deleted = new Set<string>();

  const ownersOf = (pod: Pod): string[] => {
    const controller = controllerOf(pod);
    const { namespace, labels } = pod.metadata;
    if (controller?.kind === "ReplicaSet") return [`${namespace}/${controller.name}`];
    if (controller !== undefined) return [];
    return replicaSets
      .list()
      .filter((set) => set.metadata.namespace === namespace)
      .filter((set) => matchesSelector(set.spec.selector, labels))
      .map(keyOf);
  };

  return runController(
    deps,
    {
      name: "replicaset",
      watch: (add) => {
        for (const set of replicaSets.list()) add(keyOf(set));
        return [
          replicaSets.onChange((before, after) => add(keyOf((after ?? before) as ReplicaSet))),
          pods.onChange((before, after) => {
            if (after === undefined) deleted.delete(before?.metadata.uid ?? "");
            for (const pod of versions(before, after)) for (const key of ownersOf(pod)) add(key);
          }),
        ];
      },
      reconcile: (key) => reconcile(deps, key, deleted),
    },
    signal,
  );
}

async function reconcile(
  deps: WorkloadDeps,
  key: string,
  deleted: Set<string>,
): Promise<HandlerResult | undefined> {
  const replicaSet = deps.replicaSets.get(key);
  if (replicaSet === undefined) return undefined;
  const { namespace } = replicaSet.metadata;
  const see = () =>
    planReplicaSet({
      replicaSet,
      pods: deps.pods.list().filter((pod) => pod.metadata.namespace === namespace),
      deleted,
      nowMs: deps.clock.now(),
    });
  const plan = see();
  for (const pod of plan.adopt) {
    const reference = controllerReference(replicaSet, "apps/v1", "ReplicaSet");
    await setOwners(deps, pod, [...(pod.metadata.ownerReferences ?? []), reference]);
  }
  for (const pod of plan.release) {
    const others = (pod.metadata.ownerReferences ?? []).filter(
      (reference) => reference.uid !== replicaSet.metadata.uid,
    );
    await setOwners(deps, pod, others);
  }
  for (let count = 0; count < plan.create; count++) await createPod(deps, replicaSet);
  for (const pod of plan.delete) await deletePod(deps, replicaSet, pod, deleted);
  // What was just done belongs into the status.
  const after = see();
  await writeStatus(deps, replicaSet, after.status);
  if (after.create > 0) return { requeueAfterMs: 0 };
  return { requeueAfterMs: pauseUntil(after.wakeAtMs, deps.clock) };
}

async function setOwners(
  { client, pods }: WorkloadDeps,
  pod: Pod,
  ownerReferences: NonNullable<Pod["metadata"]["ownerReferences"]>,
): Promise<void> {
  const { name, namespace, uid } = pod.metadata;
  const patch = { metadata: { uid, ownerReferences } };
  try {
    pods.written(await client.patch(PODS, { name, namespace }, "merge", patch));
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function createPod(deps: WorkloadDeps, replicaSet: ReplicaSet): Promise<void> {
  const { name, namespace } = replicaSet.metadata;
  const { template } = replicaSet.spec;
  if (template === undefined || namespace === undefined) return;
  const pod: Pod = {
    metadata: {
      // The API server completes the prefix; an empty name is what it expects then.
      ...({ generateName: `${name}-` } as Pod["metadata"]),
      namespace,
      ...(template.metadata?.labels && { labels: template.metadata.labels }),
      ...(template.metadata?.annotations && { annotations: template.metadata.annotations }),
      ownerReferences: [controllerReference(replicaSet, "apps/v1", "ReplicaSet")],
    },
    spec: template.spec,
  };
  try {
    const created = await deps.client.create(PODS, pod);
    deps.pods.written(created);
    const message = `Created pod: ${created.metadata.name}`;
    deps.events.record(replicaSet, "Normal", "SuccessfulCreate", message);
  } catch (error) {
    const message = `Error creating: ${messageOf(error)}`;
    deps.events.record(replicaSet, "Warning", "FailedCreate", message);
    throw error;
  }
}

async function deletePod(
  deps: WorkloadDeps,
  replicaSet: ReplicaSet,
  pod: Pod,
  deleted: Set<string>,
): Promise<void> {
  const { name, namespace, uid } = pod.metadata;
  try {
    await deps.client.delete(PODS, { name, namespace }, uid === undefined ? {} : { uid });
    if (uid !== undefined && deps.pods.get(keyOf(pod))?.metadata.uid === uid) deleted.add(uid);
    deps.events.record(replicaSet, "Normal", "SuccessfulDelete", `Deleted pod: ${name}`);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function writeStatus(
  { client, replicaSets }: WorkloadDeps,
  replicaSet: ReplicaSet,
  status: NonNullable<ReplicaSet["status"]>,
): Promise<void> {
  if (jsonEqual({ ...replicaSet.status, ...status }, replicaSet.status)) return;
  const { name, namespace } = replicaSet.metadata;
  try {
    replicaSets.written(
      await client.patch(
        REPLICA_SETS,
        { name, namespace },
        "merge",
        { status },
        {
          subresource: "status",
        },
      ),
    );
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
