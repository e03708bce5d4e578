/**
 * Everything that the planner may know. A fact that is not in here cannot influence a decision, so a
 * decision can always be repeated from its snapshot.
 */
import type { Condition } from "#api/kubernetes.ts";
import type { ModelAdapter, SchedulerName } from "#api/model-adapter.ts";
import { toTimestamp } from "#base/clock.ts";

/**
 * What a pod's engine says of the adapter. Never guessed: where it is not known, nothing is done that would be wrong otherwise.
 * - `unasked`: this controller has not asked it yet. What was decided before stands until it has.
 * - `unknown`: it may have changed since it was asked (a restarted container); it is being asked again.
 * - `silent`: asked, and it did not answer. A load is tried, since its failure says why; nothing else.
 * - `absent`: it answered and does not list the adapter.
 * - `current`: listed, in the version that the spec wants.
 * - `outdated`: listed, in another version.
 * - `foreign`: listed, but loaded by somebody else. Replaced where the adapter is wanted, never touched elsewhere.
 */
export type Held = "unasked" | "unknown" | "silent" | "absent" | "current" | "outdated" | "foreign";

/** The last failure of an operation on a pod. */
export interface Failure {
  /** When it failed, milliseconds since the epoch. */
  readonly atMs: number;
  /** Retries that had been made by then: 0 after the first attempt. */
  readonly retries: number;
  readonly retriable: boolean;
  /** In words that name the cure. */
  readonly message: string;
  /** The engine drops adapters by itself. */
  readonly isCapacity?: boolean;
}

/** How far a download is. */
export interface DownloadProgress {
  readonly bytesDone: number;
  /** Undefined: the source does not tell. */
  readonly bytesTotal: number | undefined;
}

export interface PodSeen {
  readonly name: string;
  readonly uid: string;
  readonly ip: string | undefined;
  /** Matches the adapter's podSelector; one that does not is seen because it is on record. */
  readonly matches: boolean;
  /** Carries `adapter.model.aibrix.ai/enabled=true`. */
  readonly enabled: boolean;
  /** Its label `model.aibrix.ai/name`. */
  readonly baseModel: string | undefined;
  /** When the pod became Ready; undefined while it is not. */
  readonly readySinceMs: number | undefined;
  readonly terminating: boolean;
  readonly held: Held;
  /** The path from which the engine has it, where one was told. */
  readonly path: string | undefined;
  /** It is written down that we loaded the adapter here, or began to. */
  readonly recorded: boolean;
  /** What the engine lists lies where we are on record of having loaded it from, in whatever version. */
  readonly known: boolean;
  /** The operation for this adapter that is under way on this pod. */
  readonly busy: "loading" | "unloading" | undefined;
  /** While it is, or waits for its turn: since when no operation on the pod has succeeded, milliseconds since the epoch. */
  readonly stalledSinceMs: number | undefined;
  /** The version that is being loaded. */
  readonly loadingVersion: string | undefined;
  /** How far its download is, as far as it was told. */
  readonly progress?: DownloadProgress | undefined;
  readonly loadFailure: Failure | undefined;
  readonly unloadFailure: Failure | undefined;
  /** A load was broken off or got no answer; the engine may still come to it until then, milliseconds since the epoch. */
  readonly lateLoadUntilMs: number | undefined;
  /** When the EndpointSlice last named the pod; undefined: not that anybody remembers. */
  readonly routedAtMs: number | undefined;
  /** Other adapters that are meant for this pod, loaded already or not. */
  readonly otherAdapters: number;
}

/** An object of the adapter's name that should be ours. */
export type OwnedSeen<T> =
  | { readonly state: "absent" }
  /** Somebody else's: reported, never taken over. */
  | { readonly state: "foreign" }
  /** `intact`: ports, labels and everything else but `content` is as wanted. */
  | { readonly state: "ours"; readonly intact: boolean; readonly content: T };

export interface Seen {
  /** All moments here are by the controller's own clock, which nobody sets. */
  readonly nowMs: number;
  /** How far the time of day, which others are told, is ahead of that. */
  readonly offsetMs: number;
  readonly adapter: ModelAdapter;
  /** When it was asked to go; undefined: it was not. */
  readonly doomedMs: number | undefined;
  /** The conditions as last decided, written down already or not: they carry the times of their transitions. */
  readonly conditions: readonly Condition[];
  readonly pods: readonly PodSeen[];
  readonly service: OwnedSeen<null>;
  /** Content: names of the pods that the EndpointSlice sends requests to. */
  readonly slice: OwnedSeen<readonly string[]>;
  /** Why Service or EndpointSlice could not be written, with the object's name. */
  readonly publishFailure: string | undefined;
  /** What `schedulerName: default` means. */
  readonly schedulerPolicy: SchedulerName;
}

/** A moment as others are told of it. */
export function timestampOf({ offsetMs }: Pick<Seen, "offsetMs">, ms: number): string {
  return toTimestamp(ms + offsetMs);
}

/** The names that the EndpointSlice sends requests to. */
export function publishedPods(seen: Seen): readonly string[] {
  return seen.slice.state === "ours" ? seen.slice.content : [];
}
