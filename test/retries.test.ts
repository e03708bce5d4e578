/** Retries as the documentation tells of them, from the first attempt to the next pod, a hundred times as fast. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ModelAdapter } from "#api/model-adapter.ts";

import { EVENTS, MODEL_ADAPTERS } from "#kube/client.ts";
import { Addresses } from "./controller/addresses.ts";
import { makePod, type TestPod } from "./controller/pods.ts";
import { startController } from "./support/controller-in-process.ts";
import { eventually } from "./support/eventually.ts";
import { fastClock } from "./support/fast-clock.ts";
import { MemoryKube } from "./support/memory-kube.ts";

const PAUSES_MS = [5000, 10_000, 20_000, 40_000, 80_000];
const SLOW_MS = 300_000;
/** What is written down for the next controller has whole seconds. */
const SECOND_MS = 1000;
const PATIENCE_MS = 30_000;
const GONE = { status: 503, body: "" };
const addresses = new Addresses();

/** Three pods, a clock that runs fast, and controllers on demand. */
async function setUp(t: TestContext) {
  const kube = new MemoryKube();
  const clock = fastClock(100);
  const make = async (name: string): Promise<TestPod> => {
    const pod = await makePod(kube, "default", name, addresses.next(), { labels: labelsOf(name) });
    t.after(() => pod.engine.close());
    return pod;
  };
  const pods = await Promise.all(["pod-1", "pod-2", "pod-3"].map(make));
  const declare = (name: string, on: object, more: Partial<ModelAdapter["spec"]> = {}) =>
    kube.create(MODEL_ADAPTERS, {
      apiVersion: "model.aibrix.ai/v1alpha1",
      kind: "ModelAdapter",
      metadata: { name, namespace: "default" },
      spec: {
        baseModel: "base",
        podSelector: { matchLabels: { ...on } },
        schedulerName: "least-adapters",
        artifactURL: `/adapters/${name}`,
        ...more,
      },
    });
  const read = (name: string) => kube.get(MODEL_ADAPTERS, { namespace: "default", name });
  const phase = (name: string, wanted: string) =>
    eventually(
      `${name} ${wanted}`,
      async () => {
        const adapter = await read(name);
        return adapter.status?.phase === wanted && adapter;
      },
      PATIENCE_MS,
    );
  /** When the adapter was tried on each pod, and how many retries had been made by the failure before. */
  const attempts = new Map<string, { atMs: number; written: string | undefined }[]>();
  for (const pod of pods) {
    const list: { atMs: number; written: string | undefined }[] = [];
    attempts.set(pod.name, list);
    pod.engine.before = async (call) => {
      if (!call.startsWith("load lora ")) return;
      const { annotations } = (await read("lora")).metadata;
      const written = annotations?.[`adapter.model.aibrix.ai/retry-count.${pod.name}`];
      list.push({ atMs: clock.now(), written });
    };
  }
  const start = () => startController(t, kube, { clock });
  const events = async () => {
    const { items } = await kube.list(EVENTS);
    return items
      .filter((event) => event.involvedObject.name === "lora")
      .map(({ type, reason, message }) => `${type} ${reason} ${message}`);
  };
  return { kube, clock, pods, declare, read, phase, attempts, start, events };
}

const labelsOf = (name: string) => ({
  "model.aibrix.ai/name": "base",
  "adapter.model.aibrix.ai/enabled": "true",
  pod: name,
});

/** Each try came when the pause after the one before was over, never before. */
function assertPauses(tries: readonly { atMs: number }[], pausesMs: readonly number[]): void {
  assert.equal(tries.length, pausesMs.length + 1);
  for (const [at, pauseMs] of pausesMs.entries()) {
    const ms = (tries[at + 1]?.atMs ?? 0) - (tries[at]?.atMs ?? 0);
    assert.ok(ms >= pauseMs - SECOND_MS, `${ms} ms after try ${at + 1}`);
  }
}

