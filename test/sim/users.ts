/** People: they make, change and delete adapters, and now and then lay hands on what is not theirs. */

import type { KubeObject } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { API_VERSION, KIND, LABEL } from "#api/names.ts";
import {
  ENDPOINT_SLICES,
  KubeApiError,
  MODEL_ADAPTERS,
  type Resource,
  SECRETS,
  SERVICES,
} from "#kube/client.ts";
import type { ApiServer } from "./api-server.ts";
import type { Dice } from "./dice.ts";
import { type Kubelet, NAMESPACE } from "./kubelet.ts";

/** Every key has it; it must never be told. */
export const SECRET_MARK = "sk-hush";
export const ENGINE_KEY = `${SECRET_MARK}-1`;
const NAMES = ["lora-a", "lora-b", "lora-c", "lora-d"];

export interface UsersDeps {
  readonly dice: Dice;
  readonly server: ApiServer;
  readonly kubelet: Kubelet;
  readonly usesSidecar: boolean;
  /** The engines ask for a key. */
  readonly usesKeys: boolean;
}

type Spec = ModelAdapter["spec"];

export class Users {
  readonly #deps: UsersDeps;
  #artifacts = 0;
  #hands = 0;
  #secrets = 0;
  /** Secrets that are named, and not there yet. */
  readonly #owed: string[] = [];

  constructor(deps: UsersDeps) {
    this.#deps = deps;
  }

  createAdapter(): void {
    const { dice, server } = this.#deps;
    const free = NAMES.filter((name) => this.#adapter(name) === undefined);
    const name = dice.maybe(free);
    if (name === undefined) return;
    const object: ModelAdapter = {
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name, namespace: NAMESPACE },
      spec: this.#spec(),
    };
    this.#try(() => server.create(MODEL_ADAPTERS, object, "user"));
  }

  deleteAdapter(): void {
    const adapter = this.#some();
    if (adapter === undefined) return;
    const name = { namespace: NAMESPACE, name: adapter.metadata.name };
    this.#try(() => this.#deps.server.delete(MODEL_ADAPTERS, name, "user"));
  }

