/**
 * Every reason and sentence that a ModelAdapter's conditions, Events and lines per pod carry. The words are AIBrix's where it has some:
 * users' alerts and scripts match on them.
 */
import type { Condition } from "./kubernetes.ts";
import type { ModelAdapterPodStatus, Phase } from "./model-adapter.ts";

/** The conditions of a ModelAdapter, in the order in which `kubectl describe` shows them. */
export const CONDITION_TYPES = ["Initialized", "Scheduled", "Loaded", "Bound", "Ready"] as const;
export type ConditionType = (typeof CONDITION_TYPES)[number];

/** What is claimed of one condition now. */
export interface ConditionClaim {
  readonly type: ConditionType;
  readonly status: Condition["status"];
  readonly reason: Reason;
  readonly message: string;
}

/** `default/my-lora`. */
export interface AdapterName {
  readonly namespace: string;
  readonly name: string;
}

/** An Event to be recorded on the ModelAdapter. */
export interface EventText {
  readonly type: "Normal" | "Warning";
  readonly reason: Reason;
  readonly message: string;
}

/** What is told of a phase or a reason to whoever meets it. */
interface Meaning {
  readonly when: string;
  /** What to do about it. */
  readonly cure: string;
}

/** A reason: where it stands beside what it means. */
interface ReasonMeaning extends Meaning {
  /** The conditions that carry it; `pods`: the lines of `status.pods`. */
  readonly on: readonly (ConditionType | "pods")[];
  /** It is also told as an Event of this type. */
  readonly event?: EventText["type"];
}

const NOTHING = "Nothing.";
const MEND_PODS =
  "Mend what the message names: label the pods, correct the selector, find out with `kubectl describe pod` why they are not Ready.";
const FREE_THE_NAME = "Delete or rename the other object, or give the adapter another name.";

/** Every reason there is. */
export const REASONS = {
  ModelAdapterPending: {
    on: ["Initialized"],
    when: "The controller has seen the adapter; it stays so for ever.",
    cure: NOTHING,
  },
  PodNotReady: {
    on: ["Scheduled", "Loaded", "pods"],
    event: "Warning",
    when: "No pod can host the adapter, or this one cannot now; the message says what it lacks.",
    cure: MEND_PODS,
  },
  Rescheduling: {
    on: ["Scheduled"],
    event: "Warning",
    when: "The pods that were chosen can no longer host the adapter; others are looked for.",
    cure: MEND_PODS,
  },
  Scheduled: { on: ["Scheduled"], event: "Normal", when: "Pods were chosen.", cure: NOTHING },
  Loading: {
    on: ["Loaded", "pods"],
    event: "Normal",
    when: "The adapter is being loaded.",
    cure: "Wait for the download; the sidecar's log shows how far it is.",
  },
  Loaded: {
    on: ["Loaded"],
    event: "Normal",
    when: "The engine of every chosen pod lists the adapter.",
    cure: NOTHING,
  },
  ModelAdapterLoadingError: {
    on: ["Loaded", "Bound", "Ready", "pods"],
    event: "Warning",
    when: "A load failed; the message has the words of the engine or the sidecar.",
    cure: "Mend what the message names. `retry N of 5 follows`: it may pass by itself.",
  },
  ValidationFailed: {
    on: ["Loaded", "Bound", "Ready", "pods"],
    event: "Warning",
    when: "The spec cannot be meant; the message names the field.",
    cure: "Correct the field. (What the schema forbids never gets this far: the API server refuses it.)",
  },
  MaxRetriesExceeded: {
    on: ["Loaded", "pods"],
    event: "Warning",
    when: "The last of five retries on a pod failed; another pod is tried, if there is one.",
    cure: "Mend the pod: its engine does not answer, or answers with errors. A restarted container, a new pod, or an engine that answers again is tried at once.",
  },
  Capacity: {
    on: ["pods"],
    when: "The engine dropped the adapter by itself, more than once: it holds as many as it can.",
    cure: "Raise the engine's limit (SGLang: `--max-loaded-loras`), or put fewer adapters on the pod: more pods and `replicas: 1`.",
  },
  Bound: {
    on: ["Bound"],
    event: "Normal",
    when: "Service and EndpointSlice are in place.",
    cure: NOTHING,
  },
  ServiceCreateError: {
    on: ["Bound", "Ready"],
    event: "Warning",
    when: "The Service could not be written, or its name belongs to somebody else.",
    cure: FREE_THE_NAME,
  },
  EndpointSliceCreateError: {
    on: ["Bound", "Ready"],
    event: "Warning",
    when: "The EndpointSlice could not be written, or its name belongs to somebody else.",
    cure: FREE_THE_NAME,
  },
  ModelAdapterAvailable: {
    on: ["Ready"],
    event: "Normal",
    when: "At least one pod serves the adapter.",
    cure: NOTHING,
  },
  ModelAdapterUnavailable: {
    on: ["Bound", "Ready"],
    when: "No pod serves the adapter, or it is being deleted.",
    cure: "The conditions before it say why.",
  },
  AdapterMigrating: {
    on: ["Ready"],
    when: "With `replicas: 1`: the adapter moves to another pod, which does not serve it yet.",
    cure: "Wait for the load there.",
  },
  BaseModelMismatch: {
    on: ["pods"],
    when: "The pod serves another base model than `spec.baseModel` names, or none is named. A warning: it serves all the same.",
    cure: "Correct `spec.baseModel`, the selector or the pods' label `model.aibrix.ai/name`.",
  },
  Leftover: {
    on: ["pods"],
    when: "The adapter should not be on this pod any more and is being unloaded.",
    cure: "Nothing; while the pod cannot be reached, it is unloaded when it is back.",
  },
} as const satisfies Readonly<Record<string, ReasonMeaning>>;
export type Reason = keyof typeof REASONS;

