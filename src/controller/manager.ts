import { SYSTEM_NAMESPACE } from "#api/names.ts";
import { LeaderElector } from "#kube/lease.ts";
import type { ListenAddress } from "#serve/address.ts";
import { probesFetch } from "#serve/probes.ts";
import { type Listening, listen } from "#serve/server.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import {
  CONTROLLER_DEFAULTS,
  type ControllerDeps,
  type ControllerOptions,
  runController,
} from "./controller.ts";
import { fencedClient, fencedEngines } from "./fence.ts";
import { type ControllerGauges, controllerMetrics } from "./metrics.ts";

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
  readonly enableRuntimeSidecar: boolean;
  /** Undefined: this is the only controller. */
  readonly leaderElection: LeaderElection | undefined;
  /** Serves /healthz and /readyz; undefined: nobody asks. */
  readonly probeAddress: ListenAddress | undefined;
  /** Serves /metrics; undefined: nobody asks. */
  readonly metricsAddress: ListenAddress | undefined;
  /** Where the controller keeps what must outlast it. */
  readonly namespace: string;
}

export const MANAGER_DEFAULTS: ManagerOptions = {
  pollMs: CONTROLLER_DEFAULTS.pollMs,
  schedulerPolicy: CONTROLLER_DEFAULTS.schedulerPolicy,
  enableRuntimeSidecar: false,
  leaderElection: undefined,
  probeAddress: undefined,
  metricsAddress: undefined,
  namespace: SYSTEM_NAMESPACE,
};

export type ManagerDeps = Omit<ControllerDeps, "metrics">;

/**
 * The controller as a process: probes and metrics from the start, leadership if there are several, then the work.
 * @throws LeadershipLost when another one leads from now on: the process must end, and may start anew.
 */
export async function runManager(
  deps: ManagerDeps,
  options: ManagerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log } = deps;
  let gauges: ControllerGauges | undefined;
  const metrics = createMetrics({ process: true });
  const counted = controllerMetrics(metrics, () => gauges);
  // A standby is ready to take over at any time; a leader is when its caches are complete.
  let missing: string | undefined;
  const ended = new AbortController();
  const stop = AbortSignal.any([signal, ended.signal]);
  const serve = (title: string, flag: string, address: ListenAddress | undefined, fetch: Fetch) =>
    address === undefined
      ? undefined
      : listen({ ...address, title, cure: `set ${flag}`, handler: { fetch }, log, clock }, stop);
  const servers: (Promise<Listening> | undefined)[] = [
    serve(
      "probes",
      "--health-probe-bind-address",
      options.probeAddress,
      probesFetch({ notReady: () => missing }),
    ),
    serve(
      "metrics",
      "--metrics-bind-address",
      options.metricsAddress,
      probesFetch({ notReady: () => missing, metrics }),
    ),
  ];
  const { leaderElection } = options;
  const elector = leaderElection && new LeaderElector(deps, leaderElection);
  const work = (leading: AbortSignal) => {
    missing = "waiting for the API server";
    const mayAct = () => !leading.aborted && (elector?.isLeader() ?? true);
    const client = fencedClient(deps.client, mayAct);
    const engines = fencedEngines(deps.engines, mayAct);
    const onSynced = (made: ControllerGauges) => {
      gauges = made;
      missing = undefined;
    };
    const { pollMs, schedulerPolicy, enableRuntimeSidecar, namespace } = options;
    const chosen = { pollMs, schedulerPolicy, enableRuntimeSidecar, namespace, onSynced };
    return runController(
      { ...deps, client, engines, metrics: counted },
      { ...CONTROLLER_DEFAULTS, ...chosen },
      leading,
    );
  };
  try {
    await Promise.all(servers);
    await (elector === undefined ? work(signal) : elector.run(work, signal));
  } finally {
    ended.abort();
    const listening = await Promise.allSettled(servers);
    await Promise.all(listening.map((one) => one.status === "fulfilled" && one.value?.closed));
  }
}

type Fetch = (request: Request) => Promise<Response>;
