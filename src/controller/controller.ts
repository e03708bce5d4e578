/**
 * The ModelAdapter controller: observe -> plan -> act. Level-triggered: an event or a timer only marks a
 * key dirty, and every look may start from nothing.
 */
import type { EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter, SchedulerName } from "#api/model-adapter.ts";
import { CONTROLLER_NAME, RUNTIME_CONTAINER, SYSTEM_NAMESPACE } from "#api/names.ts";
import type { Clock } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import { type Plan, plan } from "#core/adapter/plan.ts";
import type { Seen } from "#core/adapter/seen.ts";
import {
  ENDPOINT_SLICES,
  isConflict,
  isNotFound,
  type KubeClient,
  keyOf,
  MODEL_ADAPTERS,
  PODS,
  SERVICES,
} from "#kube/client.ts";
import { startEventRecorder } from "#kube/events.ts";
import { type Informer, startInformer } from "#kube/informer.ts";
import { WorkQueue } from "#kube/workqueue.ts";
import type { Log } from "#telemetry/log.ts";
import { type ActDeps, publish, tell, unpublished, writeMetadata } from "./act.ts";
import { EngineWork } from "./engine-work.ts";
import { Fleet } from "./fleet.ts";
import { type Changed, Inventory } from "./inventory.ts";
import { LATE_LOAD_MS, Memory, uidOf } from "./memory.ts";
import type { ControllerGauges, ControllerMetrics } from "./metrics.ts";
import { portOf } from "./objects.ts";
import { isFinished, observe, recordedPods } from "./observe.ts";
import { Occupancy } from "./occupancy.ts";
import { adapterPlace, type Engines, type Place, placeOf } from "./places.ts";
import { Readiness, readySince } from "./readiness.ts";
import { type Auth, authOf, Secrets } from "./secrets.ts";
import { runSweeper } from "./sweeper.ts";
import { Tombstones } from "./tombstones.ts";

/** How long the first look at adapters waits for engines that are slow to tell what they hold. */
const FIRST_ANSWERS_MS = 1000;

export interface ControllerDeps {
  readonly client: KubeClient;
  readonly engines: Engines;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ControllerMetrics;
  /** 0 to 1; spreads pauses after failures. */
  readonly random: () => number;
  /** Decides; the one in core, unless a test wants to see a wrong one caught. */
  readonly planner?: (seen: Seen) => Plan;
}

export interface ControllerOptions {
  /** Pause between two lists of an engine's models, milliseconds. */
  readonly pollMs: number;
  /** Adapters looked at at once. */
  readonly workers: number;
  /** What `schedulerName: default` means. */
  readonly schedulerPolicy: SchedulerName;
  /** Load through the sidecar on pods that have one. */
  readonly enableRuntimeSidecar: boolean;
  /** Where the controller keeps what must outlast it. */
  readonly namespace: string;
  /** Called when the caches are complete. */
  readonly onSynced?: (gauges: ControllerGauges) => void;
}