  changeAdapter(): void {
    const { dice } = this.#deps;
    const adapter = this.#some();
    if (adapter === undefined) return;
    const change = dice.pick<() => Partial<Record<keyof Spec, unknown>>>([
      () => ({ artifactURL: this.#artifact() }),
      () => ({ artifactURL: this.#artifact() }),
      () => ({ replicas: adapter.spec.replicas === 1 ? null : 1 }),
      () => ({ podSelector: this.#selector() }),
      () => ({ schedulerName: dice.pick(["default", "least-adapters"]) }),
      () => ({ additionalConfig: { rank: String(dice.int(8, 32)) } }),
    ])();
    this.#patch(MODEL_ADAPTERS, adapter.metadata.name, { spec: change });
  }

  /** Bumps the version of an adapter, as many tools do at any time. */
  annotate(): void {
    const adapter = this.#some();
    if (adapter === undefined) return;
    const note = `${this.#artifacts}-${this.#deps.dice.int(0, 1e6)}`;
    const metadata = { annotations: { "example.com/note": note } };
    this.#patch(MODEL_ADAPTERS, adapter.metadata.name, { metadata });
  }

  /** Loads, replaces or unloads something on an engine by hand. */
  layHands(): void {
    const { dice, kubelet } = this.#deps;
    const pod = dice.maybe(kubelet.present().filter(({ engine }) => !engine.isDown));
    if (pod === undefined) return;
    const { engine } = pod;
    const held = [...engine.held.keys()].filter((name) => !name.startsWith("hand-"));
    const action = dice.int(0, 5);
    if (action <= 2) {
      const name = dice.maybe(held);
      if (name !== undefined) engine.set(name, undefined);
    } else if (action <= 4) {
      const name = `hand-${this.#hands++ % 3}`;
      engine.set(name, { path: `/hand/${name}`, content: "hand", by: "hand" });
    } else {
      const name = dice.pick(NAMES);
      const path = `/hand/${this.#hands++}/${name}x`;
      engine.set(name, { path, content: path, by: "hand" });
    }
  }

  meddle(): void {
    const { dice, server } = this.#deps;
    const name = dice.pick(NAMES);
    const at = { namespace: NAMESPACE, name };
    const actions: (() => void)[] = [
      () => server.delete(SERVICES, at, "user"),
      () => server.delete(ENDPOINT_SLICES, at, "user"),
      () =>
        this.#patch(SERVICES, name, { spec: { ports: [{ name: "x", port: 1, protocol: "TCP" }] } }),
      () => this.#patch(SERVICES, name, { spec: { selector: { app: "x" } } }),
      () => this.#patch(SERVICES, name, { metadata: { labels: { [LABEL.modelName]: "x" } } }),
      () => this.#patch(ENDPOINT_SLICES, name, { endpoints: [] }),
      () => this.#patch(ENDPOINT_SLICES, name, { endpoints: [this.#endpoint()] }),
      () => this.#patch(ENDPOINT_SLICES, name, { ports: [{ name: "x", port: 1 }] }),
      () => this.#patch(ENDPOINT_SLICES, name, { metadata: { labels: null } }),
      () => this.foreignService(),
    ];
    this.#try(dice.pick(actions));
  }

  foreignService(): void {
    const { dice, server } = this.#deps;
    const metadata = { name: dice.pick(NAMES), namespace: NAMESPACE, labels: { app: "theirs" } };
    const spec = { clusterIP: "10.1.1.1", ports: [{ port: 80, protocol: "TCP" }] };
    const service = { apiVersion: "v1", kind: "Service", metadata, spec };
    this.#try(() => server.create(SERVICES, service, "user"));
  }

  /** A Secret that adapters name comes at last. */
  bringSecret(): void {
    const name = this.#owed.shift();
    if (name === undefined) return;
    const data = { key: Buffer.from(ENGINE_KEY).toString("base64") };
    const secret = { metadata: { name, namespace: NAMESPACE }, data };
    this.#try(() => this.#deps.server.create(SECRETS, secret, "user"));
  }

  /** Takes away what stands in the way of adapters. */
  tidy(): void {
    const { server } = this.#deps;
    while (this.#owed.length > 0) this.bringSecret();
    for (const service of server.list(SERVICES)) {
      if (service.metadata.labels?.["app"] !== "theirs") continue;
      this.#try(() => server.delete(SERVICES, service.metadata, "user"));
    }
  }

  #spec(): Spec {
    const { dice, usesKeys } = this.#deps;
    return {
      baseModel: "base",
      podSelector: this.#selector(),
      schedulerName: dice.pick(["default", "least-adapters"]),
      artifactURL: this.#artifact(),
      ...(dice.chance(0.4) ? { replicas: 1 as const } : {}),
      ...(usesKeys ? this.#key() : {}),
    };
  }

  #key(): Partial<Spec> {
    const { dice } = this.#deps;
    if (dice.chance(0.5)) return { additionalConfig: { "api-key": ENGINE_KEY } };
    const name = `secret-${this.#secrets++}`;
    this.#owed.push(name);
    if (dice.chance(0.5)) this.bringSecret();
    return { apiKeySecretRef: { name, key: "key" } };
  }

  #selector(): Spec["podSelector"] {
    const { dice } = this.#deps;
    const matchLabels = { [LABEL.modelName]: "base" };
    return dice.pick<Spec["podSelector"]>([
      { matchLabels },
      { matchLabels },
      { matchLabels: { ...matchLabels, group: "a" } },
      {},
      { matchExpressions: [{ key: "group", operator: "NotIn", values: ["b"] }] },
    ]);
  }

  #artifact(): string {
    const { dice, usesSidecar } = this.#deps;
    const id = `v${this.#artifacts++}`;
    const kinds = usesSidecar
      ? [`s3://bucket/${id}`, `huggingface://org/${id}`, `/mnt/${id}`]
      : [`huggingface://org/${id}`, `/mnt/${id}`, `https://host/${id}`];
    return dice.pick(kinds);
  }

  #endpoint() {
    const { dice, kubelet } = this.#deps;
    const pod = dice.maybe(kubelet.present());
    const target = { kind: "Pod", name: pod?.name ?? "nobody", namespace: NAMESPACE };
    return { addresses: [pod?.ip ?? "10.9.9.9"], targetRef: target };
  }

  #some(): ModelAdapter | undefined {
    return this.#deps.dice.maybe(this.#deps.server.list(MODEL_ADAPTERS));
  }

  #adapter(name: string): ModelAdapter | undefined {
    return this.#deps.server.find(MODEL_ADAPTERS, { namespace: NAMESPACE, name });
  }

  #patch<T extends KubeObject>(resource: Resource<T>, name: string, patch: object): void {
    const at = { namespace: NAMESPACE, name };
    this.#try(() => this.#deps.server.patch(resource, at, patch, undefined, "user"));
  }

  /** People are refused now and then. */
  #try(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof KubeApiError)) throw error;
    }
  }
}
