import type {
  Deployment,
  EndpointSlice,
  KubeObject,
  Pod,
  ReplicaSet,
  Service,
} from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import type { KubeClient } from "#kube/client.ts";
import type { EventRecorder } from "#kube/events.ts";
import type { Informer } from "#kube/informer.ts";
import { type HandlerResult, WorkQueue } from "#kube/workqueue.ts";
import type { Log } from "#telemetry/log.ts";

/** What the workload controllers share. */
export interface WorkloadDeps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: EventRecorder;
  readonly pods: Informer<Pod>;
  readonly replicaSets: Informer<ReplicaSet>;
  readonly deployments: Informer<Deployment>;
  readonly services: Informer<Service>;
  readonly endpointSlices: Informer<EndpointSlice>;
}

/** Objects that one controller works on at a time. */
const WORKERS = 2;
/** The longest pause after failures: the API server is on this machine and soon back. */
const BACKOFF_MAX_MS = 5_000;

/**
 * Runs one level-triggered controller until `signal` is aborted: `watch` subscribes it to what
 * concerns it and adds the keys that have to be looked at, `reconcile` looks at one.
 */
export async function runController(
  deps: WorkloadDeps,
  controller: {
    readonly name: string;
    readonly watch: (add: (key: string) => void) => (() => void)[];
    readonly reconcile: (key: string) => Promise<HandlerResult | undefined>;
    /** Keys at once; default 2. */
    readonly workers?: number;
  },
  signal: AbortSignal,
): Promise<void> {
  const queue = new WorkQueue({ clock: deps.clock, backoffMaxMs: BACKOFF_MAX_MS });
  const subscriptions = controller.watch((key) => queue.add(key));
  await queue.run(
    controller.workers ?? WORKERS,
    controller.reconcile,
    (key, error) =>
      deps.log.warn("Will try again", {
        controller: controller.name,
        key,
        error: describeError(error),
      }),
    signal,
  );
  for (const end of subscriptions) end();
}

/** Pause until `atMs`; undefined stays undefined. */
export function pauseUntil(atMs: number | undefined, clock: Clock): number | undefined {
  return atMs === undefined ? undefined : Math.max(0, atMs - clock.now());
}

/** Both versions of a changed object that are there. */
export function versions<T extends KubeObject>(before: T | undefined, after: T | undefined): T[] {
  return [before, after].filter((object) => object !== undefined);
}
