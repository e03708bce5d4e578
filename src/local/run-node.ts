import { platform } from "node:os";
import type { KubeObject } from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import {
  CONFIG_MAPS,
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  KubeApiError,
  type KubeClient,
  PODS,
  REPLICA_SETS,
  type Resource,
  SECRETS,
  SERVICES,
} from "#kube/client.ts";
import type { KubeConfig } from "#kube/config.ts";
import { startEventRecorder } from "#kube/events.ts";
import { startInformer } from "#kube/informer.ts";
import { createKubeClient } from "#kube/rest.ts";
import type { Log } from "#telemetry/log.ts";
import { readOrMakeToken } from "./kubelet-token.ts";
import { POD_POOL, SMALL_POD_POOL } from "./pods/addresses.ts";
import type { EngineChoice } from "./pods/engine-choice.ts";
import { startKubelet } from "./pods/kubelet.ts";
import { addressAdvice } from "./pods/pod-addresses.ts";
import { runWorkloads } from "./workloads/workloads.ts";

/** What a pool of pod addresses looks like on this system. */
export const LOCAL_POD_POOL = platform() === "linux" ? POD_POOL : SMALL_POD_POOL;

/** How long a pod's token is good for; this machine's pods hardly live longer. */
const TOKEN_LIFETIME_S = 365 * 24 * 3600;

export interface NodeOptions {
  readonly config: KubeConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** Absolute folder for everything that pods keep. */
  readonly stateDir: string;
  readonly nodeName: string;
  readonly version: string;
  /** Folder of our own entries, `src/main`. */
  readonly entries: string;
  readonly node: string;
  /** Variables that every container gets, such as PATH, HOME and HF_ENDPOINT. */
  readonly defaults: Readonly<Record<string, string>>;
  readonly engine: EngineChoice;
  /** Port for logs and exec on 127.0.0.1; 0 takes a free one, which the Node object tells. */
  readonly port: number;
  /** Holds the bearer token of that port; made when it is not there. */
  readonly tokenFile: string;
}

/**
 * Makes this machine the node of an API server: pods as local processes, and the controllers that a
 * cluster would have. Stops all pods' processes and resolves when `signal` is aborted.
 */
export async function runNode(options: NodeOptions, signal: AbortSignal): Promise<void> {
  const { clock, log, config } = options;
  const client = createKubeClient({ config, clock, userAgent: "loradock-kubelet" });
  // Pods stop after the signal and still have something to say then.
  const caches = new AbortController();
  const mirror = <T extends KubeObject>(resource: Resource<T>) =>
    startInformer(client, resource, {}, clock, log, caches.signal);
  const pods = mirror(PODS);
  const recorder = (component: string) =>
    startEventRecorder(
      { client, clock, log, component, instance: options.nodeName },
      caches.signal,
    );
  const podEvents = recorder("kubelet");
  const workloadEvents = recorder("loradock");
  const advice = await addressAdvice(LOCAL_POD_POOL);
  if (advice !== undefined) log.warn("Pods cannot start yet", { advice });
  try {
    const kubelet = await startKubelet({
      ...options,
      client,
      pods,
      secrets: mirror(SECRETS),
      configMaps: mirror(CONFIG_MAPS),
      events: podEvents,
      pool: LOCAL_POD_POOL,
      podApi: {
        server: config.server,
        ca: config.tls.ca,
        tokenFor: (namespace, account) => podToken(client, config, { namespace, account }),
      },
      server: { port: options.port, token: readOrMakeToken(options.tokenFile) },
    });
    const workloads = {
      client,
      clock,
      log,
      events: workloadEvents,
      pods,
      replicaSets: mirror(REPLICA_SETS),
      deployments: mirror(DEPLOYMENTS),
      services: mirror(SERVICES),
      endpointSlices: mirror(ENDPOINT_SLICES),
    };
    try {
      await runWorkloads(workloads, signal);
    } catch (error) {
      if (!signal.aborted) {
        // Our own failure is no reason to stop pods: the next start takes them over.
        await kubelet.abandon();
        throw error;
      }
    }
    await kubelet.stop();
  } finally {
    caches.abort();
    await Promise.all([podEvents.done, workloadEvents.done]);
    await client.close();
  }
}

interface TokenRequest extends KubeObject {
  spec: { expirationSeconds: number };
  status?: { token?: string };
}

/** A service account's token; where the API server has none to give, pods speak as we do. */
async function podToken(
  client: KubeClient,
  config: KubeConfig,
  { namespace, account }: { namespace: string; account: string },
): Promise<string> {
  const tokens: Resource<TokenRequest> = {
    group: "",
    version: "v1",
    plural: `serviceaccounts/${encodeURIComponent(account)}/token`,
    kind: "TokenRequest",
    namespaced: true,
  };
  try {
    const answer = await client.create(tokens, {
      apiVersion: "authentication.k8s.io/v1",
      metadata: { name: account, namespace },
      spec: { expirationSeconds: TOKEN_LIFETIME_S },
    });
    if (answer.status?.token !== undefined) return answer.status.token;
  } catch (error) {
    const isAbsent = error instanceof KubeApiError && (error.code === 404 || error.code === 405);
    if (!isAbsent) throw error;
  }
  const own = await config.authorization?.();
  return own?.replace(/^Bearer /, "") ?? "";
}