export const CONTROLLER_DEFAULTS: ControllerOptions = {
  pollMs: 2000,
  workers: 16,
  schedulerPolicy: "default",
  enableRuntimeSidecar: false,
  namespace: SYSTEM_NAMESPACE,
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
  readonly #act: ActDeps & { events: { done: Promise<void> } };
  readonly #queue: WorkQueue;
  readonly #memory: Memory;
  readonly #readiness: Readiness;
  readonly #occupancy = new Occupancy();
  readonly #fleet: Fleet;
  readonly #secrets: Secrets;
  readonly #tombstones: Tombstones;
  readonly #inventory: Inventory;
  readonly #work: EngineWork;

  constructor(deps: ControllerDeps, options: ControllerOptions, signal: AbortSignal) {
    const { client, clock, log, random, engines } = deps;
    this.#deps = deps;
    this.#memory = new Memory(clock);
    this.#readiness = new Readiness(clock);
    this.#options = options;
    this.#signal = signal;
    const namespaceOf = (object: { metadata: { namespace?: string } }) => [
      object.metadata.namespace ?? "",
    ];
    const podIndexes = { namespace: namespaceOf, uid: (pod: Pod) => [uidOf(pod)] };
    this.#adapters = startInformer(client, MODEL_ADAPTERS, { random }, clock, log, signal);
    this.#pods = startInformer(client, PODS, { indexes: podIndexes, random }, clock, log, signal);
    this.#act = {
      client,
      adapters: this.#adapters,
      // All of them, not only those with our labels: somebody else's may have the name that an adapter needs.
      services: startInformer(client, SERVICES, { random }, clock, log, signal),
      slices: startInformer(client, ENDPOINT_SLICES, { random }, clock, log, signal),
      events: startEventRecorder({ client, clock, log, component: CONTROLLER_NAME }, signal),
    };
    const { queue: meter } = deps.metrics;
    this.#queue = new WorkQueue({ clock, ...(meter === undefined ? {} : { meter }) });
    this.#fleet = new Fleet(options.enableRuntimeSidecar);
    this.#secrets = new Secrets({ client, clock, log });
    this.#tombstones = new Tombstones({ client, clock, log, namespace: options.namespace });
    this.#inventory = new Inventory({
      engines,
      clock,
      places: () => this.#pods.list().flatMap((pod) => this.#placesOf(pod)),
      keysOf: (place, ended) => this.#keysOf(place.pod, [], ended),
      onChange: (place, changed, answersAgain) => this.#listChanged(place, changed, answersAgain),
    });
    const { enableRuntimeSidecar } = options;
    this.#work = new EngineWork(
      {
        ...deps,
        memory: this.#memory,
        inventory: this.#inventory,
        secrets: this.#secrets,
        enableRuntimeSidecar,
        onChange: (adapter) => this.#queue.add(keyOf(adapter)),
      },
      signal,
    );
  }

  async run(): Promise<void> {
    const { services, slices, events } = this.#act;
    const informers = [this.#adapters, this.#pods, services, slices];
    this.#listen();
    try {
      await Promise.all(informers.map((informer) => informer.synced));
      await this.#tombstones.load(this.#signal);
    } catch (error) {
      if (this.#signal.aborted) return;
      throw error;
    }
    const polling = this.#inventory.run(this.#options.pollMs, this.#signal);
    await this.#firstAnswers();
    this.#assignAsTold();
    for (const adapter of this.#adapters.list()) this.#queue.add(keyOf(adapter));
    this.#options.onSynced?.(this.#gauges());
    await Promise.all([
      polling,
      this.#secrets.run((key) => this.#secretsRead(key), this.#signal),
      runSweeper(this.#sweeperDeps(), this.#options.pollMs, this.#signal),
      this.#queue.run(
        this.#options.workers,
        (key) => this.#reconcile(key),
        (key, error) => this.#reconcileFailed(key, error),
        this.#signal,
      ),
    ]);
    await this.#work.idle();
    await Promise.allSettled([events.done, ...informers.map((informer) => informer.done)]);
  }

  /** A controller that has just started asks before it decides; engines that are slow to answer are not waited for. */
  async #firstAnswers(): Promise<void> {
    const answers = this.#pods
      .list()
      .flatMap((pod) => this.#placesOf(pod))
      .map((place) => this.#inventory.ask(place, this.#signal));
    const enough = new AbortController();
    const late = this.#deps.clock.sleep(FIRST_ANSWERS_MS, enough.signal).catch(() => {});
    await Promise.race([Promise.all(answers), late]);
    enough.abort();
  }

  /** Whoever is scheduled first must know of all that others were scheduled to by an earlier controller. */
  #assignAsTold(): void {
    for (const adapter of this.#adapters.list()) {
      const { namespace } = adapter.metadata;
      const names = [...recordedPods(adapter)];
      const pods = names.flatMap((name) => this.#pods.get(`${namespace}/${name}`) ?? []);
      this.#occupancy.assign(keyOf(adapter), pods.map(uidOf));
    }
  }

  #listen(): void {
    this.#adapters.onChange((before, after) => {
      this.#fleet.update(before, after);
      const adapter = after ?? before;
      if (adapter === undefined) return;
      if (before !== undefined && before.metadata.uid !== after?.metadata.uid) this.#forget(before);
      this.#queue.add(keyOf(adapter), after !== undefined && isSettled(after));
    });
    this.#pods.onChange((before, after) => this.#podChanged(before, after));
    for (const informer of [this.#act.services, this.#act.slices] as const) {
      informer.onChange((before: Service | EndpointSlice | undefined, after) => {
        const object = after ?? before;
        if (object !== undefined && this.#adapters.get(keyOf(object)) !== undefined) {
          this.#queue.add(keyOf(object));
        }
      });
    }
  }

  #forget(adapter: ModelAdapter): void {
    this.#memory.forget(adapter);
    this.#occupancy.assign(keyOf(adapter), []);
    this.#secrets.watch(keyOf(adapter), adapter, false);
  }

  #podChanged(before: Pod | undefined, after: Pod | undefined): void {
    this.#readiness.saw(before, after);
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid) {
      this.#memory.forgetPod(before);
      this.#occupancy.forgetPod(uidOf(before));
    }
    if (before !== undefined && after !== undefined && lifeOf(before) !== lifeOf(after)) {
      // A new container knows nothing, whatever its predecessor held or failed at.
      this.#inventory.doubt(uidOf(after));
      this.#memory.renewPod(after);
    }
    const isHint = after !== undefined && hintOf(before) !== hintOf(after);
    if (isHint) {
      for (const place of this.#placesOf(after)) {
        void this.#inventory.ask(place, this.#signal, true);
      }
    }
    for (const pod of [before, after]) {
      if (pod !== undefined) for (const key of this.#fleet.adaptersOn(pod)) this.#queue.add(key);
    }
  }

  #listChanged({ pod }: Place, changed: Changed, answersAgain: boolean): void {
    const { namespace } = pod.metadata;
    if (answersAgain) this.#memory.encouragePod(pod);
    const on = this.#fleet.adaptersOn(pod);
    const keys = changed === "all" ? on : changed.map((name) => `${namespace}/${name}`);
    for (const key of keys) if (this.#adapters.get(key) !== undefined) this.#queue.add(key);
  }

  #secretsRead(key: string): void {
    const adapter = this.#adapters.get(key);
    if (adapter === undefined) return;
    const versions = this.#secrets.versionsOf(adapter);
    if (this.#memory.forgetFailures(adapter, versions)) this.#queue.add(key);
  }

  #placesOf(pod: Pod): Place[] {
    if (isFinished(pod)) return [];
    const places = new Map(this.#fleet.placesOf(pod).map((place) => [place.id, place]));
    for (const { port } of this.#tombstones.of(pod)) {
      const place = placeOf(pod, port, this.#options.enableRuntimeSidecar);
      if (place !== undefined) places.set(place.id, place);
    }
    return [...places.values()];
  }

  /** The keys that a pod's engine may ask for; the Secret that is missing is told of by the load that needs it. */
  async #keysOf(
    pod: Pod,
    more: readonly Auth[],
    signal: AbortSignal,
  ): Promise<(string | undefined)[]> {
    const auths = [...this.#fleet.authsOf(pod), ...more];
    const keys = await Promise.all(
      auths.map((auth) => this.#secrets.apiKey(auth, signal).catch(() => undefined)),
    );
    return keys.length === 0 ? [undefined] : [...new Set(keys)];
  }

  #sweeperDeps() {
    return {
      ...this.#deps,
      inventory: this.#inventory,
      tombstones: this.#tombstones,
      enableRuntimeSidecar: this.#options.enableRuntimeSidecar,
      podByUid: (uid: string) => this.#pods.by("uid", uid)[0],
      adapter: (namespace: string, name: string) => this.#adapters.get(`${namespace}/${name}`),
      keysOf: (place: Place, tombstone: Parameters<Tombstones["authOf"]>[0], signal: AbortSignal) =>
        this.#keysOf(place.pod, [this.#tombstones.authOf(tombstone)], signal),
    };
  }

  async #reconcile(key: string): Promise<{ requeueAfterMs?: number } | undefined> {
    const { clock, metrics } = this.#deps;
    const startedMs = clock.now();
    const seconds = () => (clock.now() - startedMs) / 1000;
    try {
      const next = await this.#look(key);
      metrics.reconciled(next === undefined ? "success" : "requeue_after", seconds());
      return next === undefined ? undefined : { requeueAfterMs: next };
    } catch (error) {
      if (!this.#signal.aborted) metrics.reconciled("error", seconds());
      throw error;
    }
  }

  /** Returns after how long to look again though nothing happens, milliseconds. */
  async #look(key: string): Promise<number | undefined> {
    const adapter = this.#adapters.get(key);
    if (adapter === undefined) return undefined;
    const pods = this.#pods.by("namespace", adapter.metadata.namespace ?? "");
    const first = this.#observe(adapter, pods);
    const { dropped, silent } = this.#memory.learn(first);
    this.#deps.metrics.drifted(dropped);
    // What was learned counts in this decision already: an engine that drops what it has is not given it again at once.
    const seen = dropped + silent === 0 ? first : this.#observe(adapter, pods);
    this.#askUnknown(adapter, pods, seen);
    const made = (this.#deps.planner ?? plan)(seen);
    // No moment passes between the look and this: the next scheduling already counts it.
    this.#occupancy.assign(key, uidsOf(seen, made.selected));
    // From before it is written down that they were selected: that tells of an earlier controller's loads otherwise.
    for (const pod of pods) {
      if (made.selected.includes(pod.metadata.name)) this.#memory.work(adapter, pod);
    }
    this.#logDecision(adapter, made);
    const waitMs = await this.#carryOut(seen, pods, made);
    const now = this.#deps.clock.now();
    const wakeMs = made.wakeAtMs === undefined ? undefined : made.wakeAtMs - now;
    const next = Math.min(waitMs ?? Number.POSITIVE_INFINITY, wakeMs ?? Number.POSITIVE_INFINITY);
    return Number.isFinite(next) ? Math.max(1, next) : undefined;
  }

  #observe(adapter: ModelAdapter, pods: readonly Pod[]): Seen {
    const key = keyOf(adapter);
    const { namespace = "", name } = adapter.metadata;
    return observe(adapter, {
      pods,
      service: this.#act.services.get(key),
      slice: this.#act.slices.get(key),
      memory: this.#memory,
      readiness: this.#readiness,
      inventory: this.#inventory,
      occupancy: this.#occupancy,
      leftMs: (pod) => this.#tombstones.leftMs(namespace, name, uidOf(pod)),
      enableRuntimeSidecar: this.#options.enableRuntimeSidecar,
      schedulerPolicy: this.#options.schedulerPolicy,
      clock: this.#deps.clock,
    });
  }

  /** The first adapter of a pod need not wait for the next poll. */
  #askUnknown(adapter: ModelAdapter, pods: readonly Pod[], seen: Seen): void {
    for (const { uid, held, matches, enabled } of seen.pods) {
      if (!matches || !enabled || (held !== "unasked" && held !== "unknown")) continue;
      const pod = pods.find((one) => uidOf(one) === uid);
      const place = pod && adapterPlace(adapter, pod, this.#options.enableRuntimeSidecar);
      if (place !== undefined) void this.#inventory.ask(place, this.#signal);
    }
  }

  #logDecision(adapter: ModelAdapter, { selected, status, operations, publish: what }: Plan): void {
    const notes = this.#memory.notes(adapter);
    this.#deps.log.debug("Decided", {
      ModelAdapter: keyOf(adapter),
      phase: status?.phase,
      operations: operations.map(({ kind, pod }) => `${kind} ${pod}`),
      slice: what.slice?.map((pod) => pod.name),
    });
    const text = selected.join();
    if (notes.selected === text) return;
    notes.selected = text;
    if (selected.length === 0) return;
    this.#deps.log.info("Selected pods for adapter scheduling", {
      ModelAdapter: keyOf(adapter),
      selectedPods: selected,
    });
  }

  /** In the order that safety needs; whatever fails leaves the rest to the next look. Status writes come last: they delay nothing. */
  async #carryOut(seen: Seen, pods: readonly Pod[], made: Plan): Promise<number | undefined> {
    const { adapter } = seen;
    const isLast = made.metadata.finalizer === "remove";
    const notes = this.#memory.notes(adapter);
    const podOf = (name: string) => pods.find((pod) => pod.metadata.name === name);
    if (!isLast) await writeMetadata(this.#act, adapter, made, notes, this.#signal);
    try {
      await publish(this.#act, seen, made, notes, this.#signal);
    } catch (error) {
      // What cannot be removed is not waited for: it goes with its owner.
      if (!isLast) throw error;
    } finally {
      // Also those that are named now: the write may have been done though its answer was lost.
      const named = (made.publish.slice ?? []).map((pod) => pod.name);
      for (const name of [...unpublished(seen, made), ...named]) {
        const pod = podOf(name);
        if (pod !== undefined) this.#memory.work(adapter, pod).routedAtMs = this.#deps.clock.now();
      }
    }
    for (const operation of made.operations) {
      const pod = podOf(operation.pod);
      if (pod !== undefined) this.#work.start(adapter, pod, operation);
    }
    this.#secrets.watch(keyOf(adapter), adapter, this.#memory.isFailing(adapter));
    if (isLast) {
      await this.#bury(adapter, made);
      await writeMetadata(this.#act, adapter, made, notes, this.#signal);
      return undefined;
    }
    return tell(this.#act, seen, made, notes, this.#signal);
  }

  async #bury(adapter: ModelAdapter, { tombstones }: Plan): Promise<void> {
    if (tombstones.length === 0) return;
    const { namespace = "", name } = adapter.metadata;
    const port = portOf(adapter);
    const lateMs = this.#deps.clock.now() + LATE_LOAD_MS;
    const entries = tombstones.map((pod) => ({
      namespace,
      adapter: name,
      pod: pod.name,
      podUid: pod.uid,
      port,
      lateLoadUntilMs: pod.lateLoadUntilMs ?? (pod.busy === undefined ? undefined : lateMs),
    }));
    await this.#tombstones.add(entries, authOf(adapter), this.#signal);
  }

  #reconcileFailed(key: string, error: unknown): void {
    if (this.#signal.aborted) return;
    // Somebody else was faster, or it is gone: the watch brings what is now, and the key comes back by itself.
    if (isConflict(error) || isNotFound(error)) return;
    this.#deps.log.error("Reconciler error", { ModelAdapter: key, error: describeError(error) });
  }

  #gauges(): ControllerGauges {
    return {
      adapters: () => this.#adapters.list(),
      queueLength: () => this.#queue.length,
      working: () => this.#queue.workingMs.map((ms) => ms / 1000),
      workers: this.#options.workers,
      inventoryAges: () =>
        this.#inventory.ages().map(({ place: { pod }, ageMs }) => ({
          namespace: pod.metadata.namespace ?? "",
          pod: pod.metadata.name,
          seconds: ageMs / 1000,
        })),
    };
  }
}

/** It serves as its spec says: what is left to be done is to clean up. */
function isSettled({ metadata, status }: ModelAdapter): boolean {
  return (
    status?.phase === "Running" &&
    status.observedGeneration === metadata.generation &&
    metadata.deletionTimestamp === undefined
  );
}

function uidsOf(seen: Seen, names: readonly string[]): string[] {
  return seen.pods.filter((pod) => names.includes(pod.name)).map((pod) => pod.uid);
}

/** What makes a pod's engine another one: a change of it means that whatever was loaded is gone. */
function lifeOf(pod: Pod): string {
  const containers = (pod.status?.containerStatuses ?? []).filter(
    ({ name }) => name !== RUNTIME_CONTAINER,
  );
  return JSON.stringify([
    pod.metadata.uid,
    pod.status?.podIP,
    containers.map(({ name, containerID, restartCount }) => [name, containerID, restartCount]),
  ]);
}

/** What makes it worth asking a pod's engine now. */
function hintOf(pod: Pod | undefined): string {
  return pod === undefined
    ? ""
    : JSON.stringify([lifeOf(pod), readySince(pod), pod.metadata.labels]);
}
