/**
 * Attempts to load, compared with what the documentation promises: a first one and at most five retries, 5, 10, 20, 40 and 80 s
 * after the failure before, then one every five minutes; counts survive the controller; whatever changes the cause starts anew.
 */
import type { ModelAdapter } from "#api/model-adapter.ts";
import { isAbort } from "#base/abort.ts";
import type { Engines } from "#controller/places.ts";
import { failureFromAnnotations } from "#core/adapter/retry.ts";
import type { Engine, EngineTarget } from "#engine/engine.ts";
import { EngineError } from "#engine/errors.ts";
import type { Instance } from "../controllers.ts";
import type { SimPod } from "../sim-pod.ts";
import type { CheckContext } from "./context.ts";

const FIRST_PAUSE_MS = 5000;
const ATTEMPTS_MAX = 6;
const SLOW_MS = 300_000;
const HEARD_MS = 100;
/** What is written down has whole seconds. */
const SECOND_MS = 1000;
/** What was read of a Secret is used for so long, and is read again at this pace while anything fails. */
export const SECRET_MS = 10_000;
/** Loads of one version on one container that succeed within this time: an engine that drops what it has is not fought. */
const EVICTED_MS = 120_000;
const LOADS_MAX = 7;
const UNLOAD_PAUSE_MS_MAX = 80_000;

interface Series {
  /** Failures worth a retry, in a row. */
  failures: number;
  startedMs: number;
  endedMs: number;
  isFinal: boolean;
  instance: Instance;
  life: number;
  /** Nothing stood in the controller's way. */
  wasCalm: boolean;
}

export class RetryChecks {
  readonly #context: CheckContext;
  readonly #loads = new Map<string, Series>();
  readonly #unloads = new Map<string, { failures: number; endedMs: number }>();
  /** When an engine last had an adapter in the version wanted. */
  readonly #heldMs = new Map<string, number>();
  readonly #inFlight = new Map<string, number>();
  readonly #endedMs = new Map<string, number>();
  readonly #loadedMs = new Map<string, number[]>();

  constructor(context: CheckContext) {
    this.#context = context;
  }

  /** Listens to what a controller has engines do. */
  overhear(engines: Engines, instance: () => Instance): Engines {
    const around = async <T>(
      kind: "load" | "unload",
      target: EngineTarget,
      name: string,
      run: () => Promise<T>,
    ): Promise<T> => {
      // What the fence stops is no attempt.
      target.beforeChange?.();
      const pod = this.#context.facts.kubelet.at(new URL(target.url).hostname);
      const adapter = pod && this.#context.facts.adapter(pod.keyOf(name));
      const end = this.#begin(kind, adapter, name, pod, instance());
      try {
        const result = await run();
        end(undefined);
        return result;
      } catch (error) {
        end(error);
        throw error;
      }
    };
    const ears = <E extends Engine>(engine: E): E => ({
      ...engine,
      load: (target, request, signal) =>
        around("load", target, request.name, () => engine.load(target, request, signal)),
      unload: (target, name, signal) =>
        around("unload", target, name, () => engine.unload(target, name, signal)),
    });
    return {
      vllm: ears(engines.vllm),
      sglang: ears(engines.sglang),
      runtime: {
        ...ears(engines.runtime),
        loadArtifact: (target, request, signal) =>
          around("load", target, request.name, () =>
            engines.runtime.loadArtifact(target, request, signal),
          ),
      },
    };
  }

  /** An engine has the adapter as wanted: whatever failed before is settled. */
  held(adapter: ModelAdapter, pod: SimPod): void {
    this.#heldMs.set(keyOf(adapter, pod), this.#context.time.now());
  }

