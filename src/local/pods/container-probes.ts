import type { Container, Probe } from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import { type ProbeResult, type ProbeTarget, runProbe } from "./probe-run.ts";
import {
  afterProbe,
  hasFailed,
  initialProbeState,
  type ProbeKind,
  type ProbeState,
  timingOf,
} from "./probe-state.ts";

/** What a running container's probes say at this moment. */
export interface ProbeVerdict {
  readonly started: boolean;
  readonly ready: boolean;
  readonly failedProbe: "liveness" | "startup" | undefined;
}

export interface ContainerProbesOptions {
  readonly container: Container;
  readonly target: ProbeTarget;
  readonly startedAtMs: number;
  /** What an earlier kubelet knew of the same process, so that its return changes nothing. */
  readonly known?: { readonly started: boolean; readonly ready: boolean } | undefined;
  readonly clock: Clock;
  /** A verdict has changed. */
  readonly onChange: () => void;
  /** A single probe has failed. */
  readonly onFailure: (kind: ProbeKind, message: string) => void;
}

/**
 * Runs a container's probes until `signal` is aborted. Liveness and readiness wait for the startup
 * probe. Returns a reader of the present verdict.
 */
export function startProbes(
  options: ContainerProbesOptions,
  signal: AbortSignal,
): () => ProbeVerdict {
  const { container, known } = options;
  const { startupProbe, livenessProbe, readinessProbe } = container;
  let started = startupProbe === undefined || known?.started === true;
  let ready = readinessProbe === undefined || known?.ready === true;
  let failedProbe: ProbeVerdict["failedProbe"];

  const run = async () => {
    if (startupProbe !== undefined && !started) {
      await loop("startup", startupProbe, (state, gaveUp) => {
        if (state.passing) started = true;
        if (gaveUp) failedProbe = "startup";
        return state.passing || gaveUp;
      });
      if (failedProbe !== undefined) return;
    }
    await Promise.all([
      readinessProbe !== undefined &&
        loop("readiness", readinessProbe, (state) => {
          ready = state.passing;
          return false;
        }),
      livenessProbe !== undefined &&
        loop("liveness", livenessProbe, (_state, gaveUp) => {
          if (gaveUp) failedProbe = "liveness";
          return gaveUp;
        }),
    ]);
  };

  const loop = async (
    kind: ProbeKind,
    probe: Probe,
    take: (state: ProbeState, gaveUp: boolean) => boolean,
  ) => {
    const timing = timingOf(probe);
    let state = initialProbeState(kind);
    // A readiness that is known already must be disproved by as many failures as usual.
    if (kind === "readiness" && ready) state = { ...state, passing: true };
    let nextMs = options.startedAtMs + timing.initialDelayMs;
    for (;;) {
      await options.clock.sleep(Math.max(0, nextMs - options.clock.now()), signal);
      const beganMs = options.clock.now();
      const result: ProbeResult = await runProbe(probe, options.target, timing.timeoutMs);
      if (signal.aborted) return;
      if (!result.success) options.onFailure(kind, result.message);
      state = afterProbe(state, result.success, timing);
      const before = `${started} ${ready} ${failedProbe}`;
      const isOver = take(state, kind !== "readiness" && hasFailed(state, timing));
      if (before !== `${started} ${ready} ${failedProbe}`) options.onChange();
      if (isOver) return;
      nextMs = beganMs + timing.periodMs;
    }
  };

  run().catch((error: unknown) => {
    // The only rejection is the abort of a sleep.
    if (!signal.aborted) throw error;
  });
  return () => ({ started, ready: started && ready, failedProbe });
}
