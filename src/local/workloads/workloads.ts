import type { WorkloadDeps } from "./controller.ts";
import { runDeploymentController } from "./deployment-controller.ts";
import { runEndpointSliceController } from "./endpoint-slice-controller.ts";
import { runReplicaSetController } from "./replica-set-controller.ts";
import { runServiceProxy } from "./service-proxy.ts";

/**
 * Runs what a cluster's controller manager and its proxies do, as far as one machine needs it:
 * Deployments, ReplicaSets, EndpointSlices and the ports of Services. Ends after `signal`.
 */
export async function runWorkloads(deps: WorkloadDeps, signal: AbortSignal): Promise<void> {
  const { pods, replicaSets, deployments, services, endpointSlices } = deps;
  const informers = [pods, replicaSets, deployments, services, endpointSlices];
  await Promise.all(informers.map((informer) => informer.synced));
  await Promise.all([
    runDeploymentController(deps, signal),
    runReplicaSetController(deps, signal),
    runEndpointSliceController(deps, signal),
    runServiceProxy(deps, signal),
  ]);
}