/** The type of the Events that tell of a reason; undefined: there are none. */
export const eventType = (reason: Reason): EventText["type"] | undefined =>
  (REASONS[reason] as ReasonMeaning).event;

/** Every phase, and what to do when an adapter stays in it. */
export const PHASE_MEANING: Readonly<Record<Phase, Meaning>> = {
  Pending: {
    when: "No pod can host the adapter, or it is being deleted.",
    cure: "The condition `Scheduled` says what each matching pod lacks.",
  },
  Scheduled: {
    when: "Pods are chosen; their engines are being asked what they hold.",
    cure: "It lasts seconds at most: an engine that does not answer is sent the load all the same.",
  },
  Loading: {
    when: "The adapter is being loaded, or a load that failed is tried again.",
    cure: "The condition `Loaded` has the last error and which retry follows; the sidecar's log the download.",
  },
  Bound: {
    when: "An engine has the adapter; Service and EndpointSlice do not name it yet.",
    cure: "The condition `Bound` names the object that could not be written.",
  },
  Running: {
    when: "At least one pod serves the adapter, and its Service leads there.",
    cure: "Fewer `Ready` than `Desired`: `status.pods` says why, pod by pod.",
  },
  Failed: {
    when: "Every chosen pod is given up: the error is final, or five retries failed.",
    cure: "Mend what `Ready` says. It is tried again at once when the spec or a pod changes, within 10 s when a Secret that it names does, and every 5 minutes anyway.",
  },
};

/** What each condition is about. */
export const CONDITION_MEANING: Readonly<Record<ConditionType, string>> = {
  Initialized: "the controller has seen the adapter",
  Scheduled: "pods were chosen",
  Loaded: "the engine of every chosen pod lists the adapter, in the version that the spec wants",
  Bound: "Service and EndpointSlice are in place",
  Ready: "at least one pod serves the adapter",
};

/** Where the adapter stands on one pod. */
export const POD_STATE_MEANING: Readonly<Record<ModelAdapterPodStatus["state"], string>> = {
  Waiting:
    "The pod matches the selector and cannot host the adapter; the message says what it lacks.",
  Loading: "A load is under way, or about to begin.",
  Loaded: "The engine lists the adapter in the wanted version.",
  Retrying: "A load failed and is tried again at `nextRetryTime`; `retries` have been made.",
  Failed: "The pod is given up until `nextRetryTime`, or until something changes.",
  Unavailable:
    "The pod had the adapter and cannot serve it now; it will most likely come back with it.",
  Unloading:
    "The adapter should not be there and is being unloaded, or will be when the pod is back.",
};

/** The condition that makes a phase: its reason and message are the phase's, too. */
export const PHASE_CONDITION: Readonly<Record<Phase, ConditionType>> = {
  Pending: "Scheduled",
  Scheduled: "Scheduled",
  Loading: "Loaded",
  Bound: "Bound",
  Running: "Ready",
  Failed: "Ready",
};

