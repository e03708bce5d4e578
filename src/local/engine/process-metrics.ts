import { Counter, type Family, Gauge } from "./metric-text.ts";

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
    new Counter("process_cpu_seconds", "Total user and system CPU time spent in seconds.").add(
      {},
      (user + system) / 1e6,
    ),
  ];
}
