import type { KubeObject, Pod } from "#api/kubernetes.ts";
import { fromTimestamp } from "#base/clock.ts";

/** A pod that counts towards its owner's replicas: neither over nor on its way out. */
export function isActive(pod: Pod): boolean {
  const phase = pod.status?.phase;
  return (
    phase !== "Succeeded" && phase !== "Failed" && pod.metadata.deletionTimestamp === undefined
  );
}

const readyCondition = (pod: Pod) =>
  pod.status?.conditions?.find((condition) => condition.type === "Ready");

export function isReady(pod: Pod): boolean {
  return readyCondition(pod)?.status === "True";
}

/** When a ready pod has been ready for `minReadySeconds`, ms since the epoch; undefined when it is not ready. */
export function availableAtMs(pod: Pod, minReadySeconds: number): number | undefined {
  if (!isReady(pod)) return undefined;
  if (minReadySeconds <= 0) return 0;
  const since = fromTimestamp(readyCondition(pod)?.lastTransitionTime);
  return since === undefined ? undefined : since + minReadySeconds * 1000;
}

/** True when `owner` is the object's controller. */
export function isControlledBy(object: KubeObject, owner: KubeObject): boolean {
  return controllerOf(object)?.uid === owner.metadata.uid;
}

/** The reference to the controller of an object. */
export function controllerOf(object: KubeObject) {
  return object.metadata.ownerReferences?.find((reference) => reference.controller === true);
}

/** The reference that makes `owner` the controller of another object. */
export function controllerReference(owner: KubeObject, apiVersion: string, kind: string) {
  return {
    apiVersion,
    kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? "",
    controller: true,
    blockOwnerDeletion: true,
  };
}
