/** People: they make, change and delete adapters, and now and then lay hands on what is not theirs. */

import type { KubeObject } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { API_KEY_CONFIG, API_VERSION, KIND, LABEL } from "#api/names.ts";
import {
  ENDPOINT_SLICES,
  KubeApiError,
  MODEL_ADAPTERS,
  type ObjectName,
  type Resource,
  SECRETS,
  SERVICES,
} from "#kube/client.ts";
import type { ApiServer } from "./api-server.ts";
import type { Dice } from "./dice.ts";
import type { Edition } from "./edition.ts";
import { type Kubelet, NAMESPACE } from "./kubelet.ts";
import { GUARDED, type Store } from "./sim-sidecar.ts";

/** Every key has it; it must never be told. */
export const SECRET_MARK = "sk-hush";
export const ENGINE_KEY = `${SECRET_MARK}-1`;
const ENGINE_SECRET = "secret-";
const STORE_SECRET = "store-";
const NAMES = ["lora-a", "lora-b", "lora-c", "lora-d"];

export interface UsersDeps {
  readonly dice: Dice;
  readonly server: ApiServer;
  readonly kubelet: Kubelet;
  readonly usesSidecar: boolean;
  /** Where there are adapters; more than one have the same names. */
  readonly namespaces: readonly string[];
  readonly edition: Edition;
  /** The engines ask for a key. */
  readonly usesKeys: boolean;
  readonly store: Store;
}

type Spec = ModelAdapter["spec"];

export class Users {
  readonly #deps: UsersDeps;
  #artifacts = 0;
  #hands = 0;
  #secrets = 0;
  #keys = 1;
  #engineKey = ENGINE_KEY;
  /** Secrets that are named, and not there yet. */
  readonly #owed: { readonly namespace: string; readonly name: string }[] = [];

  constructor(deps: UsersDeps) {
    this.#deps = deps;
  }

