import { versionOf } from "#api/adapter-version.ts";
import type { Condition, Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { fromTimestamp } from "#base/clock.ts";
import type { LoadedAs } from "#core/adapter/held.ts";
import { failureFromAnnotations, RETRIES_MAX } from "#core/adapter/retry.ts";
import type { DownloadProgress, Failure, PodSeen, Seen } from "#core/adapter/seen.ts";
import { scheduledPods } from "#core/adapter/select.ts";

/** An engine that dropped an adapter by itself this often within the time below is full: it is not fought. */
const LOSSES_MAX = 3;
const LOSSES_WITHIN_MS = 120_000;

/** How long an engine may still come to a load whose caller has gone. */
export const LATE_LOAD_MS = 60_000;

/** What is going on with one adapter on one pod, and how the last tries went. */
export interface Work {
  busy: PodSeen["busy"];
  /** The version that is being loaded. */
  loadingVersion: string | undefined;
  /** How far its download was when that was last told. */
  progress: DownloadProgress | undefined;
  /** Breaks off what is under way. */
  abort: AbortController | undefined;
  /** Settles when what is under way has ended. */
  ended: Promise<void>;
  loadFailure: Failure | undefined;
  unloadFailure: Failure | undefined;
  /** The `metadata.generation` that `loadFailure` is about. */
  failedGeneration: number | undefined;
  loadedAs: LoadedAs | undefined;
  lateLoadUntilMs: number | undefined;
  routedAtMs: number;
  /** At the last look the engine had the current version. */
  wasCurrent: boolean;
  /** When the engine dropped the adapter by itself. */
  lossesMs: number[];
}

/** What is known of one adapter beside the pods. */
export interface Notes {
  /** The conditions of a status that was decided and waits to be written, and since when it does. */
  draft: { conditions: readonly Condition[]; sinceMs: number } | undefined;
  publishFailure: string | undefined;
  /** The pods that were last selected. */
  selected: string | undefined;
}

/**
 * What the controller remembers between two looks. It may be lost at any time: the failures that count are also in the adapter's
 * annotations, what was loaded where is in its status, and what engines hold is asked of them.
 */
export class Memory {
  readonly #adapters = new Map<string, { notes: Notes; pods: Map<string, Work> }>();
  readonly #startedMs: number;

  /** @param startedMs when this controller began; what the one before it published a moment ago, nobody can say. */
  constructor(startedMs: number) {
    this.#startedMs = startedMs;
  }

  notes(adapter: ModelAdapter): Notes {
    return this.#of(adapter).notes;
  }

  /** The work for an adapter on a pod. A new controller goes on counting where the last one stood. */
  work(adapter: ModelAdapter, pod: Pod): Work {
    const { pods } = this.#of(adapter);
    const uid = uidOf(pod);
    const known = pods.get(uid);
    if (known !== undefined) return known;
    const fresh: Work = {
      busy: undefined,
      loadingVersion: undefined,
      progress: undefined,
      abort: undefined,
      ended: Promise.resolve(),
      loadFailure: writtenFailure(adapter, pod),
      failedGeneration: adapter.metadata.generation,
      unloadFailure: undefined,
      loadedAs: undefined,
      lateLoadUntilMs: this.#lateLoad(adapter, pod),
      routedAtMs: this.#startedMs,
      wasCurrent: false,
      lossesMs: [],
    };
    pods.set(uid, fresh);
    return fresh;
  }

  /** The pod's engine has the adapter from us, or may come to it, whatever is written down. */
  isAbout(adapter: ModelAdapter, pod: Pod): boolean {
    const work = this.#of(adapter).pods.get(uidOf(pod));
    if (work === undefined) return false;
    const { busy, loadedAs, lateLoadUntilMs } = work;
    return busy !== undefined || loadedAs !== undefined || lateLoadUntilMs !== undefined;
  }

  /** A load that a controller before this one began may still be under way. */
  #lateLoad(adapter: ModelAdapter, pod: Pod): number | undefined {
    const { name } = pod.metadata;
    const state = adapter.status?.pods?.find((line) => line.name === name)?.state ?? "Waiting";
    if (state === "Waiting" && !scheduledPods(adapter).includes(name)) return undefined;
    return this.#startedMs + LATE_LOAD_MS;
  }

  /** The failure of loading the spec as it is now; one of an earlier spec says nothing. */
  loadFailure(adapter: ModelAdapter, work: Work): Failure | undefined {
    return work.failedGeneration === adapter.metadata.generation ? work.loadFailure : undefined;
  }

  /** Takes from a look what has to outlast it. Returns how many engines dropped the adapter since the last one. */
  learn(seen: Seen): number {
    let losses = 0;
    const { pods } = this.#of(seen.adapter);
    for (const pod of seen.pods) {
      const work = pods.get(pod.uid);
      if (work === undefined) continue;
      work.routedAtMs = Math.max(work.routedAtMs, pod.routedAtMs ?? work.routedAtMs);
      if (work.lateLoadUntilMs !== undefined && work.lateLoadUntilMs <= seen.nowMs) {
        work.lateLoadUntilMs = undefined;
      }
      if (pod.held === "current") {
        work.loadFailure = undefined;
        work.wasCurrent = true;
        // What is taken over stays so, also once it is written down that the adapter is here.
        const { path } = pod;
        if (path !== undefined) work.loadedAs ??= { path, version: versionOf(seen.adapter.spec) };
      } else if (pod.held === "absent" && work.wasCurrent && pod.busy === undefined) {
        work.wasCurrent = false;
        losses++;
        noteLoss(work, seen);
      }
    }
    return losses;
  }

  /** Whether anything failed that a changed Secret could mend. */
  isFailing(adapter: ModelAdapter): boolean {
    const works = this.#of(adapter).pods.values();
    return [...works].some(
      (work) => this.loadFailure(adapter, work) !== undefined || work.unloadFailure !== undefined,
    );
  }

  /** What an adapter's loads and unloads failed for until `sinceMs` may be mended: they are tried again at once. */
  forgetFailures(adapter: ModelAdapter, sinceMs: number): void {
    for (const work of this.#of(adapter).pods.values()) {
      const isOld = (failure: Failure | undefined) => (failure?.atMs ?? 0) <= sinceMs;
      if (isOld(work.loadFailure)) work.loadFailure = undefined;
      if (isOld(work.unloadFailure)) work.unloadFailure = undefined;
    }
  }

  /** The pod is not what it was: another container, another address. */
  renewPod(pod: Pod): void {
    for (const { pods } of this.#adapters.values()) {
      const work = pods.get(uidOf(pod));
      if (work === undefined) continue;
      work.loadFailure = undefined;
      work.unloadFailure = undefined;
      work.wasCurrent = false;
      work.lossesMs = [];
    }
  }

  /** An engine that had been silent answers again: pods that were given up for it get another chance. */
  encouragePod(pod: Pod): void {
    for (const { pods } of this.#adapters.values()) {
      const work = pods.get(uidOf(pod));
      if (work?.loadFailure?.retriable && work.loadFailure.retries >= RETRIES_MAX) {
        work.loadFailure = undefined;
      }
    }
  }

  /** An adapter that is gone: what is under way for it is broken off. */
  forget(adapter: ModelAdapter): void {
    for (const work of this.#of(adapter).pods.values()) work.abort?.abort();
    this.#adapters.delete(keyOf(adapter));
  }

  /** A pod that is gone. */
  forgetPod(pod: Pod): void {
    for (const { pods } of this.#adapters.values()) {
      pods.get(uidOf(pod))?.abort?.abort();
      pods.delete(uidOf(pod));
    }
  }

  #of(adapter: ModelAdapter): { notes: Notes; pods: Map<string, Work> } {
    const key = keyOf(adapter);
    const known = this.#adapters.get(key);
    if (known !== undefined) return known;
    const notes = { draft: undefined, publishFailure: undefined, selected: undefined };
    const fresh = { notes, pods: new Map<string, Work>() };
    this.#adapters.set(key, fresh);
    return fresh;
  }
}

