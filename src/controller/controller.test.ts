import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { abortReason } from "#base/abort.ts";
import { toTimestamp } from "#base/clock.ts";
import type { ArtifactRequest, EngineTarget, Runtime } from "#engine/engine.ts";
import { EngineError } from "#engine/errors.ts";
import { ENDPOINT_SLICES, EVENTS, MODEL_ADAPTERS, PODS, SERVICES } from "#kube/client.ts";
import { createLog } from "#telemetry/log.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { MemoryKube } from "#test/support/memory-kube.ts";
import { CONTROLLER_DEFAULTS, type ControllerOptions, runController } from "./controller.ts";
import { controllerMetrics } from "./metrics.ts";

const aborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(abortReason(signal)), { once: true });
  });

/** Engines in memory, one an address. */
class Engines implements Runtime {
  readonly held = new Map<string, Map<string, string>>();
  readonly calls: string[] = [];
  refuse: (target: EngineTarget) => EngineError | undefined = () => undefined;

  dead: (target: EngineTarget) => EngineError | undefined = () => undefined;
  /** The loads that are never answered. */
  swallow: () => boolean = () => false;

  of(url: string): Map<string, string> {
    const held = this.held.get(url) ?? new Map<string, string>();
    this.held.set(url, held);
    return held;
  }

  async inventory(target: EngineTarget) {
    const refused = this.dead(target);
    if (refused !== undefined) throw refused;
    return [...this.of(target.url)].map(([name, root]) => ({ name, root }));
  }

  async load(
    target: EngineTarget,
    { name, path }: { name: string; path: string },
    signal?: AbortSignal,
  ) {
    this.calls.push(`load ${target.url} ${name} ${path} ${target.apiKey ?? "-"}`);
    if (this.swallow() && signal !== undefined) await aborted(signal);
    const refused = this.refuse(target);
    if (refused !== undefined) throw refused;
    this.of(target.url).set(name, path);
  }

  async loadArtifact(target: EngineTarget, { name, artifactUrl }: ArtifactRequest) {
    const path = `/versions/${name}/${artifactUrl.split("/").at(-1)}`;
    await this.load(target, { name, path });
    return path;
  }

  async unload(target: EngineTarget, name: string) {
    this.calls.push(`unload ${target.url} ${name}`);
    this.of(target.url).delete(name);
  }
}

function start(t: TestContext, options: Partial<ControllerOptions> = {}) {
  const kube = new MemoryKube();
  const engines = new Engines();
  const stop = new AbortController();
  const lines: string[] = [];
  const write = (line: string) => lines.push(line);
  const log = createLog({ format: "text", clock: systemClock, write });
  const deps = {
    client: kube,
    engines: { vllm: engines, sglang: engines, runtime: engines },
    clock: systemClock,
    log,
    random: () => 0.5,
    metrics: controllerMetrics(createMetrics(), () => undefined),
  };
  const running = runController(
    deps,
    { ...CONTROLLER_DEFAULTS, pollMs: 20, ...options },
    stop.signal,
  );
  t.after(async () => {
    stop.abort();
    await running;
  });
  return { kube, engines, lines };
}

const podOf = (index: number, ready = true): Pod => ({
  metadata: {
    name: `pod-${index}`,
    namespace: "default",
    labels: { "model.aibrix.ai/name": "base", "adapter.model.aibrix.ai/enabled": "true" },
  },
  spec: { containers: [] },
  status: {
    podIP: `127.1.0.${index}`,
    conditions: [
      {
        type: "Ready",
        status: ready ? "True" : "False",
        lastTransitionTime: toTimestamp(Date.now() - 60_000),
      },
    ],
  },
});
const url = (index: number) => `http://127.1.0.${index}:8000`;

const adapterOf = (name: string, change: Partial<ModelAdapter["spec"]> = {}): ModelAdapter => ({
  apiVersion: "model.aibrix.ai/v1alpha1",
  kind: "ModelAdapter",
  metadata: { name, namespace: "default" },
  spec: {
    baseModel: "base",
    podSelector: { matchLabels: { "model.aibrix.ai/name": "base" } },
    schedulerName: "default",
    artifactURL: `huggingface://org/${name}`,
    ...change,
  },
});

const read = (kube: MemoryKube, name: string) =>
  kube.get(MODEL_ADAPTERS, { namespace: "default", name });
