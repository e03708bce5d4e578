import { join } from "node:path";
import type { Deployment, KubeObject, Pod, Service } from "#api/kubernetes.ts";
import { LABEL } from "#api/names.ts";
import type { Clock } from "#base/clock.ts";
import { DEPLOYMENTS, EVENTS, type KubeClient, keyOf, MODEL_ADAPTERS, PODS } from "#kube/client.ts";
import { type AdapterProgress, adapterProgress, describeAdapters } from "./adapter-progress.ts";
import { type Applied, applyShipped } from "./apply.ts";
import { askModel } from "./ask.ts";
import { balancerNote } from "./balancer.ts";
import { explainTrouble } from "./explain.ts";
import type { Manifests } from "./manifests.ts";
import type { Stage } from "./progress.ts";
import type { ModelResult } from "./report.ts";
import { describeRollout, podsOf, rolloutOf, troubleOf } from "./rollout.ts";
import { HOST, shellWord, type UpSettings } from "./settings.ts";
import { type Look, waitFor } from "./wait-for.ts";

const APPLY_TIMEOUT_MS = 30_000;
/** A first start has ten processes to load on whatever the machine is. */
const PODS_TIMEOUT_MS = 120_000;
const ADAPTERS_TIMEOUT_MS = 90_000;
const ANSWER_TIMEOUT_MS = 30_000;
const POLL_MS = 100;
/** The controller puts adapters only on pods that have been ready for this long. */
const SETTLE_MS = 5_000;

export interface WalkDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Resolves when the API server answers. */
  readonly client: Promise<KubeClient>;
  /** Resolves when the kubelet takes pods. */
  readonly nodeReady: Promise<void>;
  readonly manifests: Manifests;
}

type Waits = (what: string) => void;

/** The walk from an empty machine to the models' answers, as stages to watch. */
export class Walk {
  /** Things worth a line after the stages. */
  readonly notes: string[] = [];
  readonly results: ModelResult[] = [];
  readonly #settings: UpSettings;
  readonly #deps: WalkDeps;
  readonly #gateway: string;
  readonly #startMs: number;
  /** When the adapter was applied, or could have been loaded if it was there already. */
  readonly #sinceMs = new Map<string, number>();
  readonly #running = new Map<string, { atMs: number; progress: AdapterProgress }>();
  /** As last looked at. */
  readonly #progress: AdapterProgress[] = [];
  #basePods = 0;
  #balancer: string | undefined;

  constructor(settings: UpSettings, deps: WalkDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#gateway = `http://${HOST}:${settings.gatewayPort}`;
    this.#startMs = deps.clock.now();
  }

