import { rmSync } from "node:fs";
import type { ConfigMap, KubeObject, Pod, Secret } from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import { describeError } from "#base/network-error.ts";
import { isConflict, isNotFound, type KubeClient, type Resource } from "#kube/client.ts";
import type { EventRecorder } from "#kube/events.ts";
import type { Informer } from "#kube/informer.ts";
import { WorkQueue } from "#kube/workqueue.ts";
import type { Log } from "#telemetry/log.ts";
import type { AddressPool } from "./addresses.ts";
import { writePrograms } from "./container-shim.ts";
import type { EngineChoice } from "./engine-choice.ts";
import { ENGINE_PROGRAM } from "./images.ts";
import { type KubeletServer, startKubeletServer } from "./kubelet-server.ts";
import { endPodProcesses, killStrays } from "./leftovers.ts";
import { keepNodeLease, machineCapacity, registerNode } from "./node.ts";
import { PodAddresses } from "./pod-addresses.ts";
import { type PodRecord, podFolder, podUids, readPodRecords } from "./pod-folder.ts";
import { PodWorker, type PodWorkerDeps } from "./pod-worker.ts";
import { RESTART_BACKOFF, type RestartBackoff } from "./restart-backoff.ts";
import { lockState } from "./state-lock.ts";

/** Where pods find the API server. */
export interface PodApiAccess {
  readonly server: string;
  /** PEM of the authority that signed the server's certificate. */
  readonly ca?: string | undefined;
  readonly tokenFor: (namespace: string, serviceAccount: string) => Promise<string>;
}

export interface KubeletOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: EventRecorder;
  readonly pods: Informer<Pod>;
  readonly secrets: Informer<Secret>;
  readonly configMaps: Informer<ConfigMap>;
  /** Absolute; everything that the kubelet keeps lies below it. */
  readonly stateDir: string;
  readonly nodeName: string;
  readonly version: string;
  readonly pool: AddressPool;
  /** Folder of our own entries, `src/main`. */
  readonly entries: string;
  /** The Node binary that runs them. */
  readonly node: string;
  /** Variables that every container gets, the machine's own such as PATH and HOME included. */
  readonly defaults: Readonly<Record<string, string>>;
  readonly engine: EngineChoice;
  readonly podApi: PodApiAccess | undefined;
  readonly server: { readonly port: number; readonly token: string };
  readonly backoff?: RestartBackoff;
}

export interface Kubelet {
  /** Where the API server asks for logs and exec. */
  readonly port: number;
  /** Stops all pods' processes and then the kubelet. The pods' objects stay. */
  stop(): Promise<void>;
  /** Ends the kubelet and leaves the processes running, for a next one to adopt. */
  abandon(): Promise<void>;
}

interface Binding extends KubeObject {
  target: { apiVersion: string; kind: string; name: string };
}

const BINDINGS: Resource<Binding> = {
  group: "",
  version: "v1",
  plural: "bindings",
  kind: "Binding",
  namespaced: true,
};
/** The longest pause after failures: the API server is on this machine and soon back. */
const SCHEDULE_RETRY_MAX_MS = 5_000;
const HOST_ADDRESS = "127.0.0.1";

/**
 * Runs the pods of this machine as local processes. Resolves when the machine is registered, what
 * an earlier kubelet left is adopted or gone, and all pods of the node are being worked on.
 * Throws a `UserError` when another kubelet uses the state folder.
 */
export async function startKubelet(options: KubeletOptions): Promise<Kubelet> {
  const unlock = lockState(options.stateDir);
  let kubelet: LocalKubelet | undefined;
  try {
    kubelet = new LocalKubelet(options);
    await kubelet.start();
  } catch (error) {
    await kubelet?.abandon();
    unlock();
    throw error;
  }
  const running = kubelet;
  return {
    port: running.port,
    stop: () => running.stop().finally(unlock),
    abandon: () => running.abandon().finally(unlock),
  };
}

