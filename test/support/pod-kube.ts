import { randomUUID } from "node:crypto";
import type { KubeObject, Pod } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import { type KubeClient, type ObjectName, PODS, type Resource } from "#kube/client.ts";
import { MemoryKube } from "./memory-kube.ts";

/** Stands for the kubelet's word in `MemoryKube`, which lets only objects with finalizers linger. */
const KUBELET = ["test/kubelet"];

/** The API in memory with what kubelets and workload controllers need beyond it: generated names, binding, graceful deletion. */
export class PodKube extends MemoryKube {
  #serial = 0;

  override async create<T extends KubeObject>(resource: Resource<T>, object: T): Promise<T> {
    if (resource.plural === "bindings") {
      const { target } = object as T & { target: { name: string } };
      await this.patch(PODS, object.metadata, "merge", { spec: { nodeName: target.name } });
      return object;
    }
    const generated = () =>
      `${object.metadata.generateName}${(this.#serial++).toString(36).padStart(5, "0")}`;
    const metadata = {
      ...object.metadata,
      name: (object.metadata.name as string | undefined) ?? generated(),
      uid: randomUUID(),
      creationTimestamp: toTimestamp(Date.now()),
    };
    return await super.create(resource, { ...object, metadata });
  }

  override async delete<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    options: Parameters<KubeClient["delete"]>[2] = {},
  ): Promise<void> {
    const object = await this.get(resource, name);
    const { spec } = object as KubeObject as Pod;
    if (resource.plural !== PODS.plural || !spec.nodeName) {
      await super.delete(resource, name);
    } else if (options.gracePeriodSeconds === 0) {
      await this.patch(resource, name, "merge", { metadata: { finalizers: null } });
      if (object.metadata.deletionTimestamp === undefined) await super.delete(resource, name);
    } else if (object.metadata.deletionTimestamp === undefined) {
      const metadata = {
        finalizers: KUBELET,
        deletionTimestamp: toTimestamp(Date.now()),
        deletionGracePeriodSeconds:
          options.gracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30,
      };
      await this.patch(resource, name, "merge", { metadata });
    }
  }
}
