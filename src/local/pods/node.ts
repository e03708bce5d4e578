import { arch, availableParallelism, platform, release, totalmem } from "node:os";
import type { KubeObject, Lease } from "#api/kubernetes.ts";
import { type Clock, toMicroTimestamp, toTimestamp } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import { isConflict, isNotFound, type KubeClient, LEASES, NODES } from "#kube/client.ts";
import type { Log } from "#telemetry/log.ts";

export interface NodeDescription {
  readonly name: string;
  readonly address: string;
  /** Port of the kubelet's HTTP server, where the API server asks for logs and exec. */
  readonly port: number;
  readonly version: string;
}

const LEASE_NAMESPACE = "kube-node-lease";
const LEASE_DURATION_S = 40;
const HEARTBEAT_MS = 10_000;
/** More pods than one machine can carry; the addresses are the true limit. */
const PODS_MAX = 1_000;

/** What this machine has, as a Node states it. */
export function machineCapacity(): Record<string, string> {
  return {
    cpu: String(availableParallelism()),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: String(PODS_MAX),
  };
}

const GO_ARCH: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

function nodeStatus(node: NodeDescription, nowMs: number) {
  const capacity = machineCapacity();
  return {
    capacity,
    allocatable: capacity,
    addresses: [
      { type: "InternalIP", address: node.address },
      { type: "Hostname", address: node.name },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: node.port } },
    conditions: [
      {
        type: "Ready",
        status: "True",
        reason: "KubeletReady",
        message: "kubelet is posting ready status",
        lastHeartbeatTime: toTimestamp(nowMs),
        lastTransitionTime: toTimestamp(nowMs),
      },
    ],
    nodeInfo: {
      architecture: GO_ARCH[arch()] ?? arch(),
      operatingSystem: platform(),
      kernelVersion: release(),
      osImage: `${platform()} ${release()}`,
      containerRuntimeVersion: `loradock://${node.version}`,
      kubeletVersion: node.version,
      kubeProxyVersion: node.version,
      machineID: node.name,
      systemUUID: node.name,
      bootID: node.name,
    },
  };
}

/** Makes the Node say that this machine is here and ready. */
export async function registerNode(
  client: KubeClient,
  node: NodeDescription,
  clock: Clock,
): Promise<void> {
  const { name } = node;
  const labels = {
    "kubernetes.io/hostname": name,
    "kubernetes.io/os": platform(),
    "kubernetes.io/arch": GO_ARCH[arch()] ?? arch(),
  };
  const object: KubeObject = { apiVersion: "v1", kind: "Node", metadata: { name, labels } };
  try {
    await client.create(NODES, object);
  } catch (error) {
    // The Node of an earlier run.
    if (!isConflict(error)) throw error;
  }
  const status = nodeStatus(node, clock.now());
  await client.patch(NODES, { name }, "merge", { status }, { subresource: "status" });
  // There is no node controller to see that the node is ready and to open it for pods.
  await client.patch(NODES, { name }, "merge", { spec: { taints: null } });
}

/** Renews the Node's Lease until `signal` is aborted, as tools that watch nodes expect. */
export async function keepNodeLease(
  client: KubeClient,
  nodeName: string,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const name = { namespace: LEASE_NAMESPACE, name: nodeName };
  for (;;) {
    try {
      const spec = {
        holderIdentity: nodeName,
        leaseDurationSeconds: LEASE_DURATION_S,
        renewTime: toMicroTimestamp(clock.now()),
      };
      try {
        await client.patch(LEASES, name, "merge", { spec }, { signal });
      } catch (error) {
        if (!isNotFound(error)) throw error;
        const lease: Lease = { metadata: name, spec };
        await client.create(LEASES, lease, { signal });
      }
    } catch (error) {
      if (signal.aborted) return;
      log.debug("The node's lease was not renewed", { error: describeError(error) });
    }
    try {
      await clock.sleep(HEARTBEAT_MS, signal);
    } catch {
      return;
    }
  }
}
