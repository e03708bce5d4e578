import { versionOf } from "#api/adapter-version.ts";
import type { Condition, Pod } from "#api/kubernetes.ts";
import type { ModelAdapter, Phase } from "#api/model-adapter.ts";
import { ANNOTATION } from "#api/names.ts";
import { type Clock, fromTimestamp } from "#base/clock.ts";
import type { LoadedAs } from "#core/adapter/held.ts";
import { failureFromAnnotations, RETRIES_MAX } from "#core/adapter/retry.ts";
import type { DownloadProgress, Failure, Held, PodSeen, Seen } from "#core/adapter/seen.ts";
import { scheduledPods } from "#core/adapter/select.ts";
import { portOf } from "./objects.ts";
import type { SecretVersions } from "./secrets.ts";
import type { Turns } from "./slots.ts";

/** An engine that dropped an adapter by itself, or fell silent with it, this often within the time below is not fought. */
const LOSSES_MAX = 3;
const LOSSES_WITHIN_MS = 120_000;

/** How long an engine may still come to a load whose caller has gone. */
export const LATE_LOAD_MS = 60_000;

/** What is going on with one adapter on one pod, and how the last tries went. */
export interface Work {
  busy: PodSeen["busy"];
  /** Set while something is under way, or waits for its turn. */
  turns: Turns | undefined;
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
  /** What `loadFailure` is about: `attemptOf` the adapter as it was. */
  failedAttempt: string | undefined;
  /** The versions of the adapter's Secrets that were last tried; undefined: an earlier controller's. */
  triedSecrets: SecretVersions | undefined;
  loadedAs: LoadedAs | undefined;
  lateLoadUntilMs: number | undefined;
  routedAtMs: number;
  /** At the last look the engine had the current version. */
  wasCurrent: boolean;
  /** When the engine dropped the adapter by itself, or fell silent with it. */
  lossesMs: number[];
}

/** How many engines dropped an adapter by themselves, and how many tell no more what they hold. */
export interface Losses {
  readonly dropped: number;
  readonly silent: number;
}

/** What is known of one adapter beside the pods. */
export interface Notes {
  /** The conditions of a status that was decided and waits to be written, its phase, and since when that is the phase. */
  draft:
    | { conditions: readonly Condition[]; phase: Phase | undefined; sinceMs: number }
    | undefined;
  publishFailure: string | undefined;
  /** The last write of the metadata was not answered: it may have been done or not. */
  isUnanswered: boolean;
  /** The pods that were last selected. */
  selected: string | undefined;
  /** It was seen while nobody had asked it to go. */
  wasAlive: boolean;
  doomedMs: number | undefined;
}

/**
 * What the controller remembers between two looks. It may be lost at any time: the failures that count are also in the adapter's
 * annotations, what was loaded where is in its status, and what engines hold is asked of them.
 */
