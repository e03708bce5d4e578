/**
 * Every reason and sentence that a ModelAdapter's conditions, Events and lines per pod carry. The words are AIBrix's where it has some:
 * users' alerts and scripts match on them.
 */
import type { Condition } from "./kubernetes.ts";
import type { Phase } from "./model-adapter.ts";

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

/** Every reason there is, and when it is given. */
export const REASONS = {
  ModelAdapterPending: "The controller has seen the adapter; it stays on Initialized.",
  PodNotReady:
    "No pod can host the adapter, or this one cannot now; the message says what it lacks.",
  Scheduled: "Pods were chosen.",
  Rescheduling: "The pods that were chosen can no longer host the adapter; others are looked for.",
  Loading: "The adapter is being loaded.",
  Loaded: "The engine lists the adapter.",
  ModelAdapterLoadingError:
    "A load failed; the message has the words of the engine or the sidecar.",
  MaxRetriesExceeded:
    "The last of five retries on a pod failed; another pod is tried, if there is one.",
  Bound: "Service and EndpointSlice are in place.",
  ServiceCreateError: "The Service could not be written, or its name belongs to somebody else.",
  EndpointSliceCreateError:
    "The EndpointSlice could not be written, or its name belongs to somebody else.",
  ModelAdapterAvailable: "At least one pod serves the adapter.",
  ModelAdapterUnavailable: "No pod serves the adapter.",
  AdapterMigrating: "The adapter moves to another pod, which does not serve it yet.",
  ValidationFailed: "The spec cannot be meant; the message names the field and the cure.",
  BaseModelMismatch:
    "The pod serves another base model than spec.baseModel names, or none is named.",
  Capacity: "The engine dropped the adapter by itself, more than once: it holds as many as it can.",
  Leftover: "The adapter should not be on this pod any more and is being unloaded.",
} as const;
export type Reason = keyof typeof REASONS;

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
  loadFailed: (why: string): ConditionClaim => ({
    type: "Loaded",
    status: "False",
    reason: "ModelAdapterLoadingError",
    message: why,
  }),
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
    reason: "ModelAdapterLoadingError" | "ServiceCreateError" | "EndpointSliceCreateError",
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
  /** A phase that lasts: told in the words of the condition that makes it. */
  ofCondition: (type: EventText["type"], { reason, message }: ConditionClaim): EventText => ({
    type,
    reason,
    message,
  }),
} as const;