const running = (kube: MemoryKube, name: string, instances: string[]) =>
  eventually(`${name} on ${instances}`, async () => {
    const { status } = await read(kube, name);
    const right = JSON.stringify(status?.instances) === JSON.stringify(instances);
    return status?.phase === "Running" && right && status;
  });

test("an adapter is loaded on all pods, published, told of, and after its deletion nothing is left", async (t) => {
  const { kube, engines, lines } = start(t);
  for (const index of [1, 2, 3]) await kube.create(PODS, podOf(index));
  await kube.create(MODEL_ADAPTERS, adapterOf("sql", { additionalConfig: { "api-key": "sk-1" } }));
  await running(kube, "sql", ["pod-1", "pod-2", "pod-3"]);
  assert.deepEqual(
    engines.calls.sort(),
    [1, 2, 3].map((index) => `load ${url(index)} sql org/sql sk-1`),
  );

  const name = { namespace: "default", name: "sql" };
  const service = await kube.get(SERVICES, name);
  assert.equal(service.spec.clusterIP, "None");
  assert.equal(service.metadata.labels?.["model.aibrix.ai/name"], "sql");
  const slice = await kube.get(ENDPOINT_SLICES, name);
  assert.equal(slice.metadata.labels?.["kubernetes.io/service-name"], "sql");
  assert.deepEqual(
    slice.endpoints.map((endpoint) => endpoint.addresses[0]),
    ["127.1.0.1", "127.1.0.2", "127.1.0.3"],
  );
  assert(
    lines.some((line) =>
      /"Selected pods for adapter scheduling" .*selectedPods=\["pod-1","pod-2","pod-3"\]/.test(
        line,
      ),
    ),
  );
  assert(lines.some((line) => /"Successfully loaded adapter on pod" pod="pod-1"/.test(line)));
  assert(!lines.join("").includes("sk-1"));
  const events = await eventually("events", async () => {
    const { items } = await kube.list(EVENTS);
    return items.length >= 3 && items;
  });
  assert.deepEqual(events.map((event) => event.reason).sort(), [
    "Loaded",
    "ModelAdapterAvailable",
    "Scheduled",
  ]);

  await kube.delete(MODEL_ADAPTERS, name);
  await eventually("gone", async () => (await kube.list(MODEL_ADAPTERS)).items.length === 0);
  assert.deepEqual(
    [...engines.held.values()].map((held) => held.size),
    [0, 0, 0],
  );
  assert.equal((await kube.list(SERVICES)).items.length, 0);
});

test("what an engine lost is out of the status, loaded again, and back", async (t) => {
  const { kube, engines } = start(t);
  await kube.create(PODS, podOf(1));
  await kube.create(MODEL_ADAPTERS, adapterOf("sql"));
  await running(kube, "sql", ["pod-1"]);
  engines.of(url(1)).clear();
  await eventually("second load", () => engines.calls.length === 2);
  await running(kube, "sql", ["pod-1"]);
});

test("replicas 1 moves when its pod is no longer ready, and the first pod is cleaned when it is back", async (t) => {
  const { kube, engines } = start(t);
  for (const index of [1, 2]) await kube.create(PODS, podOf(index));
  await kube.create(MODEL_ADAPTERS, adapterOf("sql", { replicas: 1 }));
  const status = await eventually("running", async () => {
    const adapter = await read(kube, "sql");
    return adapter.status?.phase === "Running" && adapter.status;
  });
  const first = Number(status.instances?.[0]?.slice(-1));
  const second = 3 - first;
  const patch = (ready: boolean) => ({ status: podOf(first, ready).status });
  const pod = { namespace: "default", name: `pod-${first}` };
  await kube.patch(PODS, pod, "merge", patch(false), { subresource: "status" });
  await running(kube, "sql", [`pod-${second}`]);
  await kube.patch(PODS, pod, "merge", patch(true), { subresource: "status" });
  await eventually("cleaned", () => engines.of(url(first)).size === 0);
  await running(kube, "sql", [`pod-${second}`]);
});

