import type { TestContext } from "node:test";
import type { Clock } from "#base/clock.ts";
import {
  CONTROLLER_DEFAULTS,
  type ControllerOptions,
  runController,
} from "#controller/controller.ts";
import { controllerMetrics } from "#controller/metrics.ts";
import { runtimeEngine } from "#engine/runtime.ts";
import { sglangEngine } from "#engine/sglang.ts";
import { vllmEngine } from "#engine/vllm.ts";
import type { KubeClient } from "#kube/client.ts";
import { createLog } from "#telemetry/log.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import { systemClock } from "#telemetry/system-clock.ts";

export interface ControllerInProcess {
  /** All that it has said. */
  log(): string;
  stop(): Promise<void>;
}

/** The controller with its real edges to engines, in this process; it ends with the test. */
export function startController(
  t: TestContext,
  client: KubeClient,
  { clock = systemClock, ...options }: Partial<ControllerOptions> & { clock?: Clock } = {},
): ControllerInProcess {
  const stop = new AbortController();
  const lines: string[] = [];
  const running = runController(
    {
      client,
      engines: { vllm: vllmEngine(), sglang: sglangEngine(), runtime: runtimeEngine() },
      clock,
      log: createLog({ format: "text", clock, write: (line) => lines.push(line) }),
      random: () => 0.5,
      metrics: controllerMetrics(createMetrics(), () => undefined),
    },
    { ...CONTROLLER_DEFAULTS, ...options },
    stop.signal,
  );
  const end = async () => {
    stop.abort();
    await running;
  };
  t.after(end);
  return { log: () => lines.join(""), stop: end };
}