export class Memory {
  readonly #adapters = new Map<string, { notes: Notes; pods: Map<string, Work> }>();
  readonly #clock: Clock;
  /** When this controller began; what the one before it published a moment ago, nobody can say. */
  readonly #startedMs: number;
  readonly #nothing: Readonly<Work>;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.now();
    this.#nothing = Object.freeze(workFrom(this.#startedMs));
  }

  notes(adapter: ModelAdapter): Notes {
    return this.#of(adapter).notes;
  }

  /** When the adapter was asked to go, by our clock: when that was first seen, unless it was before this controller began. */
  doomedMs(adapter: ModelAdapter): number | undefined {
    const told = fromTimestamp(adapter.metadata.deletionTimestamp);
    const notes = this.notes(adapter);
    const isDoomed = told !== undefined;
    if (isDoomed) notes.doomedMs ??= notes.wasAlive ? this.#clock.now() : this.#momentOf(told);
    else notes.wasAlive = true;
    return notes.doomedMs;
  }

  /** A moment that somebody wrote down as a time of day; it has passed, whatever the machines' clocks say. */
  #momentOf(timeOfDayMs: number): number {
    return Math.min(timeOfDayMs - (this.#clock.offsetMs?.() ?? 0), this.#clock.now());
  }

  /** The work for an adapter on a pod. A new controller goes on counting where the last one stood. */
  work(adapter: ModelAdapter, pod: Pod): Work {
    const { pods } = this.#of(adapter);
    const uid = uidOf(pod);
    const known = pods.get(uid);
    if (known !== undefined) return known;
    const fresh: Work = {
      ...workFrom(this.#startedMs),
      loadFailure: this.#writtenFailure(adapter, pod),
      failedAttempt: attemptOf(adapter),
      lateLoadUntilMs: this.#lateLoad(adapter, pod),
    };
    pods.set(uid, fresh);
    return fresh;
  }

  /**
   * The same to look at only: of the many pods that have nothing to do with an adapter nothing is kept.
   * @param isOnRecord it is written down that the adapter was loaded on the pod, or begun to be
   */
  peek(adapter: ModelAdapter, pod: Pod, isOnRecord: boolean): Readonly<Work> {
    const known = this.#of(adapter).pods.get(uidOf(pod));
    if (known !== undefined) return known;
    return isOnRecord || hasRetries(adapter) ? this.work(adapter, pod) : this.#nothing;
  }

  #writtenFailure(adapter: ModelAdapter, pod: Pod): Failure | undefined {
    const written = writtenFailure(adapter, pod);
    return written && { ...written, atMs: this.#momentOf(written.atMs) };
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

  /** The failure of loading the spec as it is now; one of an earlier spec, or at another port, says nothing. */
  loadFailure(adapter: ModelAdapter, work: Work): Failure | undefined {
    if (work.loadFailure === undefined) return undefined;
    return work.failedAttempt === attemptOf(adapter) ? work.loadFailure : undefined;
  }

  /** Takes from a look what has to outlast it. Returns what came of the pods that had the adapter at the last one. */
  learn(seen: Seen): Losses {
    const losses = { dropped: 0, silent: 0 };
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
        continue;
      }
      const isGone = pod.held === "absent" || pod.held === "silent";
      if (!isGone || pod.busy !== undefined) continue;
      if (pod.held === "absent") work.loadedAs = undefined;
      if (!work.wasCurrent) continue;
      work.wasCurrent = false;
      losses[pod.held === "absent" ? "dropped" : "silent"]++;
      noteLoss(work, seen, pod.held);
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

  /**
   * What failed with other versions of the adapter's Secrets may be mended: it is tried again at once. True when there is any. What an
   * earlier controller failed with nobody knows: it counts from the next change on.
   */
  forgetFailures(adapter: ModelAdapter, secrets: SecretVersions): boolean {
    let isMended = false;
    for (const work of this.#of(adapter).pods.values()) {
      work.triedSecrets ??= secrets;
      const isSame = [...work.triedSecrets].every(([ref, was]) => secrets.get(ref) === was);
      if (isSame) continue;
      isMended ||= work.loadFailure !== undefined || work.unloadFailure !== undefined;
      work.loadFailure = undefined;
      work.unloadFailure = undefined;
    }
    return isMended;
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
    const notes = {
      draft: undefined,
      publishFailure: undefined,
      isUnanswered: false,
      selected: undefined,
      wasAlive: false,
      doomedMs: undefined,
    };
    const fresh = { notes, pods: new Map<string, Work>() };
    this.#adapters.set(key, fresh);
    return fresh;
  }
}

/** What makes an attempt another one: the spec, and the engine's port. */
export const attemptOf = (adapter: ModelAdapter) =>
  `${adapter.metadata.generation} ${portOf(adapter)}`;

export const uidOf = (pod: Pod) => pod.metadata.uid ?? pod.metadata.name;

/** An adapter that was deleted and made again under its name is another one. */
function keyOf({ metadata }: ModelAdapter): string {
  return metadata.uid ?? `${metadata.namespace}/${metadata.name}`;
}

/** Nothing has happened yet. */
const workFrom = (startedMs: number): Work => ({
  busy: undefined,
  turns: undefined,
  loadingVersion: undefined,
  progress: undefined,
  abort: undefined,
  ended: Promise.resolve(),
  loadFailure: undefined,
  failedAttempt: undefined,
  triedSecrets: undefined,
  unloadFailure: undefined,
  loadedAs: undefined,
  lateLoadUntilMs: undefined,
  routedAtMs: startedMs,
  wasCurrent: false,
  lossesMs: [],
});

function hasRetries({ metadata: { annotations } }: ModelAdapter): boolean {
  for (const key in annotations) if (key.startsWith(ANNOTATION.lastRetryTimePrefix)) return true;
  return false;
}

function noteLoss(work: Work, { nowMs, adapter }: Seen, held: Held): void {
  work.lossesMs = [...work.lossesMs.filter((ms) => nowMs - ms < LOSSES_WITHIN_MS), nowMs];
  const count = work.lossesMs.length;
  // Loads that failed since have a back-off of their own, which goes on.
  const isFailing = work.loadFailure !== undefined && work.failedAttempt === attemptOf(adapter);
  if (count < LOSSES_MAX || isFailing) return;
  work.failedAttempt = attemptOf(adapter);
  const isCapacity = held === "absent";
  const often = `${count} times within ${LOSSES_WITHIN_MS / 1000} s`;
  work.loadFailure = {
    atMs: nowMs,
    retries: Math.min(count - LOSSES_MAX, RETRIES_MAX),
    retriable: true,
    isCapacity,
    message: isCapacity
      ? `the engine dropped the adapter by itself ${often}: raise how many adapters it may hold, or put fewer on this pod`
      : `the engine did not say ${often} what it holds, although it had taken the adapter: see why GET /v1/models fails there`,
  };
}

/** What an earlier controller wrote down, at its time of day. */
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
