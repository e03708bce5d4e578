import type { EndpointSlice, Service } from "#api/kubernetes.ts";
import { LABEL } from "#api/names.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { ENDPOINT_SLICES, isConflict, isNotFound, keyOf } from "#kube/client.ts";
import type { HandlerResult } from "#kube/workqueue.ts";
import { runController, versions, type WorkloadDeps } from "./controller.ts";
import { hasSelector, planSlices, SLICE_MANAGER } from "./endpoint-slice-plan.ts";

/** Keeps the EndpointSlices of Services with a selector. */
export function runEndpointSliceController(deps: WorkloadDeps, signal: AbortSignal): Promise<void> {
  const { services, pods, endpointSlices } = deps;
  return runController(
    deps,
    {
      name: "endpointslice",
      watch: (add) => {
        for (const service of services.list()) add(keyOf(service));
        return [
          services.onChange((before, after) => add(keyOf((after ?? before) as Service))),
          pods.onChange((before, after) => {
            for (const pod of versions(before, after)) {
              for (const service of services.list()) {
                if (service.metadata.namespace !== pod.metadata.namespace) continue;
                const selector = { matchLabels: service.spec.selector };
                if (hasSelector(service) && matchesSelector(selector, pod.metadata.labels)) {
                  add(keyOf(service));
                }
              }
            }
          }),
          endpointSlices.onChange((before, after) => {
            for (const slice of versions(before, after)) {
              if (isOurs(slice)) add(serviceKeyOf(slice));
            }
          }),
        ];
      },
      reconcile: (key) => reconcile(deps, key),
    },
    signal,
  );
}

const isOurs = (slice: EndpointSlice) =>
  slice.metadata.labels?.[LABEL.sliceManagedBy] === SLICE_MANAGER;
const serviceKeyOf = (slice: EndpointSlice) =>
  `${slice.metadata.namespace}/${slice.metadata.labels?.[LABEL.serviceName]}`;

async function reconcile(deps: WorkloadDeps, key: string): Promise<HandlerResult | undefined> {
  const { client, services, pods, endpointSlices } = deps;
  const service = services.get(key);
  const [namespace] = key.split("/");
  const plan = planSlices(
    service,
    pods.list().filter((pod) => pod.metadata.namespace === namespace),
    endpointSlices.list().filter((slice) => isOurs(slice) && serviceKeyOf(slice) === key),
  );
  for (const slice of plan.create) {
    endpointSlices.written(await client.create(ENDPOINT_SLICES, slice));
  }
  for (const slice of plan.update) {
    endpointSlices.written(await client.update(ENDPOINT_SLICES, slice));
  }
  for (const { metadata } of plan.delete) {
    const { name, uid } = metadata;
    try {
      await client.delete(ENDPOINT_SLICES, { name, namespace }, uid === undefined ? {} : { uid });
    } catch (error) {
      // The garbage collector, or another with its name, was there first.
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
  return undefined;
}
