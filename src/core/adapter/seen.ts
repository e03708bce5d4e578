/**
 * Everything that the planner may know. A fact that is not in here cannot influence a decision, so a
 * decision can always be repeated from its snapshot.
 */
import type { ModelAdapter, SchedulerName } from "#api/model-adapter.ts";

/**
 * What a pod's engine says of the adapter.
 * - `unknown`: not asked yet. Never guessed: neither loaded nor unloaded on.
 * - `silent`: asked, and it did not answer. A load is tried, since its failure says why; nothing else.
 * - `absent`: the engine answered and does not list it.
 * - `current`: listed, from the artifact that the spec wants now.
 * - `outdated`: listed, from an earlier artifact.
 * - `foreign`: listed, but loaded by somebody else on a pod where we were not asked to; never touched.
 */
export type Held = "unknown" | "silent" | "absent" | "current" | "outdated" | "foreign";

/** The last failure of loading on a pod. */
export interface Failure {
  /** When it failed, milliseconds since the epoch. */
  readonly atMs: number;
  /** Retries that had been made by then: 0 after the first attempt, at most 5. */
  readonly retries: number;
  readonly retriable: boolean;
  /** In words that name the cure. */
  readonly message: string;
}

export interface PodSeen {
  readonly name: string;
  readonly uid: string;
  readonly ip: string | undefined;
  /** Matches the adapter's podSelector; a pod that no longer does is seen only because it may hold the adapter. */
  readonly matches: boolean;
  /** Carries `adapter.model.aibrix.ai/enabled=true`. */
  readonly enabled: boolean;
  /** Its label `model.aibrix.ai/name`. */
  readonly baseModel: string | undefined;
  /** When the pod became Ready; undefined while it is not. */
  readonly readySinceMs: number | undefined;
  readonly terminating: boolean;
  readonly held: Held;
  /** The operation for this adapter that is under way on this pod. */
  readonly busy: "loading" | "unloading" | undefined;
  readonly failure: Failure | undefined;
  /** Other adapters on this pod, loads in flight included. */
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
  readonly nowMs: number;
  readonly adapter: ModelAdapter;
  readonly pods: readonly PodSeen[];
  readonly service: OwnedSeen<null>;
  /** Content: names of the pods that the EndpointSlice sends requests to. */
  readonly slice: OwnedSeen<readonly string[]>;
  /** What `schedulerName: default` means. */
  readonly schedulerPolicy: SchedulerName;
}
