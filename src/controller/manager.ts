import { SYSTEM_NAMESPACE } from "#api/names.ts";
import type { KubeClient } from "#kube/client.ts";
import { LeaderElector } from "#kube/lease.ts";
import type { ListenAddress } from "#serve/address.ts";
import { probesFetch } from "#serve/probes.ts";
import { type Listening, listen, type TlsFiles } from "#serve/server.ts";
import type { Metrics } from "#telemetry/metrics.ts";
import {
  CONTROLLER_DEFAULTS,
  type ControllerDeps,
  type ControllerOptions,
  runController,
} from "./controller.ts";
import { fencedClient, fencedEngines } from "./fence.ts";
import { type ControllerGauges, controllerMetrics, leadershipGauge } from "./metrics.ts";

export interface LeaderElection {
  /** Namespace of the Lease. */
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** Unique among all candidates, e.g. `<pod name>_<uuid>`. */
  readonly identity: string;
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
}

/** Everything that the command line of the controller can say. */
export interface ManagerOptions extends Pick<ControllerOptions, "pollMs" | "schedulerPolicy"> {
  /** False: the process answers its probes, and leaves all adapters alone. */
  readonly isEnabled: boolean;
  readonly enableRuntimeSidecar: boolean;
  /** Undefined: this is the only controller. */
  readonly leaderElection: LeaderElection | undefined;
  /** Serves /healthz and /readyz; undefined: nobody asks. */
  readonly probeAddress: ListenAddress | undefined;
  /** Serves /metrics; undefined: nobody asks. */
  readonly metricsAddress: ListenAddress | undefined;
  /** With what /metrics is encrypted; undefined: it is not. */
  readonly metricsTls: TlsFiles | undefined;
  /** Where the controller keeps what must outlast it. */
  readonly namespace: string;
}

export const MANAGER_DEFAULTS: ManagerOptions = {
  isEnabled: true,
  pollMs: CONTROLLER_DEFAULTS.pollMs,
  schedulerPolicy: CONTROLLER_DEFAULTS.schedulerPolicy,
  enableRuntimeSidecar: false,
  leaderElection: undefined,
  probeAddress: undefined,
  metricsAddress: undefined,
  metricsTls: undefined,
  namespace: SYSTEM_NAMESPACE,
};

/** What a controller needs that may be one of several. */
export interface ElectedDeps extends ControllerDeps {
  /** For the lease alone: requests that wait for one another must not cost the leadership. Left out: `client`. */
  readonly leaseClient?: KubeClient;
}

export interface ManagerDeps extends Omit<ElectedDeps, "metrics"> {
  /** All that the process counts. */
  readonly metrics: Metrics;
}

/**
 * The controller as a process: probes and metrics from the start, leadership if there are several, then the work.
 * @throws LeadershipLost when another one leads from now on: the process must end, and may start anew.
 */
export async function runManager(
  deps: ManagerDeps,
  options: ManagerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log, metrics } = deps;
  let gauges: ControllerGauges | undefined;
  const counted = controllerMetrics(metrics, () => gauges);
  // A standby is ready to take over at any time; a leader is when its caches are complete.
  let missing: string | undefined;
  let isLeading = false;
  if (options.leaderElection !== undefined) {
    leadershipGauge(metrics, options.leaderElection.name, () => isLeading);
  }
  const ended = new AbortController();
  const stop = AbortSignal.any([signal, ended.signal]);
  const notReady = () => missing;
  const probes = {
    ...{ title: "probes", cure: "set --health-probe-bind-address", log, clock },
    handler: { fetch: probesFetch({ notReady }) },
  };
  const { probeAddress, metricsAddress, metricsTls: tls } = options;
  const scrapes = {
    ...{ title: "metrics", cure: "set --metrics-bind-address", log, clock },
    handler: { fetch: probesFetch({ notReady, metrics }) },
    ...(tls === undefined ? {} : { tls }),
  };
  const servers: (Promise<Listening> | undefined)[] = [
    probeAddress && listen({ ...probeAddress, ...probes }, stop),
    metricsAddress && listen({ ...metricsAddress, ...scrapes }, stop),
  ];
  const hooks = {
    onLeading: () => {
      isLeading = true;
      missing = "waiting for the API server";
    },
    onSynced: (made: ControllerGauges) => {
      gauges = made;
      missing = undefined;
    },
  };
  try {
    await Promise.all(servers);
    if (options.isEnabled) {
      await runElected({ ...deps, metrics: counted }, { ...options, ...hooks }, signal);
    } else {
      log.warn("The controller is turned off: ModelAdapters are left alone");
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  } finally {
    ended.abort();
    const listening = await Promise.allSettled(servers);
    await Promise.all(listening.map((one) => one.status === "fulfilled" && one.value?.closed));
  }
}

/** What it needs to know. */
export interface ElectedOptions
  extends Pick<ControllerOptions, "pollMs" | "schedulerPolicy" | "enableRuntimeSidecar"> {
  readonly leaderElection: LeaderElection | undefined;
  readonly namespace: string;
  readonly onLeading?: () => void;
  readonly onSynced?: (gauges: ControllerGauges) => void;
}

/**
 * The controller, as soon as and for as long as it leads: without the lease nothing is written and no engine is changed.
 * @throws LeadershipLost when another one leads from now on.
 */
export async function runElected(
  deps: ElectedDeps,
  options: ElectedOptions,
  signal: AbortSignal,
): Promise<void> {
  const { leaderElection, onLeading, onSynced, ...chosen } = options;
  const { leaseClient = deps.client } = deps;
  const elector =
    leaderElection && new LeaderElector({ ...deps, client: leaseClient }, leaderElection);
  const work = (leading: AbortSignal) => {
    onLeading?.();
    const mayAct = () => !leading.aborted && (elector?.isLeader() ?? true);
    const client = fencedClient(deps.client, mayAct);
    const engines = fencedEngines(deps.engines, mayAct);
    const { pollMs, schedulerPolicy, enableRuntimeSidecar, namespace } = chosen;
    return runController(
      { ...deps, client, engines },
      {
        ...CONTROLLER_DEFAULTS,
        ...{ pollMs, schedulerPolicy, enableRuntimeSidecar, namespace },
        ...(onSynced === undefined ? {} : { onSynced }),
      },
      leading,
    );
  };
  await (elector === undefined ? work(signal) : elector.run(work, signal));
}
