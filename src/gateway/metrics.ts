import type { Route } from "#core/route/table.ts";
import { boundedLabel, LATENCY_BUCKETS_S, type Metrics, OTHER } from "#telemetry/metrics.ts";

/** Distinct models in labels; further ones count together. */
const MODELS_MAX = 1_000;

export interface RequestSummary {
  /** undefined when the request named no known model. */
  readonly route: Route | undefined;
  readonly code: number;
  readonly seconds: number;
  readonly firstByteSeconds: number | undefined;
}

export type GatewayMetrics = ReturnType<typeof createGatewayMetrics>;

/** What the gateway counts. Names that callers make up are never labels. */
export function createGatewayMetrics(metrics: Metrics, inFlightNow: () => number) {
  const bound = boundedLabel(MODELS_MAX);
  const labelsOf = (route: Route | undefined) => {
    if (route === undefined) return { namespace: "", model: "unknown" };
    const { namespace, name } = route;
    return bound(`${namespace}/${name}`) === OTHER
      ? { namespace: "", model: OTHER }
      : { namespace, model: name };
  };
  const requests = metrics.counter({
    name: "loradock_gateway_requests_total",
    help: "Requests by model and HTTP status; 499 means that the caller went away.",
    labels: ["namespace", "model", "code"],
  });
  const latency = metrics.histogram({
    name: "loradock_gateway_request_duration_seconds",
    help: "From the request to the last byte of its answer.",
    labels: ["namespace", "model"],
    buckets: LATENCY_BUCKETS_S,
  });
  const firstByte = metrics.histogram({
    name: "loradock_gateway_first_byte_seconds",
    help: "From the request to the first byte of the engine's answer.",
    labels: ["namespace", "model"],
    buckets: LATENCY_BUCKETS_S,
  });
  const retries = metrics.counter({
    name: "loradock_gateway_retries_total",
    help: "Tries after the first one, by what was wrong with the one before.",
    labels: ["namespace", "model", "reason"],
  });
  const upstreamErrors = metrics.counter({
    name: "loradock_gateway_upstream_errors_total",
    help: "Engines that could not be reached, refused, did not know the model, or broke off.",
    labels: ["namespace", "model", "reason"],
  });
  metrics.gauge({
    name: "loradock_gateway_requests_in_flight",
    help: "Requests that are being answered.",
    collect: (gauge) => gauge.set(inFlightNow()),
  });
  return {
    finished: ({ route, code, seconds, firstByteSeconds }: RequestSummary) => {
      const labels = labelsOf(route);
      requests.inc({ ...labels, code });
      latency.observe(labels, seconds);
      if (firstByteSeconds !== undefined) firstByte.observe(labels, firstByteSeconds);
    },
    retried: (route: Route, reason: string) => retries.inc({ ...labelsOf(route), reason }),
    upstreamFailed: (route: Route, reason: string) =>
      upstreamErrors.inc({ ...labelsOf(route), reason }),
  };
}
