/**
 * The ModelAdapter controller: observe -> plan -> act. Level-triggered: an event or a timer only marks a
 * key dirty, and every look may start from nothing.
 */
import type { EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter, SchedulerName } from "#api/model-adapter.ts";
import { API_KEY_CONFIG, CONTROLLER_NAME, FIELD_MANAGER, FINALIZER, LABEL } from "#api/names.ts";
import type { Clock } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import { Semaphore } from "#base/semaphore.ts";
import { directPath } from "#core/adapter/direct-path.ts";
import { type Operation, type Plan, plan } from "#core/adapter/plan.ts";
import { failureAfter } from "#core/adapter/retry.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import type { Engine, EngineTarget } from "#engine/engine.ts";
import { EngineError } from "#engine/errors.ts";
import {
  ENDPOINT_SLICES,
  isConflict,
  isNotFound,
  type KubeClient,
  keyOf,
  MODEL_ADAPTERS,
  PODS,
  SECRETS,
  SERVICES,
} from "#kube/client.ts";
import { type EventRecorder, startEventRecorder } from "#kube/events.ts";
import { type Informer, startInformer } from "#kube/informer.ts";
import { WorkQueue } from "#kube/workqueue.ts";
import type { Log } from "#telemetry/log.ts";
import type { Metrics } from "#telemetry/metrics.ts";
import { Inventory } from "./inventory.ts";
import { Memory } from "./memory.ts";
import { type ControllerMetrics, controllerMetrics } from "./metrics.ts";
import { portOf, serviceOf, sliceOf } from "./objects.ts";
import { observe, readySince } from "./observe.ts";

/** Operations under way at once on one pod, and over all pods. */
const OPERATIONS_PER_POD_MAX = 4;
const OPERATIONS_MAX = 256;
/** How long a finished operation waits for others of the same adapter before it is told of, milliseconds. */
const TOGETHER_MS = 100;

export interface ControllerDeps {
  readonly client: KubeClient;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1; spreads pauses after failures. */
  readonly random: () => number;
  readonly metrics: Metrics;
  /** Called once when everything there is to know has been read. */
  readonly onSynced?: () => void;
}

export interface ControllerOptions {
  /** Pause between two lists of an engine's models, milliseconds. */
  readonly pollMs: number;
  /** Adapters looked at at once. */
  readonly workers: number;
  /** What `schedulerName: default` means. */
  readonly schedulerPolicy: SchedulerName;
}

export const CONTROLLER_DEFAULTS: ControllerOptions = {
  pollMs: 2000,
  workers: 16,
  schedulerPolicy: "default",
};

/** Runs the controller until `signal` is aborted; waits for the API server as long as it takes. */
export async function runController(
  deps: ControllerDeps,
  options: ControllerOptions,
  signal: AbortSignal,
): Promise<void> {
  await new Controller(deps, options, signal).run();
}

class Controller {
  readonly #deps: ControllerDeps;
  readonly #options: ControllerOptions;
  readonly #signal: AbortSignal;
  readonly #adapters: Informer<ModelAdapter>;
  readonly #pods: Informer<Pod>;
  readonly #services: Informer<Service>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #events: EventRecorder;
  readonly #queue: WorkQueue;
  readonly #inventory: Inventory;
  readonly #memory = new Memory();
  readonly #metrics: ControllerMetrics;
  readonly #places = new Semaphore(OPERATIONS_MAX);
  readonly #podPlaces = new Map<string, Semaphore>();
  readonly #operations = new Set<Promise<void>>();

