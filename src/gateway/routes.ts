import type { KubeObject } from "#api/kubernetes.ts";
import { LABEL } from "#api/names.ts";
import type { Clock } from "#base/clock.ts";
import { buildRouteTable, EMPTY_TABLE, type RouteTable } from "#core/route/table.ts";
import {
  ENDPOINT_SLICES,
  type KubeClient,
  MODEL_ADAPTERS,
  PODS,
  type Resource,
  SERVICES,
} from "#kube/client.ts";
import { startInformer } from "#kube/informer.ts";
import type { Log } from "#telemetry/log.ts";

/** Changes that come this close together make one new table. */
const GATHER_MS = 10;
/** A table that takes long to build is not built more often than this share of the time allows. */
const BUILD_SHARE = 0.1;

export interface Routes {
  /** The newest table; empty until `notReady` is undefined. */
  current(): RouteTable;
  /** What is not read yet, for a person; undefined when everything is. */
  notReady(): string | undefined;
  /** Called after each new table. */
  onChange(listener: (table: RouteTable) => void): void;
  /** Resolves when the informers have stopped, after the signal. */
  readonly done: Promise<void>;
}

/** Follows pods, Services, EndpointSlices and ModelAdapters and keeps a route table of them. */
export function startRoutes(
  deps: { client: KubeClient; clock: Clock; log: Log },
  defaultNamespace: string,
  signal: AbortSignal,
): Routes {
  const { client, clock, log } = deps;
  const follow = <T extends KubeObject>(resource: Resource<T>, labelSelector?: string) =>
    startInformer(client, resource, { labelSelector }, clock, log, signal);
  const sources = {
    pods: follow(PODS, LABEL.modelName),
    services: follow(SERVICES),
    slices: follow(ENDPOINT_SLICES, LABEL.adapterName),
    adapters: follow(MODEL_ADAPTERS),
  };
  const informers = Object.entries(sources);
  const listeners: ((table: RouteTable) => void)[] = [];
  let table = EMPTY_TABLE;
  let isPlanned = false;
  let cancel = () => {};
  let pauseMs = GATHER_MS;

  const notReady = () => {
    const missing = informers.filter(([, informer]) => !informer.hasSynced).map(([name]) => name);
    return missing.length === 0 ? undefined : `${missing.join(", ")} not read yet`;
  };
  const build = () => {
    isPlanned = false;
    const startedMs = clock.now();
    table = buildRouteTable({
      pods: sources.pods.list(),
      services: sources.services.list(),
      slices: sources.slices.list(),
      adapters: sources.adapters.list(),
      defaultNamespace,
    });
    pauseMs = Math.max(GATHER_MS, (clock.now() - startedMs) / BUILD_SHARE);
    for (const listener of listeners) listener(table);
  };
  const plan = () => {
    // Half of the sources would make half of a table: models missing that are there.
    if (isPlanned || signal.aborted || notReady() !== undefined) return;
    isPlanned = true;
    cancel = clock.after(pauseMs, build);
  };
  for (const [, informer] of informers) informer.onChange(plan);
  signal.addEventListener("abort", () => cancel(), { once: true });
  void Promise.all(informers.map(([, informer]) => informer.synced)).then(
    () => {
      build();
      log.info("Routes are complete", { models: table.names.size });
    },
    // Stopped before: there is nothing to route any more.
    () => {},
  );
  return {
    current: () => table,
    notReady,
    onChange: (listener) => listeners.push(listener),
    done: Promise.all(informers.map(([, informer]) => informer.done)).then(() => {}),
  };
}
