import type { Probe } from "#api/kubernetes.ts";

/** A probe's numbers with Kubernetes' defaults filled in; times in ms. */
export interface ProbeTiming {
  readonly initialDelayMs: number;
  readonly periodMs: number;
  readonly timeoutMs: number;
  readonly successThreshold: number;
  readonly failureThreshold: number;
}

/** Fills in the defaults that the API documents for `v1.Probe`. */
export function timingOf(probe: Probe): ProbeTiming {
  return {
    initialDelayMs: (probe.initialDelaySeconds ?? 0) * 1000,
    periodMs: Math.max(1, probe.periodSeconds ?? 10) * 1000,
    timeoutMs: Math.max(1, probe.timeoutSeconds ?? 1) * 1000,
    successThreshold: Math.max(1, probe.successThreshold ?? 1),
    failureThreshold: Math.max(1, probe.failureThreshold ?? 3),
  };
}

export type ProbeKind = "startup" | "liveness" | "readiness";

/** What one probe of one running container has led to. */
export interface ProbeState {
  /** The verdict: changes only when a threshold is reached. */
  readonly passing: boolean;
  /** Equal results in a row. */
  readonly run: number;
  readonly last: boolean | undefined;
}

/** Before the first result a container counts as live, as not ready and as not started. */
export function initialProbeState(kind: ProbeKind): ProbeState {
  return { passing: kind === "liveness", run: 0, last: undefined };
}

/** The state after one more result. */
export function afterProbe(state: ProbeState, success: boolean, timing: ProbeTiming): ProbeState {
  const run = state.last === success ? state.run + 1 : 1;
  const threshold = success ? timing.successThreshold : timing.failureThreshold;
  return { passing: run >= threshold ? success : state.passing, run, last: success };
}

/** True when so many failures in a row were seen that a liveness or startup probe ends its container. */
export function hasFailed(state: ProbeState, timing: ProbeTiming): boolean {
  return state.last === false && state.run >= timing.failureThreshold;
}