test("a refusal is told in the engine's words and delays no other adapter; nothing is written while nothing changes", async (t) => {
  const { kube, engines } = start(t);
  await kube.create(PODS, podOf(1));
  engines.refuse = () => new EngineError("Rejected", false, "rank 64 > 16");
  await kube.create(MODEL_ADAPTERS, adapterOf("bad"));
  const failed = await eventually("failed", async () => {
    const { status } = await read(kube, "bad");
    return status?.phase === "Failed" && status;
  });
  assert.match(JSON.stringify(failed.conditions), /pod pod-1: rank 64 > 16/);
  engines.refuse = () => undefined;
  await kube.create(MODEL_ADAPTERS, adapterOf("good"));
  await running(kube, "good", ["pod-1"]);
  const events = async () => (await kube.list(EVENTS)).items.length;
  await eventually("events", async () => (await events()) >= 3);
  const before = kube.writes.length;
  const calls = engines.calls.length;
  // Ten polls: time enough for anything that would be done again and again.
  await systemClock.sleep(200);
  assert.deepEqual(kube.writes.slice(before), []);
  assert.equal(engines.calls.length, calls);
  await kube.patch(MODEL_ADAPTERS, { namespace: "default", name: "bad" }, "merge", {
    spec: { artifactURL: "huggingface://org/mended" },
  });
  await running(kube, "bad", ["pod-1"]);
});

test("a store that only the sidecar can read is a final error that names the cure", async (t) => {
  const { kube, engines } = start(t);
  await kube.create(PODS, podOf(1));
  await kube.create(MODEL_ADAPTERS, adapterOf("s3", { artifactURL: "s3://bucket/lora" }));
  const failed = await eventually("failed", async () => {
    const { status } = await read(kube, "s3");
    return status?.phase === "Failed" && status;
  });
  assert.match(JSON.stringify(failed.conditions), /s3:\/\/ needs the runtime sidecar/);
  assert.deepEqual(engines.calls, []);
});

test("an engine that is dead though its pod is Ready: retried as documented, and the others serve", async (t) => {
  const { kube, engines, lines } = start(t);
  const dead = new EngineError("Unreachable", true, "connection refused");
  engines.dead = ({ url: of }) => (of === url(1) ? dead : undefined);
  engines.refuse = engines.dead;
  for (const index of [1, 2]) await kube.create(PODS, podOf(index));
  await kube.create(MODEL_ADAPTERS, adapterOf("sql"));
  const status = await running(kube, "sql", ["pod-2"]);
  const line = await eventually("the first failure", async () => {
    const { status: now } = await read(kube, "sql");
    return now?.pods?.find((pod) => pod.state === "Retrying");
  });
  assert.deepEqual([line.name, line.message, line.retries], ["pod-1", "connection refused", 0]);
  assert.equal(status.desiredReplicas, 2);
  const { annotations } = (await read(kube, "sql")).metadata;
  assert.equal(annotations?.["adapter.model.aibrix.ai/retry-count.pod-1"], "0");
  assert(
    lines.some((text) =>
      /"Retriable error loading adapter" pod="pod-1" .*error="connection refused"/.test(text),
    ),
  );
});

test("a load that was never answered is made again when the engine speaks again", async (t) => {
  const { kube, engines } = start(t);
  engines.swallow = () => true;
  await kube.create(PODS, podOf(1));
  await kube.create(MODEL_ADAPTERS, adapterOf("sql"));
  await eventually("begun", () => engines.calls.length === 1);
  let refusals = 0;
  engines.dead = () => {
    refusals++;
    return new EngineError("Unreachable", true, "connection refused");
  };
  await eventually("silent", () => refusals >= 2);
  engines.swallow = () => false;
  engines.dead = () => undefined;
  await running(kube, "sql", ["pod-1"]);
  assert.equal(engines.calls.length, 2);
});

test("the last retry is told even when the adapter is on another pod at once", async (t) => {
  const { kube, engines } = start(t);
  const dead = new EngineError("Unreachable", true, "connection refused");
  engines.dead = ({ url: of }) => (of === url(1) ? dead : undefined);
  engines.refuse = engines.dead;
  for (const index of [1, 2]) await kube.create(PODS, podOf(index));
  const adapter = adapterOf("sql", { replicas: 1 });
  // As an earlier controller has left it: the fifth retry is due.
  adapter.metadata.annotations = {
    "adapter.model.aibrix.ai/scheduled-pods": "pod-1",
    "adapter.model.aibrix.ai/retry-count.pod-1": "4",
    "adapter.model.aibrix.ai/last-retry-time.pod-1": toTimestamp(Date.now() - 120_000),
  };
  await kube.create(MODEL_ADAPTERS, adapter);
  await running(kube, "sql", ["pod-2"]);
  const exceeded = await eventually("the Event", async () => {
    const { items } = await kube.list(EVENTS);
    return items.find(({ reason }) => reason === "MaxRetriesExceeded");
  });
  assert.equal(exceeded.message, "Max retries exceeded for pod pod-1: connection refused");
  assert.equal(exceeded.type, "Warning");
});
