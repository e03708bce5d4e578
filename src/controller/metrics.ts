import type { Phase } from "#api/model-adapter.ts";
import { PHASES } from "#api/model-adapter.ts";
import { LATENCY_BUCKETS_S, type Metrics } from "#telemetry/metrics.ts";

/** What the controller counts. */
export interface ControllerMetrics {
  reconciled(result: "success" | "error" | "requeue_after", seconds: number): void;
  loaded(seconds: number): void;
  failed(retriable: boolean): void;
  /** Engines that were found without an adapter that they should have, and had. */
  drifted(count: number): void;
}

/** Values that are read at each scrape. */
export interface ControllerGauges {
  phases(): ReadonlyMap<Phase | "", number>;
  queueLength(): number;
  inventoryAgeS(): number;
}

/** For runs that nobody scrapes. */
export const noMetrics: ControllerMetrics = {
  reconciled: () => {},
  loaded: () => {},
  failed: () => {},
  drifted: () => {},
};

const CONTROLLER = "modeladapter";

/** The controller's metrics, in controller-runtime's names where it has some: dashboards know them. */
export function controllerMetrics(
  metrics: Metrics,
  gauges: () => ControllerGauges | undefined,
): ControllerMetrics {
  const reconciles = metrics.counter({
    name: "controller_runtime_reconcile_total",
    help: "Reconciliations by result.",
    labels: ["controller", "result"],
  });
  const errors = metrics.counter({
    name: "controller_runtime_reconcile_errors_total",
    help: "Reconciliations that failed.",
    labels: ["controller"],
  });
  const times = metrics.histogram({
    name: "controller_runtime_reconcile_time_seconds",
    help: "How long a reconciliation took.",
    labels: ["controller"],
    buckets: LATENCY_BUCKETS_S,
  });
  const loads = metrics.histogram({
    name: "loradock_adapter_load_seconds",
    help: "From the order to load an adapter on a pod to the success.",
    buckets: LATENCY_BUCKETS_S,
  });
  const failures = metrics.counter({
    name: "loradock_adapter_load_failures_total",
    help: "Loads that failed, by whether they are tried again.",
    labels: ["retriable"],
  });
  const drift = metrics.counter({
    name: "loradock_drift_repairs_total",
    help: "Adapters that an engine had lost and that were loaded again.",
  });
  // Rates exist before the first event.
  for (const result of ["success", "error", "requeue_after"]) {
    reconciles.inc({ controller: CONTROLLER, result }, 0);
  }
  errors.inc({ controller: CONTROLLER }, 0);
  for (const retriable of ["true", "false"]) failures.inc({ retriable }, 0);
  metrics.gauge({
    name: "loradock_adapters",
    help: "ModelAdapters by phase.",
    labels: ["phase"],
    collect: (gauge) => {
      const phases = gauges()?.phases();
      for (const phase of PHASES) gauge.set({ phase }, phases?.get(phase) ?? 0);
    },
  });
  metrics.gauge({
    name: "workqueue_depth",
    help: "ModelAdapters that wait for a worker.",
    labels: ["name"],
    collect: (gauge) => gauge.set({ name: CONTROLLER }, gauges()?.queueLength() ?? 0),
  });
  metrics.gauge({
    name: "loradock_inventory_age_seconds",
    help: "Age of the oldest list of an engine's adapters.",
    collect: (gauge) => gauge.set(gauges()?.inventoryAgeS() ?? 0),
  });
  return {
    reconciled: (result, seconds) => {
      reconciles.inc({ controller: CONTROLLER, result });
      if (result === "error") errors.inc({ controller: CONTROLLER });
      times.observe({ controller: CONTROLLER }, seconds);
    },
    loaded: (seconds) => loads.observe(seconds),
    failed: (retriable) => failures.inc({ retriable: String(retriable) }),
    drifted: (count) => drift.inc(count),
  };
}
