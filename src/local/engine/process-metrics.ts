import { type Family, formatNumber, Gauge } from "./metric-text.ts";

/** The process's own metrics, in the names of Prometheus' Python client, as far as Node can tell them. */
export function processFamilies(): Family[] {
  const { user, system } = process.cpuUsage();
  return [
    new Gauge("process_resident_memory_bytes", "Resident memory size in bytes.").set(
      {},
      process.memoryUsage.rss(),
    ),
    new Gauge(
      "process_start_time_seconds",
      "Start time of the process since unix epoch in seconds.",
    ).set({}, performance.timeOrigin / 1000),
    // The client's process collector writes this counter without the `_created` series of the others.
    {
      lines: () => [
        "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.",
        "# TYPE process_cpu_seconds_total counter",
        `process_cpu_seconds_total ${formatNumber((user + system) / 1e6)}`,
      ],
    },
  ];
}
