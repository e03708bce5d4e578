import { versionOf } from "#api/adapter-version.ts";
import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter, ModelAdapterSpec } from "#api/model-adapter.ts";
import { API_KEY_CONFIG } from "#api/names.ts";
import { scrubberOf } from "#artifact/credentials.ts";
import { isAbort } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";
import { UserError } from "#base/errors.ts";
import { describeError } from "#base/network-error.ts";
import { deliveryOf } from "#core/adapter/delivery.ts";
import type { Operation } from "#core/adapter/operations.ts";
import { failureAfter, isGivenUp, RETRIES_MAX } from "#core/adapter/retry.ts";
import type { DownloadProgress } from "#core/adapter/seen.ts";
import { sharesAdapterFolder } from "#core/adapter/shared-folder.ts";
import type { EngineTarget } from "#engine/engine.ts";
import { EngineError } from "#engine/errors.ts";
import { KubeApiError, keyOf } from "#kube/client.ts";
import type { Log } from "#telemetry/log.ts";
import type { Inventory } from "./inventory.ts";
import { attemptOf, LATE_LOAD_MS, type Memory, type Work } from "./memory.ts";
import type { ControllerMetrics } from "./metrics.ts";
import { adapterPlace, type Engines, type Place } from "./places.ts";
import { authOf, type Secrets } from "./secrets.ts";
import { Slots } from "./slots.ts";

/** How often the status tells how far a download is. */
const PROGRESS_MS = 10_000;

/** One operation under way. The work is kept at hand: the adapter may be gone from memory before it ends. */
interface Order {
  readonly adapter: ModelAdapter;
  readonly pod: Pod;
  readonly kind: "load" | "unload";
  readonly work: Work;
  readonly startedMs: number;
  /** What was sent along, and must not come back in an error's words. */
  apiKey?: string | undefined;
  credentials?: Readonly<Record<string, string>> | undefined;
}

export interface EngineWorkDeps {
  readonly engines: Engines;
  readonly clock: Clock;
  readonly log: Log;
  readonly memory: Memory;
  readonly inventory: Inventory;
  readonly secrets: Secrets;
  readonly metrics: ControllerMetrics;
  readonly enableRuntimeSidecar: boolean;
  /** An operation has ended, one way or the other, or there is news of how far it is. */
  readonly onChange: (adapter: ModelAdapter) => void;
}

/** Carries out operations on engines: at once, in parallel over pods, bounded on each; turns every outcome into memory. */
export class EngineWork {
  readonly #deps: EngineWorkDeps;
  readonly #signal: AbortSignal;
  readonly #slots: Slots;
  readonly #running = new Set<Promise<void>>();

  constructor(deps: EngineWorkDeps, signal: AbortSignal) {
    this.#deps = deps;
    this.#signal = signal;
    this.#slots = new Slots(deps.clock);
  }