  createAdapter(): void {
    const { dice, server } = this.#deps;
    const namespace = this.#namespace();
    const free = NAMES.filter(
      (name) => server.find(MODEL_ADAPTERS, { namespace, name }) === undefined,
    );
    const name = dice.maybe(free);
    if (name === undefined) return;
    const object: ModelAdapter = {
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name, namespace },
      spec: this.#spec(namespace),
    };
    this.#try(() => server.create(MODEL_ADAPTERS, object, "user"));
  }

  deleteAdapter(): void {
    const adapter = this.#some();
    if (adapter === undefined) return;
    this.#try(() => this.#deps.server.delete(MODEL_ADAPTERS, adapter.metadata, "user"));
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
    this.#patch(MODEL_ADAPTERS, adapter.metadata, { spec: change });
  }

  /** Bumps the version of an adapter, as many tools do at any time. */
  annotate(): void {
    const adapter = this.#some();
    if (adapter === undefined) return;
    const note = `${this.#artifacts}-${this.#deps.dice.int(0, 1e6)}`;
    const metadata = { annotations: { "example.com/note": note } };
    this.#patch(MODEL_ADAPTERS, adapter.metadata, { metadata });
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
    const at = { namespace: this.#namespace(), name };
    const actions: (() => void)[] = [
      () => server.delete(SERVICES, at, "user"),
      () => server.delete(ENDPOINT_SLICES, at, "user"),
      () =>
        this.#patch(SERVICES, at, { spec: { ports: [{ name: "x", port: 1, protocol: "TCP" }] } }),
      () => this.#patch(SERVICES, at, { spec: { selector: { app: "x" } } }),
      () => this.#patch(SERVICES, at, { metadata: { labels: { [LABEL.modelName]: "x" } } }),
      () => this.#patch(ENDPOINT_SLICES, at, { endpoints: [] }),
      () => this.#patch(ENDPOINT_SLICES, at, { endpoints: [this.#endpoint()] }),
      () => this.#patch(ENDPOINT_SLICES, at, { ports: [{ name: "x", port: 1 }] }),
      () => this.#patch(ENDPOINT_SLICES, at, { metadata: { labels: null } }),
      () => this.foreignService(),
    ];
    this.#try(dice.pick(actions));
  }

  foreignService(): void {
    const { dice, server } = this.#deps;
    const name = dice.pick(NAMES);
    const metadata = { name, namespace: this.#namespace(), labels: { app: "theirs" } };
    const spec = { clusterIP: "10.1.1.1", ports: [{ port: 80, protocol: "TCP" }] };
    const service = { apiVersion: "v1", kind: "Service", metadata, spec };
    this.#try(() => server.create(SERVICES, service, "user"));
  }

  /** A Secret that adapters name comes at last. */
  bringSecret(): void {
    const metadata = this.#owed.shift();
    if (metadata === undefined) return;
    const secret = { metadata, data: this.#dataOf(metadata.name) };
    this.#try(() => this.#deps.server.create(SECRETS, secret, "user"));
  }

  /** A Secret is gone, and comes again when others are brought. */
  dropSecret(): void {
    const { dice, server } = this.#deps;
    const secret = dice.maybe(server.list(SECRETS));
    if (secret === undefined) return;
    const { namespace = NAMESPACE, name } = secret.metadata;
    this.#try(() => server.delete(SECRETS, secret.metadata, "user"));
    this.#owed.push({ namespace, name });
  }

  /** Engines get another key, each with a restart; returns the steps, which are taken in any order. */
  changeEngineKey(): (() => void)[] {
    const { dice, kubelet, server } = this.#deps;
    this.#engineKey = this.#newKey();
    const restarts = kubelet.present().map((pod) => () => {
      if (pod.isGone || pod.engine.apiKey === undefined) return;
      pod.engine.apiKey = this.#engineKey;
      kubelet.restart(pod, dice.chance(0.5));
    });
    const clear = server
      .list(MODEL_ADAPTERS)
      .filter(({ spec }) => spec.additionalConfig?.[API_KEY_CONFIG] !== undefined)
      .map(({ metadata }) => () => {
        const additionalConfig = { [API_KEY_CONFIG]: this.#engineKey };
        this.#patch(MODEL_ADAPTERS, metadata, { spec: { additionalConfig } });
      });
    return [...restarts, ...clear, ...this.#secretChanges(ENGINE_SECRET)];
  }

  /** The store takes another key from now on; returns the steps that make it known. */
  changeStoreKey(): (() => void)[] {
    this.#deps.store.key = this.#newKey();
    return this.#secretChanges(STORE_SECRET);
  }

  #newKey(): string {
    return `${SECRET_MARK}-${++this.#keys}`;
  }

  #secretChanges(prefix: string): (() => void)[] {
    return this.#deps.server
      .list(SECRETS)
      .filter(({ metadata }) => metadata.name.startsWith(prefix))
      .map(({ metadata }) => () => {
        this.#patch(SECRETS, metadata, { data: this.#dataOf(metadata.name) });
      });
  }

  /** What a Secret holds that is right now. */
  #dataOf(name: string): Record<string, string> {
    const isStore = name.startsWith(STORE_SECRET);
    const key = isStore ? this.#deps.store.key : this.#engineKey;
    return { [isStore ? "token" : "key"]: Buffer.from(key).toString("base64") };
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

  #namespace(): string {
    const { dice, namespaces } = this.#deps;
    return namespaces.length === 1 ? NAMESPACE : dice.pick(namespaces);
  }

  #spec(namespace: string): Spec {
    const { dice, edition, usesKeys, usesSidecar } = this.#deps;
    return {
      baseModel: "base",
      podSelector: this.#selector(),
      schedulerName: dice.pick(["default", "least-adapters"]),
      artifactURL: this.#artifact(),
      ...(dice.chance(0.4) ? { replicas: 1 as const } : {}),
      ...(usesKeys ? this.#key(namespace) : {}),
      ...(edition > 1 && usesSidecar && dice.chance(0.3) ? this.#guarded(namespace) : {}),
    };
  }

  #guarded(namespace: string): Partial<Spec> {
    const artifactURL = `${GUARDED}v${this.#artifacts++}`;
    return { artifactURL, credentialsSecretRef: { name: this.#owe(namespace, STORE_SECRET) } };
  }

  /** A Secret that is named, and comes now or later. */
  #owe(namespace: string, prefix: string): string {
    const name = `${prefix}${this.#secrets++}`;
    this.#owed.push({ namespace, name });
    if (this.#deps.dice.chance(0.5)) this.bringSecret();
    return name;
  }

  #key(namespace: string): Partial<Spec> {
    const { dice } = this.#deps;
    if (dice.chance(0.5)) return { additionalConfig: { [API_KEY_CONFIG]: this.#engineKey } };
    return { apiKeySecretRef: { name: this.#owe(namespace, ENGINE_SECRET), key: "key" } };
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
    const { name = "nobody", namespace = NAMESPACE } = pod ?? {};
    const target = { kind: "Pod", name, namespace };
    return { addresses: [pod?.ip ?? "10.9.9.9"], targetRef: target };
  }

  #some(): ModelAdapter | undefined {
    return this.#deps.dice.maybe(this.#deps.server.list(MODEL_ADAPTERS));
  }

  #patch<T extends KubeObject>(resource: Resource<T>, at: ObjectName, patch: object): void {
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
