import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

interface MetricOptions<L extends string> {
  /** Full name, prefix included. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

/**
 * The metrics of one process part. Each has a registry of its own, so that several parts can live in
 * one process (the single machine, the tests) without seeing each other's series.
 */
export interface Metrics {
  counter<L extends string = never>(options: MetricOptions<L>): Counter<L>;
  /** `collect` runs at each scrape, for values that are cheaper to read than to keep up to date. */
  gauge<L extends string = never>(
    options: MetricOptions<L> & { collect?: (gauge: Gauge<L>) => void },
  ): Gauge<L>;
  /** Bucket bounds are in the metric's unit, ascending. */
  histogram<L extends string = never>(
    options: MetricOptions<L> & { buckets: readonly number[] },
  ): Histogram<L>;
  /** The Prometheus text, to be served with `contentType`. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** Seconds; from a cached answer to a long generation. */
export const LATENCY_BUCKETS_S = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
] as const;

/** `process: true` adds the process' own series (CPU, memory, event loop lag, handles). */
export function createMetrics(options: { process?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.process === true) collectDefaultMetrics({ register: registry });
  const base = <L extends string>(metric: MetricOptions<L>) => ({
    name: metric.name,
    help: metric.help,
    labelNames: metric.labels ?? [],
    registers: [registry],
  });
  return {
    counter: (metric) => new Counter(base(metric)),
    gauge: (metric) => {
      const { collect } = metric;
      if (collect === undefined) return new Gauge(base(metric));
      return new Gauge({
        ...base(metric),
        collect() {
          collect(this);
        },
      });
    },
    histogram: (metric) => new Histogram({ ...base(metric), buckets: [...metric.buckets] }),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

/** The value that stands for all label values beyond a bound. */
export const OTHER = "other";

/**
 * Bounds how many values a label takes: the first `limit` distinct ones pass, later ones become
 * `other`. Series are never freed, so without a bound whoever chooses the values chooses our memory.
 */
export function boundedLabel(limit: number): (value: string) => string {
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return value;
    if (seen.size >= limit) return OTHER;
    seen.add(value);
    return value;
  };
}
