import type { ModelAdapter } from "#api/model-adapter.ts";
import { PHASES } from "#api/model-adapter.ts";
import { LATENCY_BUCKETS_S, type Metrics } from "#telemetry/metrics.ts";

/** What the controller counts. Names of controller-runtime where it has some: dashboards for them exist. */
export interface ControllerMetrics {
  reconciled(result: "success" | "error"): void;
  /** An engine answered a load or an unload. */
  operated(
    kind: "load" | "unload",
    result: "success" | "retriable" | "final",
    seconds: number,
  ): void;
}

/** @param adapters read at each scrape. */
export function controllerMetrics(
  metrics: Metrics,
  adapters: () => readonly ModelAdapter[],
): ControllerMetrics {
  const controller = "modeladapter";
  const reconciles = metrics.counter({
    name: "controller_runtime_reconcile_total",
    help: "Reconciliations by result.",
    labels: ["controller", "result"],
  });
  // Rates exist from the start only when the series do.
  for (const result of ["success", "error"]) reconciles.inc({ controller, result }, 0);
  const seconds = metrics.histogram({
    name: "loradock_engine_operation_seconds",
    help: "How long engines took to load or unload an adapter.",
    labels: ["kind", "result"],
    buckets: LATENCY_BUCKETS_S,
  });
  metrics.gauge({
    name: "loradock_adapters",
    help: "ModelAdapters by phase.",
    labels: ["phase"],
    collect: (gauge) => {
      for (const phase of PHASES) gauge.set({ phase }, 0);
      for (const { status } of adapters()) gauge.inc({ phase: status?.phase ?? "Pending" });
    },
  });
  return {
    reconciled: (result) => reconciles.inc({ controller, result }),
    operated: (kind, result, value) => seconds.observe({ kind, result }, value),
  };
}