class LocalKubelet {
  readonly #options: KubeletOptions;
  readonly #deps: PodWorkerDeps;
  readonly #addresses: PodAddresses;
  readonly #workers = new Map<string, PodWorker>();
  /** Pods that we are done with while their objects are still there, kept by somebody's finalizer. */
  readonly #finished = new Set<string>();
  readonly #records = new Map<string, PodRecord>();
  readonly #queue: WorkQueue;
  readonly #life = new AbortController();
  #server: KubeletServer | undefined;
  #background: Promise<unknown>[] = [];

  constructor(options: KubeletOptions) {
    const { stateDir, pool, engine, clock } = options;
    this.#options = options;
    this.#addresses = new PodAddresses(pool, stateDir);
    this.#queue = new WorkQueue({ clock, backoffMaxMs: SCHEDULE_RETRY_MAX_MS });
    const programs = writePrograms({
      stateDir,
      entries: options.entries,
      node: options.node,
      without: engine.from === "path" ? [ENGINE_PROGRAM] : [],
    });
    const what =
      engine.from === "path" ? "real vLLM" : "the built-in engine with the bundled tiny model";
    this.#deps = {
      ...options,
      programs,
      hostAddress: HOST_ADDRESS,
      allocatable: machineCapacity(),
      engineNote: `${what} (${engine.why})`,
      backoff: options.backoff ?? RESTART_BACKOFF,
      kubeconfigFor: async (namespace, account) => {
        const { podApi } = options;
        if (podApi === undefined) return undefined;
        return podKubeconfig(podApi, namespace, await podApi.tokenFor(namespace, account));
      },
    };
  }

  get port(): number {
    return this.#server?.port ?? 0;
  }

  async start(): Promise<void> {
    const { client, clock, log, pods, secrets, configMaps, nodeName, version } = this.#options;
    await Promise.all([pods.synced, secrets.synced, configMaps.synced]);
    this.#server = await startKubeletServer({
      host: HOST_ADDRESS,
      ...this.#options.server,
      clock,
      log,
      find: (namespace, name) => this.#find(namespace, name),
    });
    const node = { name: nodeName, address: HOST_ADDRESS, port: this.port, version };
    await registerNode(client, node, clock);
    await this.#takeOver();
    const { signal } = this.#life;
    const unsubscribe = [
      pods.onChange((before, after) => this.#podChanged(before, after)),
      secrets.onChange((before, after) => this.#dataChanged(before ?? after)),
      configMaps.onChange((before, after) => this.#dataChanged(before ?? after)),
    ];
    signal.addEventListener("abort", () => {
      for (const end of unsubscribe) end();
    });
    for (const pod of pods.list()) this.#podChanged(undefined, pod);
    this.#background = [
      keepNodeLease(client, nodeName, clock, log, signal),
      this.#queue.run(
        1,
        (key) => this.#schedule(key),
        (key, error) =>
          log.warn("Pod was not scheduled", { pod: key, error: describeError(error) }),
        signal,
      ),
    ];
    log.info("Kubelet is up", { node: nodeName, pods: this.#workers.size, port: this.port });
  }

  async stop(): Promise<void> {
    this.#life.abort();
    const workers = [...this.#workers.values()];
    for (const worker of workers) worker.shutDown();
    await Promise.all(workers.map((worker) => worker.done));
    await this.#end();
  }

  async abandon(): Promise<void> {
    this.#life.abort();
    const workers = [...this.#workers.values()];
    for (const worker of workers) worker.abandon();
    await Promise.all(workers.map((worker) => worker.done));
    await this.#end();
  }

  async #end(): Promise<void> {
    await this.#server?.close();
    await Promise.all(this.#background);
  }

  /** Ends what an earlier kubelet left of pods that are gone; the others are adopted by their workers. */
  async #takeOver(): Promise<void> {
    const { stateDir, pods, nodeName, clock, log } = this.#options;
    const wanted = new Set(
      pods
        .list()
        .filter((pod) => pod.spec.nodeName === nodeName)
        .map((pod) => pod.metadata.uid ?? ""),
    );
    for (const record of readPodRecords(stateDir)) {
      if (!wanted.has(record.uid)) continue;
      this.#records.set(record.uid, record);
      this.#addresses.hold(record.uid, record.address);
    }
    for (const uid of podUids(stateDir)) {
      if (wanted.has(uid)) continue;
      const folder = podFolder(stateDir, uid);
      log.info("Ending what was left of a pod that is gone", { uid });
      await endPodProcesses(folder, 0, clock);
      rmSync(folder, { recursive: true, force: true });
    }
    // A process whose folder is gone can only be found by its mark.
    killStrays(stateDir, (uid) => wanted.has(uid));
  }

  #find(namespace: string, name: string): PodWorker | undefined {
    const uid = this.#options.pods.get(`${namespace}/${name}`)?.metadata.uid;
    return uid === undefined ? undefined : this.#workers.get(uid);
  }

  #podChanged(before: Pod | undefined, after: Pod | undefined): void {
    for (const uid of new Set([before?.metadata.uid, after?.metadata.uid])) {
      if (uid !== undefined) this.#workers.get(uid)?.wake();
    }
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid) {
      this.#finished.delete(before.metadata.uid ?? "");
    }
    if (after === undefined) return;
    const { metadata, spec } = after;
    if (spec.nodeName === this.#options.nodeName) this.#ensureWorker(after);
    else if (!spec.nodeName && metadata.deletionTimestamp === undefined) {
      this.#queue.add(`${metadata.namespace}/${metadata.name}`);
    }
  }

  #dataChanged(object: KubeObject | undefined): void {
    const namespace = object?.metadata.namespace;
    for (const worker of this.#workers.values()) {
      if (worker.pod.metadata.namespace === namespace) worker.refresh();
    }
  }

  #ensureWorker(pod: Pod): void {
    const { uid, namespace, name } = pod.metadata;
    if (uid === undefined || namespace === undefined) return;
    if (this.#workers.has(uid) || this.#finished.has(uid) || this.#life.signal.aborted) return;
    let record = this.#records.get(uid);
    if (record === undefined) {
      try {
        const address = this.#addresses.take(uid, pod.spec.hostNetwork === true);
        record = { uid, namespace, name, address };
      } catch (error) {
        this.#options.events.record(pod, "Warning", "FailedCreatePodSandBox", messageOf(error));
        return;
      }
    }
    const worker = new PodWorker(this.#deps, pod, record);
    this.#workers.set(uid, worker);
    const forget = () => {
      this.#workers.delete(uid);
      this.#records.delete(uid);
      this.#addresses.release(uid);
      const current = this.#options.pods.get(`${namespace}/${name}`);
      if (current?.metadata.uid === uid) this.#finished.add(uid);
    };
    worker.done.then(forget, (error: unknown) => {
      this.#options.log.error("Pod worker failed", { pod: name, error: describeError(error) });
      forget();
    });
  }

  /** Every pod that nobody else takes runs here: there is one node. */
  async #schedule(key: string): Promise<undefined> {
    const { client, events, nodeName } = this.#options;
    const pod = this.#options.pods.get(key);
    if (pod === undefined || pod.spec.nodeName) return;
    const { namespace, name, uid } = pod.metadata;
    const binding: Binding = {
      metadata: { name, ...(namespace && { namespace }), ...(uid && { uid }) },
      target: { apiVersion: "v1", kind: "Node", name: nodeName },
    };
    try {
      await client.create(BINDINGS, binding);
    } catch (error) {
      // It is gone, another pod has its name, or it is bound already.
      if (isNotFound(error) || isConflict(error)) return;
      throw error;
    }
    const message = `Successfully assigned ${key} to ${nodeName}`;
    events.record(pod, "Normal", "Scheduled", message);
  }
}

/** A kubeconfig for a pod, in JSON, which is YAML. */
function podKubeconfig(api: PodApiAccess, namespace: string, token: string): string {
  const ca =
    api.ca === undefined
      ? {}
      : { "certificate-authority-data": Buffer.from(api.ca).toString("base64") };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "loradock", cluster: { server: api.server, ...ca } }],
    users: [{ name: "pod", user: { token } }],
    contexts: [{ name: "pod", context: { cluster: "loradock", user: "pod", namespace } }],
    "current-context": "pod",
  });
}