export const uidOf = (pod: Pod) => pod.metadata.uid ?? pod.metadata.name;

/** An adapter that was deleted and made again under its name is another one. */
function keyOf({ metadata }: ModelAdapter): string {
  return `${metadata.namespace}/${metadata.name}/${metadata.uid}`;
}

function noteLoss(work: Work, { nowMs, adapter }: Seen): void {
  work.lossesMs = [...work.lossesMs.filter((ms) => nowMs - ms < LOSSES_WITHIN_MS), nowMs];
  const count = work.lossesMs.length;
  if (count < LOSSES_MAX) return;
  work.failedGeneration = adapter.metadata.generation;
  work.loadFailure = {
    atMs: nowMs,
    retries: Math.min(count - LOSSES_MAX, RETRIES_MAX),
    retriable: true,
    isCapacity: true,
    message: `the engine dropped the adapter by itself ${count} times within ${LOSSES_WITHIN_MS / 1000} s: raise how many adapters it may hold, or put fewer on this pod`,
  };
}

function writtenFailure(adapter: ModelAdapter, pod: Pod): Failure | undefined {
  const { metadata, status } = adapter;
  const told = status?.observedGeneration;
  // What was written down is about an earlier spec.
  if (told !== undefined && told !== metadata.generation) return undefined;
  const written = failureFromAnnotations(metadata.annotations, pod.metadata.name);
  if (written === undefined) return undefined;
  // A pod or container that started since has not failed yet.
  const started = (pod.status?.containerStatuses ?? []).map((one) => one.state?.running?.startedAt);
  const isNewer = [pod.metadata.creationTimestamp, ...started].some(
    (text) => (fromTimestamp(text) ?? 0) > written.atMs,
  );
  if (isNewer) return undefined;
  const line = status?.pods?.find((one) => one.name === pod.metadata.name);
  return { ...written, message: line?.message ?? "failed before the controller was restarted" };
}
