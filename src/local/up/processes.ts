import { join } from "node:path";
import { Agent, request } from "undici";
import type { KubeObject } from "#api/kubernetes.ts";
import { fromTimestamp } from "#base/clock.ts";
import { type KubeClient, NODES } from "#kube/client.ts";
import type { KubeConfig } from "#kube/config.ts";
import type { SupervisedProcess } from "../supervise.ts";
import { HOST, NODE_NAME, type UpSettings } from "./settings.ts";

/** The kubelet first stops all pods, which may take as long as they are given. */
const KUBELET_GRACE_MS = 45_000;
const API_GRACE_MS = 10_000;
const PROBE_TIMEOUT_MS = 2_000;

export const logFile = (stateDir: string, name: string) => join(stateDir, "logs", `${name}.log`);
export const kubeconfigFile = (stateDir: string) => join(stateDir, "kubeconfig");

interface Program {
  readonly settings: UpSettings;
  /** Folder of our own entries, `src/main`. */
  readonly entries: string;
  /** The Node binary that runs them. */
  readonly node: string;
  readonly env: Readonly<Record<string, string>>;
}

/** The embedded Kubernetes API as a process. */
export function apiServerProcess(
  { settings, entries, node, env }: Program,
  ready: SupervisedProcess["ready"],
): SupervisedProcess {
  const { stateDir, apiPort, logFormat } = settings;
  return {
    name: "Kubernetes API",
    command: node,
    args: [
      join(entries, "apiserver.ts"),
      ...["--state-dir", stateDir, "--host", HOST, "--port", String(apiPort)],
      ...["--with-parent", "--log-format", logFormat],
    ],
    env,
    logFile: logFile(stateDir, "apiserver"),
    stopGraceMs: API_GRACE_MS,
    ready,
  };
}

/** The node of this machine as a process. */
export function kubeletProcess(
  { settings, entries, node, env }: Program,
  ready: SupervisedProcess["ready"],
): SupervisedProcess {
  const { stateDir, hubPort, engine, logFormat } = settings;
  return {
    name: "kubelet",
    command: node,
    args: [
      join(entries, "kubelet.ts"),
      ...["--state-dir", stateDir, "--kubeconfig", kubeconfigFile(stateDir)],
      ...["--node-name", NODE_NAME, "--engine", engine],
      // Sidecars and engines fetch from the hub of this machine instead of the Internet.
      ...["--env", `HF_ENDPOINT=http://${HOST}:${hubPort}`],
      ...["--with-parent", "--log-format", logFormat],
    ],
    env,
    logFile: logFile(stateDir, "kubelet"),
    stopGraceMs: KUBELET_GRACE_MS,
    ready,
  };
}

/** True when the API server at `config` says that it can be used. */
export async function isApiReady(config: KubeConfig, signal: AbortSignal): Promise<boolean> {
  const { ca } = config.tls;
  const agent = new Agent({ connect: ca === undefined ? {} : { ca } });
  try {
    const answer = await request(`${config.server}/readyz`, {
      dispatcher: agent,
      signal: AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
    });
    await answer.body.dump();
    return answer.statusCode === 200;
  } catch {
    return false;
  } finally {
    await agent.destroy();
  }
}

interface Node extends KubeObject {
  status?: { conditions?: { type: string; status: string; lastHeartbeatTime?: string }[] };
}

/** True when a kubelet has said since `sinceMs` that the node is ready. Pure. */
export function isNodeReadySince(node: Node, sinceMs: number): boolean {
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  const beatMs = fromTimestamp(ready?.lastHeartbeatTime) ?? 0;
  // Conditions know only whole seconds.
  return ready?.status === "True" && beatMs >= Math.floor(sinceMs / 1000) * 1000;
}

export const getNode = (client: KubeClient, signal: AbortSignal): Promise<Node> =>
  client.get(NODES, { name: NODE_NAME }, signal);