  /** Starts an operation; returns at once. */
  start(adapter: ModelAdapter, pod: Pod, { kind }: Operation): void {
    const work = this.#deps.memory.work(adapter, pod);
    // Whatever is under way ends first: an engine gets one order for one adapter at a time.
    const before = work.ended;
    work.abort?.abort();
    if (kind === "cancel") return;
    const abort = new AbortController();
    const signal = AbortSignal.any([this.#signal, abort.signal]);
    work.abort = abort;
    work.busy = kind === "load" ? "loading" : "unloading";
    work.loadingVersion = kind === "load" ? versionOf(adapter.spec) : undefined;
    const startedMs = this.#deps.clock.now();
    if (kind === "load" && this.#deps.memory.loadFailure(adapter, work) !== undefined) {
      this.#deps.metrics.retried();
    }
    const order: Order = { adapter, pod, kind, work, startedMs };
    const run = before
      .then(() => this.#inTurn(order, signal))
      .catch((error: unknown) => this.#failed(order, error))
      .then(() => {
        this.#running.delete(run);
        if (work.abort !== abort) return;
        work.abort = undefined;
        work.busy = undefined;
        work.loadingVersion = undefined;
        work.progress = undefined;
        this.#deps.onChange(adapter);
      });
    work.ended = run;
    this.#running.add(run);
  }

  /** Resolves when nothing is under way any more. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #inTurn(order: Order, signal: AbortSignal): Promise<void> {
    const { pod, work } = order;
    const operate = () => this.#operate(order, signal);
    try {
      await this.#slots.run(keyOf(pod), operate, signal, (turns) => {
        work.turns = turns;
      });
    } finally {
      work.turns = undefined;
    }
  }

  async #operate(order: Order, stop: AbortSignal): Promise<void> {
    const { adapter, pod, kind, work } = order;
    const { clock, log, metrics, enableRuntimeSidecar } = this.#deps;
    const place = adapterPlace(adapter, pod, enableRuntimeSidecar);
    if (place === undefined) {
      throw new EngineError("Unreachable", true, "no route to host: the pod has no address");
    }
    const signal = AbortSignal.any([stop, this.#deps.inventory.revival(place)]);
    const apiKey = await this.#tried(order, this.#deps.secrets.apiKey(authOf(adapter), signal));
    order.apiKey = apiKey;
    const target = { url: place.url, apiKey };
    if (kind === "load") {
      await this.#load(order, place, target, signal);
      work.loadFailure = undefined;
      const about = { pod: pod.metadata.name, ModelAdapter: keyOf(adapter) };
      log.info("Successfully loaded adapter on pod", about);
    } else {
      await this.#unload(adapter, place, target, signal);
      work.unloadFailure = undefined;
      work.loadedAs = undefined;
      work.wasCurrent = false;
    }
    metrics.operated(kind, "success", (clock.now() - order.startedMs) / 1000);
  }

  /** Reads what an attempt needs of Secrets, and notes which versions it was made with. */
  async #tried<T>({ adapter, work }: Order, reading: Promise<T>): Promise<T> {
    try {
      return await reading;
    } finally {
      work.triedSecrets = this.#deps.secrets.versionsOf(adapter);
    }
  }

  async #load(
    order: Order,
    place: Place,
    target: EngineTarget,
    signal: AbortSignal,
  ): Promise<void> {
    const { adapter, work } = order;
    const { engines, inventory, log, secrets } = this.#deps;
    const { spec, metadata } = adapter;
    const { name } = metadata;
    const delivery = deliveryOf(spec, {
      hasRuntime: place.isRuntime,
      sharesFolder: sharesAdapterFolder(place.pod),
    });
    const engine = engines[place.engine];
    let path: string | undefined;
    if (delivery.form === "direct") {
      const answer = inventory.answer(place, name);
      path = delivery.path;
      await engine.load(target, { name, path, replace: answer.state === "listed" }, signal);
    } else {
      log.info("Using runtime path for artifact delegation", {
        ModelAdapter: keyOf(adapter),
        pod: place.pod.metadata.name,
      });
      order.credentials = await this.#tried(order, secrets.credentials(adapter, signal));
      const request = {
        name,
        artifactUrl: spec.artifactURL,
        credentials: order.credentials,
        additionalConfig: configOf(spec),
        directPath: delivery.directPath,
        onProgress: this.#progressTold(adapter, work),
      };
      path = await engines.runtime.loadArtifact(target, request, signal);
      path ??= (await engine.inventory(target, signal)).find((one) => one.name === name)?.root;
    }
    if (path !== undefined) work.loadedAs = { path, version: versionOf(spec) };
    inventory.note(place, name, { root: path }, target.apiKey);
  }

  /** Takes note of how far a download is, at the same moments for all pods: they share a write of the status. */
  #progressTold(adapter: ModelAdapter, work: Work): (progress: DownloadProgress) => void {
    const { clock, onChange } = this.#deps;
    const moment = () => Math.floor(clock.now() / PROGRESS_MS);
    const { abort } = work;
    let last = moment();
    return (progress) => {
      if (moment() === last || work.abort !== abort) return;
      last = moment();
      work.progress = progress;
      onChange(adapter);
    };
  }

  async #unload(
    adapter: ModelAdapter,
    place: Place,
    target: EngineTarget,
    signal: AbortSignal,
  ): Promise<void> {
    const { name } = adapter.metadata;
    await this.#deps.engines[place.engine].unload(target, name, signal);
    this.#deps.inventory.note(place, name, undefined);
  }

  #failed(order: Order, error: unknown): void {
    const { adapter, pod, kind, work, startedMs, credentials = {}, apiKey = "" } = order;
    if (this.#signal.aborted) return;
    const { clock, log, memory, metrics } = this.#deps;
    const atMs = clock.now();
    // The engine may have it, or come to it: whoever broke off, or lost the answer, cannot know.
    if (kind === "load" && isUncertain(error)) work.lateLoadUntilMs = atMs + LATE_LOAD_MS;
    if (isAbort(error)) return;
    const seconds = (atMs - startedMs) / 1000;
    const scrub = scrubberOf(credentials, adapter.spec.artifactURL, apiKey);
    const message = scrub(describeError(error));
    const about = { pod: pod.metadata.name, error: message, ModelAdapter: keyOf(adapter) };
    if (kind === "unload") {
      metrics.operated(kind, "retriable", seconds);
      work.unloadFailure = failureAfter(work.unloadFailure, { atMs, retriable: true, message });
      log.info("Error unloading adapter, will retry", about);
      return;
    }
    const retriable = isRetriable(error);
    const before = memory.loadFailure(adapter, work);
    const failure = failureAfter(before, { atMs, retriable, message });
    work.loadFailure = failure;
    work.failedAttempt = attemptOf(adapter);
    metrics.operated(kind, retriable ? "retriable" : "final", seconds);
    if (!retriable) log.info("Non-retriable error loading adapter", about);
    else if (!isGivenUp(failure)) {
      const retry = `${failure.retries + 1} of ${RETRIES_MAX} follows`;
      log.info("Retriable error loading adapter", { ...about, retry });
    } else log.info("Max retries exceeded, switching to another pod if there is one", about);
  }
}

/** What the spec says beside the engine's key, which travels as a header. */
function configOf({ additionalConfig }: ModelAdapterSpec): Record<string, string> | undefined {
  const entries = Object.entries(additionalConfig ?? {}).filter(([key]) => key !== API_KEY_CONFIG);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** Engines say it themselves; what the user must mend is final; a Secret that the API server could not give now is not. */
function isRetriable(error: unknown): boolean {
  if (error instanceof EngineError) return error.retriable;
  if (error instanceof KubeApiError) return error.code === 429 || error.code >= 500;
  return !(error instanceof UserError);
}

/** A load that was broken off, or whose answer did not come. A refused connection never reached the engine. */
function isUncertain(error: unknown): boolean {
  if (isAbort(error)) return true;
  if (!(error instanceof EngineError)) return false;
  if (error.code === "Unreachable") return !/^connection refused|^no route/.test(error.message);
  return /^(timeout|bad gateway)/.test(error.message);
}
