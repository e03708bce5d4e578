/** Pods as a test writes them, with an engine at their address. */
import { once } from "node:events";
import type { Container, Pod, Volume } from "#api/kubernetes.ts";
import { ADAPTER_MOUNT_PATH, ADAPTER_VOLUME, RUNTIME_CONTAINER } from "#api/names.ts";
import { toTimestamp } from "#base/clock.ts";
import { type KubeClient, PODS } from "#kube/client.ts";
import type { EngineName } from "../support/engine-words.ts";
import { type FakeEngine, startFakeEngine } from "../support/fake-engine.ts";

export const ENGINE_PORT = 8000;
/** Long enough for whoever asks for five seconds. */
const STABLE_MS = 60_000;

export interface PodOptions {
  readonly labels?: Readonly<Record<string, string>>;
  /** How long it has been Ready, milliseconds; undefined: it is not. */
  readonly readyForMs?: number | undefined;
  readonly containers?: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly engine?: EngineName;
  /** It was bound to a node: its deletion waits for the kubelet, which is the test. */
  readonly isBound?: boolean;
}

export const BASE_LABELS = {
  "model.aibrix.ai/name": "base",
  "adapter.model.aibrix.ai/enabled": "true",
};

/** An engine and a runtime sidecar that share the adapters' folder. */
export const SIDECAR_POD = {
  containers: ["vllm-openai", RUNTIME_CONTAINER].map((name) => ({
    name,
    image: name,
    volumeMounts: [{ name: ADAPTER_VOLUME, mountPath: ADAPTER_MOUNT_PATH }],
  })),
  volumes: [{ name: ADAPTER_VOLUME, emptyDir: {} }],
} as const satisfies PodOptions;

const ENGINE: Container = { name: "vllm-openai", image: "vllm/vllm-openai:v0.7.1" };

export class TestPod {
  readonly name: string;
  readonly host: string;
  readonly engine: FakeEngine;
  readonly #client: KubeClient;
  readonly #namespace: string;
  #restarts = 0;

  constructor(
    client: KubeClient,
    namespace: string,
    name: string,
    engine: FakeEngine,
    host: string,
  ) {
    this.#client = client;
    this.#namespace = namespace;
    this.name = name;
    this.engine = engine;
    this.host = host;
  }

  async ready(forMs: number | undefined): Promise<void> {
    await this.status({ conditions: [readyCondition(forMs)] });
  }

  /** The container was started again, Ready all the while: the engine in it is a new one. */
  async restartContainer(): Promise<void> {
    this.engine.held.clear();
    this.#restarts++;
    await this.status({ containerStatuses: [containerStatus(this.#restarts, true)] });
  }

  async status(status: Pod["status"] & object): Promise<void> {
    const options = { subresource: "status" as const };
    await this.#client.patch(PODS, this.#reference(), "merge", { status }, options);
  }

  async label(labels: Readonly<Record<string, string | null>>): Promise<void> {
    await this.#client.patch(PODS, this.#reference(), "merge", { metadata: { labels } });
  }

  async delete(options: { gracePeriodSeconds?: number } = {}): Promise<void> {
    await this.#client.delete(PODS, this.#reference(), options);
  }

  /** Nobody listens at the engine's port any more. */
  async refuse(): Promise<void> {
    await this.engine.close();
  }

  /** Somebody does again. */
  async listenAgain(): Promise<void> {
    this.engine.server.listen(ENGINE_PORT, this.host);
    await once(this.engine.server, "listening");
  }

  #reference() {
    return { namespace: this.#namespace, name: this.name };
  }
}

export async function makePod(
  client: KubeClient,
  namespace: string,
  name: string,
  host: string,
  options: PodOptions = {},
): Promise<TestPod> {
  const engine = await startFakeEngine({ name: options.engine, host, port: ENGINE_PORT });
  const pod = new TestPod(client, namespace, name, engine, host);
  const { labels = BASE_LABELS, containers = [ENGINE] } = options;
  await client.create(PODS, {
    metadata: { name, namespace, labels: { ...labels } },
    spec: {
      containers: [...containers],
      volumes: [...(options.volumes ?? [])],
      ...(options.isBound === true ? { nodeName: "node" } : {}),
    },
  });
  const forMs = "readyForMs" in options ? options.readyForMs : STABLE_MS;
  await pod.status({
    phase: "Running",
    podIP: host,
    conditions: [readyCondition(forMs)],
    containerStatuses: [containerStatus(0, forMs !== undefined)],
  });
  return pod;
}

function readyCondition(forMs: number | undefined) {
  return {
    type: "Ready",
    status: forMs === undefined ? ("False" as const) : ("True" as const),
    lastTransitionTime: toTimestamp(Date.now() - (forMs ?? 0)),
  };
}

function containerStatus(restartCount: number, ready: boolean) {
  return {
    name: ENGINE.name,
    image: ENGINE.image ?? "",
    imageID: "",
    ready,
    restartCount,
    containerID: `containerd://engine-${restartCount}`,
    state: { running: { startedAt: toTimestamp(Date.now() - STABLE_MS) } },
  };
}
