import { createMetrics, type Metrics } from "#telemetry/metrics.ts";
import type { RuntimeOptions } from "./options.ts";

/** AIBrix's buckets of aibrix:api_request_latency, in seconds. */
const API_BUCKETS_S = [0.1, 0.2, 0.5, 1, 2, 5];
const LOAD_BUCKETS_S = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** What the sidecar tells of itself. */
export interface OwnMetrics {
  readonly registry: Metrics;
  apiRequest(request: { method: string; endpoint: string; status: number; seconds: number }): void;
  load(result: string, seconds: number): void;
  unload(result: string): void;
  translationFault(): void;
}

export function createOwnMetrics(options: RuntimeOptions, version: string): OwnMetrics {
  const registry = createMetrics();
  registry
    .gauge({
      name: "aibrix:info",
      help: "AIBrix Info",
      labels: ["version", "engine", "engine_version"],
    })
    .set({ version, engine: options.engine, engine_version: options.engineVersion }, 1);
  const labels = ["method", "endpoint", "status"] as const;
  const requests = registry.counter({
    name: "aibrix:api_request_total",
    help: "Count of AIBrix API Requests by method, endpoint and status",
    labels,
  });
  const latency = registry.histogram({
    name: "aibrix:api_request_latency",
    help: "Latency of AIBrix API Requests by method, endpoint and status",
    labels,
    buckets: API_BUCKETS_S,
  });
  const loads = registry.histogram({
    name: "loradock_runtime_load_seconds",
    help: "Time of adapter loads, download included, by result: a way of success or an error code",
    labels: ["result"],
    buckets: LOAD_BUCKETS_S,
  });
  const unloads = registry.counter({
    name: "loradock_runtime_unloads_total",
    help: "Adapter unloads by result",
    labels: ["result"],
  });
  const faults = registry.counter({
    name: "loradock_runtime_metrics_faults_total",
    help: "Scrapes of the engine that could not be translated and were passed on raw",
  });
  return {
    registry,
    apiRequest: ({ method, endpoint, status, seconds }) => {
      const labels = { method, endpoint, status: String(status) };
      requests.inc(labels);
      latency.observe(labels, seconds);
    },
    load: (result, seconds) => loads.observe({ result }, seconds),
    unload: (result) => unloads.inc({ result }),
    translationFault: () => faults.inc(),
  };
}