test("a first attempt and five retries, counted across controllers; then the scheduler's next pod", async (t) => {
  const { pods, declare, read, phase, attempts, start, events } = await setUp(t);
  const [one, two, three] = pods as [TestPod, TestPod, TestPod];
  const anywhere = { "model.aibrix.ai/name": "base" };
  await declare("everywhere", anywhere);
  // pod-2 is the fullest and pod-1 the emptiest: pod-3 comes between them.
  await declare("full-1", { pod: "pod-2" });
  await declare("full-2", { pod: "pod-2" });
  await declare("half", { pod: "pod-3" });
  const first = start();
  for (const name of ["everywhere", "full-1", "full-2", "half"]) await phase(name, "Running");
  one.engine.fault = GONE;
  await declare("lora", anywhere, { replicas: 1 });
  const tries = () => attempts.get("pod-1") ?? [];
  const count = async () =>
    (await read("lora")).metadata.annotations?.["adapter.model.aibrix.ai/retry-count.pod-1"];
  await eventually("a retry failed", async () => (await count()) === "1", PATIENCE_MS);
  await first.stop();
  const second = start();
  const adapter = await phase("lora", "Running");
  assert.deepEqual(adapter.status?.instances, ["pod-3"]);
  assertPauses(tries(), PAUSES_MS);
  assert.deepEqual(
    tries().map(({ written }) => written),
    [undefined, "0", "1", "2", "3", "4"],
  );
  assert.deepEqual(
    two.engine.calls.filter((call) => call.includes(" lora ")),
    [],
  );
  assert.deepEqual(
    three.engine.calls.filter((call) => call.includes(" lora ")),
    ["load lora /adapters/lora"],
  );
  const story = [
    "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [pod-1]",
    "Warning MaxRetriesExceeded Max retries exceeded for pod pod-1: service unavailable",
    "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [pod-3]",
    "Normal Loaded Successfully loaded adapter on pod pod-3",
  ];
  await eventually("told", async () => (await events()).includes(story[3] ?? ""));
  assert.deepEqual(
    (await events()).filter((event) => story.includes(event)),
    story,
  );
  assert.match(
    second.log(),
    /Max retries exceeded, switching to another pod if there is one" pod="pod-1"/,
  );
  assert.deepEqual(adapter.metadata.annotations ?? {}, {});
});

test("with every pod given up it is Failed and tried slowly; a new container, and a new spec, count anew", async (t) => {
  const { kube, declare, pods, phase, attempts, start, read } = await setUp(t);
  const [one] = pods as [TestPod];
  for (const { engine } of pods) engine.fault = GONE;
  await declare("lora", { pod: "pod-1" });
  start();
  const failed = await phase("lora", "Failed");
  const loaded = failed.status?.conditions?.find(({ type }) => type === "Loaded");
  assert.deepEqual(
    [loaded?.reason, loaded?.message],
    ["MaxRetriesExceeded", "Max retries exceeded for pod pod-1: service unavailable"],
  );
  const tries = attempts.get("pod-1") ?? [];
  assertPauses(tries, PAUSES_MS);
  const lastMs = tries.at(-1)?.atMs ?? 0;
  await one.restartContainer();
  await eventually("tried again", () => tries.length > 6, PATIENCE_MS);
  assert.ok((tries[6]?.atMs ?? 0) < lastMs + SLOW_MS, "at once, not at the slow pace");
  const isNew = async () =>
    (await read("lora")).metadata.annotations?.["adapter.model.aibrix.ai/retry-count.pod-1"] ===
    "0";
  await eventually("counted anew", isNew);
  await phase("lora", "Failed");
  const secondMs = tries.at(-1)?.atMs ?? 0;
  one.engine.fault = undefined;
  await kube.patch(MODEL_ADAPTERS, { namespace: "default", name: "lora" }, "merge", {
    spec: { artifactURL: "/adapters/mended" },
  });
  await phase("lora", "Running");
  assert.ok((tries.at(-1)?.atMs ?? 0) < secondMs + SLOW_MS);
});