  /** When the next attempt is due by the documentation; what is not under way by then is late. */
  dueMs(adapter: ModelAdapter, pod: SimPod): number {
    const key = keyOf(adapter, pod);
    const failed = this.#loads.get(key)?.endedMs ?? 0;
    // What a sidecar put there unheard cannot be told from an earlier version: the next attempt settles it.
    const last = pod.sidecar === undefined ? undefined : this.#loads.get(key);
    const series = this.#current(adapter, pod, failed + HEARD_MS) ?? last;
    const written = this.#written(adapter, pod);
    const failedUnload = this.#unloads.get(`${adapter.metadata.name} ${pod.uid}`);
    const pauseMs =
      failedUnload === undefined
        ? 0
        : Math.min(UNLOAD_PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** (failedUnload.failures - 1));
    return Math.max(
      this.#endedMs.get(key) ?? 0,
      this.#inFlight.has(key) ? this.#context.time.now() : 0,
      series === undefined ? 0 : series.endedMs + pauseAfterMs(series),
      written === undefined ? 0 : written.atMs + 1000 + pauseAfterMs(written),
      (failedUnload?.endedMs ?? 0) + pauseMs,
    );
  }

  /** When the next unload of something that is gone is due. */
  unloadDueMs(name: string, pod: SimPod): number {
    const failed = this.#unloads.get(`${name} ${pod.uid}`);
    if (failed === undefined) return 0;
    return (
      failed.endedMs + Math.min(UNLOAD_PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** (failed.failures - 1))
    );
  }

  /** When the load of the adapter that is under way on the pod began. */
  loadingSinceMs(name: string, pod: SimPod): number | undefined {
    const adapter = this.#context.facts.adapter(pod.keyOf(name));
    return adapter && this.#inFlight.get(keyOf(adapter, pod));
  }