  constructor(deps: ControllerDeps, options: ControllerOptions, signal: AbortSignal) {
    const { client, clock, log, random } = deps;
    this.#deps = deps;
    this.#options = options;
    this.#signal = signal;
    const byNamespace = (object: { metadata: { namespace?: string } }) => [
      object.metadata.namespace ?? "",
    ];
    const indexes = { namespace: byNamespace };
    this.#adapters = startInformer(client, MODEL_ADAPTERS, { indexes, random }, clock, log, signal);
    this.#pods = startInformer(client, PODS, { indexes, random }, clock, log, signal);
    // Both carry the adapter's name; other Services of the cluster are none of our business, until one has the name we need.
    this.#services = startInformer(client, SERVICES, { random }, clock, log, signal);
    this.#slices = startInformer(client, ENDPOINT_SLICES, { random }, clock, log, signal);
    this.#events = startEventRecorder({ client, clock, log, component: CONTROLLER_NAME }, signal);
    this.#queue = new WorkQueue({ clock });
    this.#metrics = controllerMetrics(deps.metrics, () => this.#adapters.list());
    this.#inventory = new Inventory({
      engine: deps.engine,
      clock,
      targets: () => this.#targets(),
      onChange: (pod) => this.#enqueueOf(pod),
    });
  }

  async run(): Promise<void> {
    this.#listen();
    const informers = [this.#adapters, this.#pods, this.#services, this.#slices];
    try {
      await Promise.all(informers.map((informer) => informer.synced));
    } catch (error) {
      if (this.#signal.aborted) return;
      throw error;
    }
    this.#deps.onSynced?.();
    for (const adapter of this.#adapters.list()) this.#queue.add(keyOf(adapter));
    const onError = (key: string, error: unknown) => {
      // Somebody else was faster: the watch brings the newer object, and the key comes back by itself.
      if (isConflict(error) || this.#signal.aborted) return;
      this.#metrics.reconciled("error");
      this.#deps.log.error("Reconciler error", { ModelAdapter: key, error: describeError(error) });
    };
    await Promise.all([
      this.#inventory.run(this.#options.pollMs, this.#signal),
      this.#queue.run(this.#options.workers, (key) => this.#reconcile(key), onError, this.#signal),
    ]);
    await Promise.allSettled([...this.#operations, this.#events.done]);
    await Promise.allSettled(informers.map((informer) => informer.done));
  }

  #listen(): void {
    this.#adapters.onChange((before, after) => {
      const adapter = after ?? before;
      if (adapter === undefined) return;
      if (after === undefined) this.#memory.forget(adapter);
      this.#queue.add(keyOf(adapter));
    });
    this.#pods.onChange((before, after) => this.#podChanged(before, after));
    for (const informer of [this.#services, this.#slices] as const) {
      informer.onChange((before: Service | EndpointSlice | undefined, after) => {
        const object = after ?? before;
        if (object !== undefined && this.#adapters.get(keyOf(object)) !== undefined) {
          this.#queue.add(keyOf(object));
        }
      });
    }
  }

  #podChanged(before: Pod | undefined, after: Pod | undefined): void {
    const pod = after ?? before;
    if (pod === undefined) return;
    if (after === undefined) {
      this.#memory.forgetPod(pod);
      this.#podPlaces.delete(keyOf(pod));
    }
    const lifeOf = (one: Pod | undefined) =>
      JSON.stringify([
        one?.metadata.uid,
        one?.status?.podIP,
        one === undefined ? undefined : readySince(one),
        one?.status?.containerStatuses?.map((status) => [status.containerID, status.restartCount]),
      ]);
    if (lifeOf(before) !== lifeOf(after)) {
      // A new container knows nothing; one that was not ready may have lost what it knew.
      this.#inventory.forget(pod);
      if (after !== undefined) this.#ask(after);
    }
    this.#enqueueOf(pod);
    if (before !== undefined && after !== undefined) this.#enqueueOf(before);
  }

  #enqueueOf(pod: Pod): void {
    for (const adapter of this.#adapters.by("namespace", pod.metadata.namespace ?? "")) {
      const concerned =
        matchesSelector(adapter.spec.podSelector, pod.metadata.labels) ||
        adapter.status?.pods?.some((line) => line.name === pod.metadata.name);
      if (concerned) this.#queue.add(keyOf(adapter));
    }
  }

  #ask(pod: Pod): void {
    const target = this.#targets().find((one) => one.pod.metadata.uid === pod.metadata.uid);
    if (target !== undefined) void this.#inventory.ask(pod, target.target, this.#signal);
  }

  /** The pods whose engines are asked what they hold: those that could hold one of our adapters. */
  #targets(): { pod: Pod; target: EngineTarget }[] {
    return this.#pods.list().flatMap((pod) => {
      if (pod.metadata.labels?.[LABEL.adapterEnabled] !== "true") return [];
      if (pod.status?.podIP === undefined || readySince(pod) === undefined) return [];
      const adapter = this.#adapters
        .by("namespace", pod.metadata.namespace ?? "")
        .filter((one) => matchesSelector(one.spec.podSelector, pod.metadata.labels))
        .sort(
          (a, b) => Number(keyFromConfig(b) !== undefined) - Number(keyFromConfig(a) !== undefined),
        )[0];
      if (adapter === undefined) return [];
      return [{ pod, target: { url: urlOf(adapter, pod), apiKey: keyFromConfig(adapter) } }];
    });
  }

  async #reconcile(key: string): Promise<{ requeueAfterMs?: number } | undefined> {
    const adapter = this.#adapters.get(key);
    if (adapter === undefined) return undefined;
    const { clock } = this.#deps;
    const pods = this.#pods.by("namespace", adapter.metadata.namespace ?? "");
    const seen = observe(adapter, {
      pods,
      service: this.#services.get(key),
      slice: this.#slices.get(key),
      memory: this.#memory,
      inventory: this.#inventory,
      schedulerPolicy: this.#options.schedulerPolicy,
      nowMs: clock.now(),
    });
    // The first adapter of a pod need not wait for the next poll.
    for (const pod of pods) {
      if (seen.pods.some((one) => one.uid === pod.metadata.uid && one.held === "unknown"))
        this.#ask(pod);
    }
    const made = plan(seen);
    await this.#act(adapter, pods, made);
    this.#metrics.reconciled("success");
    if (made.wakeAtMs === undefined) return undefined;
    return { requeueAfterMs: Math.max(1, made.wakeAtMs - clock.now()) };
  }

  /** Carries a plan out in the order that its safety needs; whatever fails leaves the rest to the next look. */
  async #act(adapter: ModelAdapter, pods: readonly Pod[], made: Plan): Promise<void> {
    if (made.metadata.finalizer !== "remove") await this.#writeMetadata(adapter, made);
    if (made.publish !== undefined) await this.#publish(adapter, made);
    if (made.forgetFailures) this.#memory.forgetFailures(adapter);
    for (const operation of made.operations) {
      const pod = pods.find((one) => one.metadata.name === operation.pod);
      if (pod !== undefined) this.#start(adapter, pod, operation);
    }
    if (made.status !== undefined) await this.#writeStatus(adapter, made);
    if (made.metadata.finalizer === "remove") await this.#writeMetadata(adapter, made);
  }

  async #writeMetadata(adapter: ModelAdapter, { metadata }: Plan): Promise<void> {
    const { finalizer, annotations } = metadata;
    if (finalizer === undefined && Object.keys(annotations).length === 0) return;
    const others = (adapter.metadata.finalizers ?? []).filter((name) => name !== FINALIZER);
    const patch = {
      metadata: {
        // Finalizers are a list: without the version, somebody else's could be overwritten.
        ...(finalizer === undefined
          ? {}
          : {
              finalizers: finalizer === "add" ? [...others, FINALIZER] : others,
              resourceVersion: adapter.metadata.resourceVersion,
            }),
        ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
      },
    };
    const { namespace, name } = adapter.metadata;
    const write = { fieldManager: FIELD_MANAGER, signal: this.#signal };
    try {
      const written = await this.#deps.client.patch(
        MODEL_ADAPTERS,
        { namespace, name },
        "merge",
        patch,
        write,
      );
      if (finalizer !== "remove") this.#adapters.written(written);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async #publish(adapter: ModelAdapter, { publish = [] }: Plan): Promise<void> {
    const { client } = this.#deps;
    const write = { fieldManager: FIELD_MANAGER, signal: this.#signal };
    const [service, slice] = await Promise.all([
      client.apply(SERVICES, serviceOf(adapter), write),
      client.apply(ENDPOINT_SLICES, sliceOf(adapter, publish), write),
    ]);
    this.#services.written(service);
    this.#slices.written(slice);
  }

  async #writeStatus(adapter: ModelAdapter, { status, events, selected }: Plan): Promise<void> {
    const { client, log } = this.#deps;
    const { namespace, name } = adapter.metadata;
    const written = await client.patch(
      MODEL_ADAPTERS,
      { namespace, name },
      "merge",
      { status, metadata: { uid: adapter.metadata.uid } },
      { fieldManager: FIELD_MANAGER, subresource: "status", signal: this.#signal },
    );
    this.#adapters.written(written);
    for (const event of events) {
      this.#events.record(adapter, event.type, event.reason, event.message);
      if (event.reason !== "Scheduled") continue;
      log.info("Selected pods for adapter scheduling", {
        ModelAdapter: keyOf(adapter),
        selectedPods: selected,
      });
    }
  }

  #start(adapter: ModelAdapter, pod: Pod, operation: Operation): void {
    const work = this.#memory.of(adapter, pod);
    work.busy = operation.kind === "load" ? "loading" : "unloading";
    const run = this.#operate(adapter, pod, operation).finally(() => {
      work.busy = undefined;
      this.#operations.delete(run);
      // Pods that finish together share one status write and one Event.
      const waitMs = this.#memory.isBusy(adapter) ? TOGETHER_MS : 0;
      this.#queue.addAfter(keyOf(adapter), waitMs);
    });
    this.#operations.add(run);
  }

  async #operate(adapter: ModelAdapter, pod: Pod, { kind }: Operation): Promise<void> {
    const { clock, log } = this.#deps;
    const work = this.#memory.of(adapter, pod);
    const about = { pod: pod.metadata.name, ModelAdapter: keyOf(adapter) };
    const places = this.#podPlaces.get(keyOf(pod)) ?? new Semaphore(OPERATIONS_PER_POD_MAX);
    this.#podPlaces.set(keyOf(pod), places);
    const startMs = clock.now();
    const measure = (result: "success" | "retriable" | "final") =>
      this.#metrics.operated(kind, result, (clock.now() - startMs) / 1000);
    try {
      await places.run(
        () => this.#places.run(() => this.#callEngine(adapter, pod, kind), this.#signal),
        this.#signal,
      );
      work.failure = undefined;
      measure("success");
      if (kind === "load") log.info("Successfully loaded adapter on pod", about);
    } catch (error) {
      if (this.#signal.aborted) return;
      const retriable = error instanceof EngineError && error.retriable;
      measure(retriable ? "retriable" : "final");
      const message = describeError(error);
      work.failure = failureAfter(work.failure, { atMs: clock.now(), retriable, message });
      const what = kind === "load" ? "loading" : "unloading";
      const words = retriable
        ? `Retriable error ${what} adapter`
        : `Non-retriable error ${what} adapter`;
      log.info(words, { ...about, error: message, retry: work.failure.retries });
    }
  }

  async #callEngine(adapter: ModelAdapter, pod: Pod, kind: Operation["kind"]): Promise<void> {
    const { engine } = this.#deps;
    const { name } = adapter.metadata;
    const target = { url: urlOf(adapter, pod), apiKey: await this.#apiKey(adapter) };
    if (kind === "unload") {
      await engine.unload(target, name, this.#signal);
      this.#inventory.note(pod, name, undefined, false);
      return;
    }
    const path = directPath(adapter.spec.artifactURL);
    const list = this.#inventory.of(pod);
    const replace = typeof list !== "string" && list.has(name);
    await engine.load(target, { name, path, replace }, this.#signal);
    this.#inventory.note(pod, name, path, true);
  }

  async #apiKey(adapter: ModelAdapter): Promise<string | undefined> {
    const ref = adapter.spec.apiKeySecretRef;
    if (ref === undefined) return keyFromConfig(adapter);
    const secret = await this.#deps.client.get(
      SECRETS,
      { namespace: adapter.metadata.namespace, name: ref.name },
      this.#signal,
    );
    const value = secret.data?.[ref.key];
    if (value === undefined) {
      throw new EngineError("Unauthorized", false, `Secret ${ref.name} has no key ${ref.key}`);
    }
    return Buffer.from(value, "base64").toString("utf8").trim();
  }
}

const keyFromConfig = (adapter: ModelAdapter) => adapter.spec.additionalConfig?.[API_KEY_CONFIG];

function urlOf(adapter: ModelAdapter, pod: Pod): string {
  const ip = pod.status?.podIP ?? "";
  return `http://${ip.includes(":") ? `[${ip}]` : ip}:${portOf(adapter)}`;
}