const listOf = (pods: readonly string[]) => `[${pods.join(" ")}]`;
const on = (pods: readonly string[]) =>
  pods.length === 1 ? `on pod ${pods[0]}` : `on ${pods.length} pods: ${listOf(pods)}`;

export const CONDITION = {
  initialized: (): ConditionClaim => ({
    type: "Initialized",
    status: "Unknown",
    reason: "ModelAdapterPending",
    message: "Starting reconciliation",
  }),
  scheduled: ({ namespace, name }: AdapterName, pods: readonly string[]): ConditionClaim => ({
    type: "Scheduled",
    status: "True",
    reason: "Scheduled",
    message: `ModelAdapter ${namespace}/${name} has selected ${pods.length} pods for scheduling: ${listOf(pods)}`,
  }),
  /** No pod was ever chosen. */
  unscheduled: (why: string): ConditionClaim => ({
    type: "Scheduled",
    status: "False",
    reason: "PodNotReady",
    message: why,
  }),
  /** The chosen pods are gone; others are looked for. */
  rescheduling: (why: string): ConditionClaim => ({
    type: "Scheduled",
    status: "False",
    reason: "Rescheduling",
    message: why,
  }),
  loaded: (pods: readonly string[]): ConditionClaim => ({
    type: "Loaded",
    status: "True",
    reason: "Loaded",
    message: `Successfully loaded adapter ${on(pods)}`,
  }),
  loading: (pods: readonly string[]): ConditionClaim => ({
    type: "Loaded",
    status: "False",
    reason: "Loading",
    message: `Loading adapter ${on(pods)}`,
  }),
  loadFailed: (
    reason: "ModelAdapterLoadingError" | "ValidationFailed",
    why: string,
  ): ConditionClaim => ({ type: "Loaded", status: "False", reason, message: why }),
  /** It was loaded, and no pod is left to load it on. */
  unloaded: (why: string): ConditionClaim => ({
    type: "Loaded",
    status: "False",
    reason: "PodNotReady",
    message: why,
  }),
  retriesExhausted: (pod: string, error: string): ConditionClaim => ({
    type: "Loaded",
    status: "False",
    reason: "MaxRetriesExceeded",
    message: `Max retries exceeded for pod ${pod}: ${error}`,
  }),
  bound: ({ namespace, name }: AdapterName): ConditionClaim => ({
    type: "Bound",
    status: "True",
    reason: "Bound",
    message: `Service and EndpointSlice ${namespace}/${name} are in place`,
  }),
  unbound: (
    reason:
      | "ModelAdapterUnavailable"
      | "ModelAdapterLoadingError"
      | "ValidationFailed"
      | "ServiceCreateError"
      | "EndpointSliceCreateError",
    why: string,
  ): ConditionClaim => ({ type: "Bound", status: "False", reason, message: why }),
  ready: ({ namespace, name }: AdapterName): ConditionClaim => ({
    type: "Ready",
    status: "True",
    reason: "ModelAdapterAvailable",
    message: `ModelAdapter ${namespace}/${name} is ready`,
  }),
  unready: (
    reason:
      | "ModelAdapterUnavailable"
      | "ModelAdapterLoadingError"
      | "ValidationFailed"
      | "AdapterMigrating"
      | "ServiceCreateError"
      | "EndpointSliceCreateError",
    why: string,
  ): ConditionClaim => ({ type: "Ready", status: "False", reason, message: why }),
} as const;

export const EVENT = {
  scheduled: (pods: readonly string[]): EventText => ({
    type: "Normal",
    reason: "Scheduled",
    message: `ModelAdapter has selected ${pods.length} pods for scheduling: ${listOf(pods)}`,
  }),
  loaded: (pods: readonly string[]): EventText => ({
    type: "Normal",
    reason: "Loaded",
    message: `Successfully loaded adapter ${on(pods)}`,
  }),
  maxRetriesExceeded: (pod: string, error: string): EventText => ({
    type: "Warning",
    reason: "MaxRetriesExceeded",
    message: `Max retries exceeded for pod ${pod}: ${error}`,
  }),
  /** Some pods are given up, not all. */
  failed: (reason: Reason, why: string): EventText => ({ type: "Warning", reason, message: why }),
  /** A phase that lasts: told in the words of the condition that makes it. */
  ofCondition: ({ reason, message }: ConditionClaim): EventText[] => {
    const type = eventType(reason);
    return type === undefined ? [] : [{ type, reason, message }];
  },
} as const;