  stages(): Stage[] {
    const all: Stage[] = [
      { name: "Kubernetes API", run: (waits) => this.#startApi(waits) },
      { name: "control plane", run: (waits) => this.#startControlPlane(waits) },
    ];
    if (!this.#settings.sample) return all;
    return [
      ...all,
      { name: "base model", run: (waits) => this.#awaitBase(waits) },
      { name: "adapters", run: (waits) => this.#awaitAdapters(waits) },
      { name: "answers", run: (waits) => this.#askAll(waits) },
    ];
  }

  /** Where a person finds what this walk has started. */
  tryPlace() {
    return {
      stateDir: this.#settings.shownStateDir,
      gateway: this.#gateway,
      adapter: this.#settings.sample ? this.#deps.manifests.adapters[0]?.metadata.name : undefined,
      balancer: this.#balancer,
    };
  }

  async #startApi(waits: Waits): Promise<string> {
    waits("starting the API server");
    await this.#orAborted(this.#deps.client);
    waits("starting the kubelet");
    await this.#orAborted(this.#deps.nodeReady);
    const { apiPort, shownStateDir } = this.#settings;
    return `${HOST}:${apiPort}   state in ${shownStateDir}/`;
  }

  async #startControlPlane(waits: Waits): Promise<string> {
    const { manifests } = this.#deps;
    waits("applying the manifests");
    await this.#apply(manifests.controlPlane, waits);
    // The engines take longest to start: they may as well begin now.
    if (this.#settings.sample) await this.#apply(manifests.base, waits);
    const deployments = manifests.controlPlane.filter(isDeployment);
    for (const deployment of deployments) await this.#awaitRollout(deployment, waits, 0);
    this.#balancer = await this.#lookAtBalancer();
    const controller = deployments.find(({ metadata }) => metadata.name.includes("controller"));
    return `${controller === undefined ? "" : keyOf(controller)}, gateway ${HOST}:${this.#settings.gatewayPort}`;
  }

  async #awaitBase(waits: Waits): Promise<string> {
    const [base] = this.#deps.manifests.base.filter(isDeployment);
    if (base === undefined) return "none";
    this.#basePods = await this.#awaitRollout(base, waits, SETTLE_MS);
    return `${base.metadata.name}   ${this.#basePods}/${this.#basePods} pods ready`;
  }

  async #awaitAdapters(waits: Waits): Promise<string> {
    const { clock, manifests } = this.#deps;
    const nowMs = clock.now();
    const applied = await this.#apply(manifests.adapters, waits);
    const isFresh = applied.every(({ decision }) => decision !== "keep");
    for (const { object } of applied) {
      if (!this.#sinceMs.has(keyOf(object))) this.#sinceMs.set(keyOf(object), nowMs);
    }
    const explain = async () => {
      const waiting = this.#progress.find(({ isRunning }) => !isRunning);
      return waiting === undefined ? "" : this.#explainAdapter(waiting);
    };
    await this.#wait(waits, ADAPTERS_TIMEOUT_MS, () => this.#lookAtAdapters(), explain);
    const names = manifests.adapters.map(({ metadata }) => metadata.name).join(", ");
    const slowest = Math.max(
      ...this.#deps.manifests.adapters.map((object) => this.#secondsOf(object)),
    );
    const pods = Math.min(...[...this.#running.values()].map(({ progress }) => progress.pods));
    const time = isFresh ? ` (${slowest.toFixed(1)} s after apply)` : "";
    return `${names}   Running on ${pods} pods${time}`;
  }

  async #lookAtAdapters(): Promise<Look<true>> {
    const { clock, manifests, signal } = this.#deps;
    const client = await this.#deps.client;
    const pods = (await client.list(PODS, {}, signal)).items;
    const all = this.#progress;
    all.length = 0;
    for (const { metadata } of manifests.adapters) {
      const adapter = await client.get(MODEL_ADAPTERS, metadata, signal);
      const progress = adapterProgress(adapter, pods, this.#startMs);
      all.push(progress);
      if (progress.isRunning && !this.#running.has(keyOf(adapter))) {
        this.#running.set(keyOf(adapter), { atMs: clock.now(), progress });
      }
    }
    if (all.every(({ isRunning }) => isRunning)) return { done: true };
    const failed = all.find(({ isFailed }) => isFailed);
    return {
      waitsFor: describeAdapters(all),
      ...(failed !== undefined && { hopeless: this.#explainAdapter(failed) }),
    };
  }

  #explainAdapter({ name, holdUp }: AdapterProgress): string {
    const kubeconfig = shellWord(join(this.#settings.shownStateDir, "kubeconfig"));
    const kubectl = `kubectl --kubeconfig ${kubeconfig}`;
    return `${name}: ${holdUp}; see ${kubectl} describe modeladapter ${name}`;
  }

  #secondsOf(object: KubeObject): number {
    const atMs = this.#running.get(keyOf(object))?.atMs ?? this.#startMs;
    return (atMs - (this.#sinceMs.get(keyOf(object)) ?? this.#startMs)) / 1000;
  }

  async #askAll(waits: Waits): Promise<string> {
    const { manifests } = this.#deps;
    const [base] = manifests.base.filter(isDeployment);
    const model = base?.metadata.labels?.[LABEL.modelName];
    if (model !== undefined) {
      const text = await this.#ask(model, waits);
      const found = { model, isBase: true, phase: "Ready", pods: this.#basePods };
      this.results.push({ ...found, seconds: undefined, text });
    }
    for (const object of manifests.adapters) {
      const { name } = object.metadata;
      const { phase = "", pods = 0 } = this.#running.get(keyOf(object))?.progress ?? {};
      const text = await this.#ask(name, waits);
      const seconds = this.#secondsOf(object);
      this.results.push({ model: name, isBase: false, phase, pods, seconds, text });
    }
    return `${this.results.length} models answer at ${this.#gateway}/v1`;
  }

  async #ask(model: string, waits: Waits): Promise<string> {
    return await this.#wait(waits, ANSWER_TIMEOUT_MS, async () => {
      const answer = await askModel(this.#gateway, model, this.#deps.signal);
      if ("text" in answer) return { done: answer.text };
      return { waitsFor: `no answer from ${model}: ${answer.problem}` };
    });
  }

  async #apply(objects: readonly KubeObject[], waits: Waits): Promise<Applied[]> {
    const client = await this.#deps.client;
    const applied = await this.#wait(waits, APPLY_TIMEOUT_MS, async () => ({
      done: await applyShipped(client, objects, this.#deps),
    }));
    for (const { object, decision } of applied) {
      if (decision !== "update") continue;
      const what = `${object.kind?.toLowerCase()}/${object.metadata.name}`;
      this.notes.push(`${what} was brought to what this version and these flags say`);
    }
    return applied;
  }

  /** Waits until a Deployment's pods have been ready for `settleMs`; returns how many they are. */
  async #awaitRollout(shipped: Deployment, waits: Waits, settleMs: number): Promise<number> {
    const { clock, signal } = this.#deps;
    const client = await this.#deps.client;
    const { namespace, name } = shipped.metadata;
    let pods: Pod[] = [];
    const explain = async () => {
      const events = (await client.list(EVENTS, { namespace }, signal)).items;
      return explainTrouble(troubleOf(pods, events), this.#settings);
    };
    const look = async (): Promise<Look<number>> => {
      const deployment = await client.get(DEPLOYMENTS, { namespace, name }, signal);
      pods = podsOf(deployment, (await client.list(PODS, { namespace }, signal)).items);
      const rollout = rolloutOf(deployment, pods);
      const isSettled = rollout.readySinceMs + settleMs <= clock.now();
      if (rollout.isComplete && (settleMs === 0 || isSettled)) return { done: rollout.wanted };
      const waitsFor = describeRollout(name, rollout);
      if (rollout.isComplete) return { waitsFor: `${waitsFor}, for ${settleMs / 1000} s` };
      const trouble = troubleOf(pods, []);
      if (trouble === undefined) return { waitsFor };
      return trouble.isFinal
        ? { waitsFor, hopeless: explainTrouble(trouble, this.#settings) }
        : { waitsFor, because: `${trouble.container} ${trouble.text}` };
    };
    return await this.#wait(waits, PODS_TIMEOUT_MS, look, explain);
  }

  async #lookAtBalancer(): Promise<string | undefined> {
    const client = await this.#deps.client;
    const service = this.#deps.manifests.controlPlane.find(isBalancer);
    if (service === undefined) return undefined;
    return await balancerNote(service, { ...this.#deps, client, sinceMs: this.#startMs });
  }

  #wait<T>(
    waits: Waits,
    timeoutMs: number,
    look: () => Promise<Look<T>>,
    explain?: () => Promise<string>,
  ): Promise<T> {
    const { clock, signal } = this.#deps;
    return waitFor(look, {
      ...{ clock, signal, timeoutMs, pollMs: POLL_MS, onWait: waits },
      ...(explain === undefined ? {} : { explain }),
    });
  }

  async #orAborted<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#deps;
    signal.throwIfAborted();
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([promise, left.promise]);
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }
}

const isDeployment = (object: KubeObject): object is Deployment => object.kind === "Deployment";
const isBalancer = (object: KubeObject): object is Service =>
  object.kind === "Service" && (object as Service).spec.type === "LoadBalancer";
