import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pod } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import type { Runtime } from "#engine/engine.ts";
import { EngineError } from "#engine/errors.ts";
import { MODEL_ADAPTERS, PODS } from "#kube/client.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import { steadyClock, systemClock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { MemoryKube } from "#test/support/memory-kube.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { runElected } from "./manager.ts";
import { controllerMetrics } from "./metrics.ts";

const HOUR_MS = 3_600_000;
/** The bound is ten seconds; a controller that is held up for an hour exceeds that, too. */
const SOON_MS = 10_000;

/** One engine in memory; `refusesAll` has its loads fail. */
class Engine implements Runtime {
  readonly held = new Map<string, string>();
  loads = 0;
  refusesAll = false;
  async inventory() {
    return [...this.held].map(([name, root]) => ({ name, root }));
  }
  async load(_: unknown, { name, path }: { name: string; path: string }) {
    this.loads++;
    if (this.refusesAll) throw new EngineError("Unavailable", true, "service unavailable");
    this.held.set(name, path);
  }
  async unload(_: unknown, name: string) {
    this.held.delete(name);
  }
  async loadArtifact(): Promise<string> {
    throw new EngineError("Rejected", false, "there is no sidecar");
  }
}

/** A pod that is Ready by a clock that is `aheadMs` ahead. */
const readyPod = (name: string, aheadMs: number): Pod => ({
  metadata: {
    name,
    namespace: "default",
    labels: { "adapter.model.aibrix.ai/enabled": "true" },
  },
  spec: { containers: [] },
  status: {
    podIP: "127.1.0.1",
    conditions: [
      { type: "Ready", status: "True", lastTransitionTime: toTimestamp(Date.now() + aheadMs) },
    ],
  },
});

for (const stepMs of [HOUR_MS, -HOUR_MS]) {
  test(`the wall clock is set by ${stepMs / HOUR_MS} h: nothing is interrupted, nothing waits`, async (t) => {
    let aheadMs = 0;
    const kube = new MemoryKube();
    const engine = new Engine();
    const stop = new AbortController();
    const wall = { ...systemClock, now: () => Date.now() + aheadMs };
    const clock = steadyClock(wall);
    const running = runElected(
      {
        client: kube,
        engines: { vllm: engine, sglang: engine, runtime: engine },
        clock,
        log: silentLog,
        random: () => 0.5,
        metrics: controllerMetrics(createMetrics(), () => undefined),
      },
      {
        pollMs: 50,
        schedulerPolicy: "default",
        enableRuntimeSidecar: false,
        namespace: "aibrix-system",
        leaderElection: {
          namespace: "aibrix-system",
          name: "controller",
          identity: "me",
          leaseDurationMs: 15_000,
          renewDeadlineMs: 10_000,
        },
      },
      stop.signal,
    );
    t.after(async () => {
      stop.abort();
      await running;
    });
    const named = (name: string) => ({ namespace: "default", name });
    const declare = (name: string) =>
      kube.create(MODEL_ADAPTERS, {
        apiVersion: "model.aibrix.ai/v1alpha1",
        kind: "ModelAdapter",
        metadata: named(name),
        spec: { podSelector: {}, schedulerName: "default", artifactURL: `/adapters/${name}` },
      });
    const serves = (name: string) =>
      eventually(`${name} serves`, async () => {
        const { status } = await kube.get(MODEL_ADAPTERS, named(name));
        return status?.phase === "Running" && status;
      });
    await kube.create(PODS, readyPod("pod-1", -60_000));
    await declare("lora");
    const before = await serves("lora");
    engine.refusesAll = true;
    await declare("late");
    await eventually("it failed", () => engine.loads === 2);
    engine.refusesAll = false;
    aheadMs = stepMs;
    await eventually("the retry comes", () => engine.held.has("late"), SOON_MS);
    assert.deepEqual(await serves("lora"), before, "it served all the while");
    engine.held.delete("lora");
    await eventually("it is loaded again", () => engine.held.has("lora"), SOON_MS);
    await kube.delete(MODEL_ADAPTERS, named("lora"));
    const isGone = async () => (await kube.list(MODEL_ADAPTERS)).items.length === 1;
    await eventually("it is gone", isGone, SOON_MS);
    await eventually("and unloaded", () => !engine.held.has("lora"), SOON_MS);
  });
}
