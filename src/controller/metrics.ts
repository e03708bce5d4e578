import type { ModelAdapter } from "#api/model-adapter.ts";
import { PHASES } from "#api/model-adapter.ts";
import { LATENCY_BUCKETS_S, type Metrics } from "#telemetry/metrics.ts";

/** What the controller counts. */
export interface ControllerMetrics {
  reconciled(result: "success" | "error" | "requeue_after", seconds: number): void;
  /** A load or an unload has ended. */
  operated(
    kind: "load" | "unload",
    result: "success" | "retriable" | "final",
    seconds: number,
  ): void;
  /** Engines were found without an adapter that they had, and should have. */
  drifted(count: number): void;
}

/** Values that are read at each scrape. */
export interface ControllerGauges {
  adapters(): readonly ModelAdapter[];
  queueLength(): number;
  /** Age of the oldest list of an engine's adapters, seconds. */
  inventoryAgeS(): number;
}

const CONTROLLER = "modeladapter";

/**
 * The controller's metrics, in controller-runtime's names where it has some: dashboards for those exist.
 * @param gauges undefined while this instance does not lead.
 */
export function controllerMetrics(
  metrics: Metrics,
  gauges: () => ControllerGauges | undefined,
): ControllerMetrics {
  addGauges(metrics, gauges);
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
    help: "How long reconciliations took.",
    labels: ["controller"],
    buckets: LATENCY_BUCKETS_S,
  });
  const operations = metrics.histogram({
    name: "loradock_engine_operation_seconds",
    help: "How long loads and unloads took, from the order to the engine's answer.",
    labels: ["kind", "result"],
    buckets: LATENCY_BUCKETS_S,
  });
  const drift = metrics.counter({
    name: "loradock_drift_repairs_total",
    help: "Adapters that an engine had lost by itself and that were loaded again.",
  });
  // Rates exist from the start only when the series do.
  for (const result of ["success", "error", "requeue_after"]) {
    reconciles.inc({ controller: CONTROLLER, result }, 0);
  }
  errors.inc({ controller: CONTROLLER }, 0);
  return {
    reconciled: (result, seconds) => {
      reconciles.inc({ controller: CONTROLLER, result });
      if (result === "error") errors.inc({ controller: CONTROLLER });
      times.observe({ controller: CONTROLLER }, seconds);
    },
    operated: (kind, result, seconds) => operations.observe({ kind, result }, seconds),
    drifted: (count) => drift.inc(count),
  };
}

function addGauges(metrics: Metrics, gauges: () => ControllerGauges | undefined): void {
  metrics.gauge({
    name: "loradock_adapters",
    help: "ModelAdapters by phase.",
    labels: ["phase"],
    collect: (gauge) => {
      for (const phase of PHASES) gauge.set({ phase }, 0);
      for (const { status } of gauges()?.adapters() ?? []) {
        gauge.inc({ phase: status?.phase ?? "Pending" });
      }
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
}