  #begin(
    kind: "load" | "unload",
    adapter: ModelAdapter | undefined,
    name: string,
    pod: SimPod | undefined,
    instance: Instance,
  ): (error: unknown) => void {
    const { time } = this.#context;
    if (pod === undefined) return () => {};
    if (kind === "unload") return (error) => this.#unloaded(`${name} ${pod.uid}`, error);
    if (adapter === undefined) return () => {};
    const key = keyOf(adapter, pod);
    this.#checkPause(adapter, pod, instance);
    const startedMs = time.now();
    this.#inFlight.set(key, startedMs);
    const { life } = pod.engine;
    return (error) => {
      if (this.#inFlight.get(key) === startedMs) this.#inFlight.delete(key);
      this.#endedMs.set(key, time.now());
      if (error === undefined) {
        this.#loads.delete(key);
        this.#checkEvictions(adapter, pod, instance);
      }
      if (error === undefined || isAbort(error)) return;
      const isFinal = !(error instanceof EngineError && error.retriable);
      const before = this.#loads.get(key);
      // One that led until it stood still hears late of what others have tried again since.
      if (before !== undefined && before.startedMs > startedMs) return;
      const failures = before === undefined || before.isFinal ? 0 : before.failures;
      this.#loads.set(key, {
        failures: Math.min(failures + 1, ATTEMPTS_MAX),
        startedMs,
        endedMs: time.now(),
        isFinal,
        instance,
        life,
        wasCalm: this.#context.calm.sinceMs < startedMs,
      });
    };
  }

  #checkEvictions(adapter: ModelAdapter, pod: SimPod, { host }: Instance): void {
    const { time, report } = this.#context;
    const { name, uid, generation } = adapter.metadata;
    // What was dropped is remembered by one controller, not by the next.
    const key = `${host.name} ${uid} ${generation} ${pod.uid} ${pod.engine.life}`;
    const times = this.#loadedMs.get(key) ?? [];
    this.#loadedMs.set(key, times);
    times.push(time.now());
    while ((times[0] ?? 0) < time.now() - EVICTED_MS) times.shift();
    if (times.length <= LOADS_MAX) return;
    report("eviction-fought", `${times.length} loads of ${name} on ${pod.name} succeeded`);
    times.length = 0;
  }

  #unloaded(key: string, error: unknown): void {
    if (error === undefined) this.#unloads.delete(key);
    if (error === undefined || isAbort(error)) return;
    const failures = (this.#unloads.get(key)?.failures ?? 0) + 1;
    this.#unloads.set(key, { failures, endedMs: this.#context.time.now() });
  }

  #checkPause(adapter: ModelAdapter, pod: SimPod, instance: Instance): void {
    const { report, time } = this.#context;
    const key = keyOf(adapter, pod);
    // What happened before the attempt may have been heard of after it.
    const last = this.#loads.get(key);
    const heardMs = this.#context.calm.heardSinceMs(last?.startedMs ?? 0);
    // A restart may be told of later than it happened.
    const isRenewed = this.#context.history.podChangedMs(pod.uid) >= heardMs;
    // And an attempt may have been made with a Secret that was read before it changed.
    const series = isRenewed
      ? undefined
      : this.#current(adapter, pod, heardMs, heardMs - SECRET_MS);
    if (series === undefined) this.#loads.delete(key);
    const written = this.#written(adapter, pod);
    const isSame = series?.instance === instance;
    // What a wrong clock wrote down binds nobody.
    if (!isSame && this.#context.controllers().wereClocksSet) {
      this.#loads.delete(key);
      return;
    }
    if (written === undefined && series !== undefined && !isSame && this.#hadTime(series)) {
      const early = series.endedMs + pauseAfterMs(series) - SECOND_MS - time.now();
      const what = `load of ${adapter.metadata.name} on ${pod.name}`;
      if (early > 0)
        report("retry-early", `${what}: an earlier controller's failures are forgotten`);
    }
    // Another controller goes on from what was written down.
    const dueMs = isSame
      ? series.endedMs + pauseAfterMs(series)
      : series === undefined || written === undefined
        ? 0
        : written.atMs + pauseAfterMs(written);
    if (!isSame) {
      if (series !== undefined && written !== undefined) series.failures = written.failures;
      else this.#loads.delete(key);
    }
    if (time.now() >= dueMs) return;
    const how = `${series?.failures} failures, ${dueMs - time.now()} ms too early`;
    report("retry-early", `load of ${adapter.metadata.name} on ${pod.name}: ${how}`);
  }

  /** The controller that saw a failure could write it down. */
  #hadTime({ isFinal, instance, endedMs, wasCalm }: Series): boolean {
    if (isFinal || !wasCalm || instance.endedAtMs === undefined) return false;
    return (
      instance.endedAtMs > endedMs + SECOND_MS &&
      this.#context.calm.lastFailureMs < endedMs - SLOW_MS
    );
  }

  #written(adapter: ModelAdapter, pod: SimPod) {
    const { metadata, status } = adapter;
    if (status?.observedGeneration !== metadata.generation) return undefined;
    const written = failureFromAnnotations(metadata.annotations, pod.name);
    if (written === undefined) return undefined;
    // By a clock that is ahead it may be of the future.
    const atMs = Math.min(written.atMs, this.#context.time.now());
    return { atMs, failures: written.retries + 1, isFinal: false };
  }

  /** The failures that still count, when what happened from `startedMs` on came after them. */
  #current(
    adapter: ModelAdapter,
    pod: SimPod,
    startedMs: number,
    secretsMs = startedMs,
  ): Series | undefined {
    const { history } = this.#context;
    const key = keyOf(adapter, pod);
    const series = this.#loads.get(key);
    if (series === undefined) return undefined;
    const { failures, isFinal } = series;
    const { apiKeySecretRef, credentialsSecretRef } = adapter.spec;
    const names = [apiKeySecretRef?.name, credentialsSecretRef?.name];
    const secretMs = names.map((name) =>
      history.secretChangedMs(`${adapter.metadata.namespace}/${name}`),
    );
    const isExhausted = !isFinal && failures >= ATTEMPTS_MAX;
    const isSettled =
      series.life !== pod.engine.life ||
      history.specChangedMs(adapter.metadata.uid) >= startedMs ||
      (this.#heldMs.get(key) ?? 0) >= startedMs ||
      this.#context.facts.isCurrent(adapter, pod) ||
      Math.max(...secretMs) >= secretsMs ||
      (isExhausted && pod.answersSinceMs >= startedMs);
    return isSettled ? undefined : series;
  }
}

function pauseAfterMs({ failures, isFinal }: Pick<Series, "failures" | "isFinal">): number {
  if (isFinal || failures >= ATTEMPTS_MAX) return SLOW_MS;
  return FIRST_PAUSE_MS * 2 ** (failures - 1);
}

function keyOf(adapter: ModelAdapter, pod: SimPod): string {
  return `${adapter.metadata.uid} ${pod.uid}`;
}
