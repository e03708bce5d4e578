/**
 * Every reason and sentence that a ModelAdapter's conditions and Events carry. The words are AIBrix's where
 * it has some: users' alerts and scripts match on them.
 */
import type { ConditionClaim } from "./conditions.ts";

/** `default/my-lora`. */
export interface AdapterName {
  readonly namespace: string;
  readonly name: string;
}

/** An Event to be recorded on the ModelAdapter. */
export interface EventText {
  readonly type: "Normal" | "Warning";
  readonly reason: "Scheduled" | "Loaded" | "MaxRetriesExceeded";
  readonly message: string;
}

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
    reason: "ModelAdapterLoadingError" | "ServiceCreateError",
    why: string,
  ): ConditionClaim => ({ type: "Bound", status: "False", reason, message: why }),
  ready: ({ namespace, name }: AdapterName): ConditionClaim => ({
    type: "Ready",
    status: "True",
    reason: "ModelAdapterAvailable",
    message: `ModelAdapter ${namespace}/${name} is ready`,
  }),
  unready: (
    reason: "ModelAdapterUnavailable" | "ModelAdapterLoadingError" | "ServiceCreateError",
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
} as const;
