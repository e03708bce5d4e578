import type { ModelAdapter } from "#api/model-adapter.ts";
import { PHASES } from "#api/model-adapter.ts";
import type { QueueMeter } from "#kube/workqueue.ts";
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
  /** A load is made again after it had failed. */
  retried(): void;
  /** Engines were found without an adapter that they had, and should have. */
  drifted(count: number): void;
  /** Of the queue of adapters. */
  readonly queue?: QueueMeter;
}

/** Values that are read at each scrape. */
export interface ControllerGauges {
  adapters(): readonly ModelAdapter[];
  queueLength(): number;
  /** For how long each adapter that is being looked at has been, seconds. */
  working(): readonly number[];
  readonly workers: number;
  /** Age of the list of an engine's adapters on each pod, seconds. */
  inventoryAges(): readonly { namespace: string; pod: string; seconds: number }[];
}

/** As AIBrix's manager calls it: dashboards ask for it by this name. */
const CONTROLLER = "model-adapter-controller";
const QUEUE = { name: CONTROLLER, controller: CONTROLLER };
const QUEUE_LABELS = ["name", "controller"] as const;
/** As controller-runtime has them: a queue is quick, or it is not. */
const QUEUE_BUCKETS_S = [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1000];

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
  const retries = metrics.counter({
    name: "loradock_load_retries_total",
    help: "Loads that were made again after they had failed.",
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
    retried: () => retries.inc(),
    drifted: (count) => drift.inc(count),
    queue: queueMeter(metrics),
  };
}

function queueMeter(metrics: Metrics): QueueMeter {
  const adds = metrics.counter({
    name: "workqueue_adds_total",
    help: "ModelAdapters that were put into the queue.",
    labels: QUEUE_LABELS,
  });
  const waits = metrics.histogram({
    name: "workqueue_queue_duration_seconds",
    help: "How long ModelAdapters waited for a worker.",
    labels: QUEUE_LABELS,
    buckets: QUEUE_BUCKETS_S,
  });
  const works = metrics.histogram({
    name: "workqueue_work_duration_seconds",
    help: "How long the work on a ModelAdapter took.",
    labels: QUEUE_LABELS,
    buckets: QUEUE_BUCKETS_S,
  });
  const retries = metrics.counter({
    name: "workqueue_retries_total",
    help: "ModelAdapters that come back because the work on them failed.",
    labels: QUEUE_LABELS,
  });
  for (const counter of [adds, retries]) counter.inc(QUEUE, 0);
  return {
    added: () => adds.inc(QUEUE),
    taken: (waitedMs) => waits.observe(QUEUE, waitedMs / 1000),
    done: (workedMs) => works.observe(QUEUE, workedMs / 1000),
    retried: () => retries.inc(QUEUE),
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
    name: "loradock_inventory_age_seconds",
    help: "Age of the list of a pod's adapters that its engine gave last.",
    labels: ["namespace", "pod"],
    collect: (gauge) => {
      gauge.reset();
      for (const { namespace, pod, seconds } of gauges()?.inventoryAges() ?? []) {
        gauge.set({ namespace, pod }, seconds);
      }
    },
  });
  const queue = (name: string, help: string, read: (from: ControllerGauges) => number) =>
    metrics.gauge({
      name,
      help,
      labels: QUEUE_LABELS,
      collect: (gauge) => {
        const from = gauges();
        gauge.set(QUEUE, from === undefined ? 0 : read(from));
      },
    });
  queue("workqueue_depth", "ModelAdapters that wait for a worker.", (from) => from.queueLength());
  queue(
    "workqueue_unfinished_work_seconds",
    "How long the work that is under way has taken so far, all together.",
    (from) => from.working().reduce((sum, seconds) => sum + seconds, 0),
  );
  queue(
    "workqueue_longest_running_processor_seconds",
    "How long the longest work that is under way has taken so far.",
    (from) => Math.max(0, ...from.working()),
  );
  const workers = (name: string, help: string, read: (from: ControllerGauges) => number) =>
    metrics.gauge({
      name,
      help,
      labels: ["controller"],
      collect: (gauge) => {
        const from = gauges();
        gauge.set({ controller: CONTROLLER }, from === undefined ? 0 : read(from));
      },
    });
  workers(
    "controller_runtime_active_workers",
    "Workers that have a ModelAdapter.",
    (from) => from.working().length,
  );
  workers(
    "controller_runtime_max_concurrent_reconciles",
    "Workers that there are.",
    (from) => from.workers,
  );
}

/** Counts the API server's answers, in client-go's name. */
export function answerMeter(
  metrics: Metrics,
  host: string,
): (method: string, code: number) => void {
  const answers = metrics.counter({
    name: "rest_client_requests_total",
    help: "Answers of the API server.",
    labels: ["code", "method", "host"],
  });
  return (method, code) => answers.inc({ code, method, host });
}

/** Tells who leads, in client-go's name. */
export function leadershipGauge(metrics: Metrics, name: string, isLeading: () => boolean): void {
  metrics.gauge({
    name: "leader_election_master_status",
    help: "1 while this instance leads, with --leader-elect.",
    labels: ["name"],
    collect: (gauge) => gauge.set({ name }, isLeading() ? 1 : 0),
  });
}
