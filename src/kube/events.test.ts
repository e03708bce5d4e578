import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeEvent, KubeObject } from "#api/kubernetes.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { KubeApiError, type KubeClient } from "./client.ts";
import { startEventRecorder } from "./events.ts";

const adapter: KubeObject = {
  apiVersion: "model.aibrix.ai/v1alpha1",
  kind: "ModelAdapter",
  metadata: { name: "sql-lora", namespace: "team-a", uid: "u-1", resourceVersion: "7" },
};

function recorderOf(fail: () => Error | undefined = () => undefined) {
  const clock = new ManualClock(Date.parse("2026-11-24T02:00:00.250Z"));
  const events: KubeEvent[] = [];
  const calls: string[] = [];
  const client = {
    create: async (_resource: unknown, event: KubeEvent) => {
      calls.push("create");
      const error = fail();
      if (error !== undefined) throw error;
      events.push(event);
    },
    patch: async (_resource: unknown, { name }: { name: string }, _kind: string, patch: object) => {
      calls.push("patch");
      const event = events.find((one) => one.metadata.name === name);
      if (event === undefined) throw new KubeApiError(404, "NotFound", "gone");
      Object.assign(event, patch);
    },
  } as unknown as KubeClient;
  const stop = new AbortController();
  const deps = { client, clock, log: silentLog, component: "aibrix-controller-manager" };
  const recorder = startEventRecorder({ ...deps, instance: "pod-0" }, stop.signal);
  return { clock, events, calls, recorder, stop };
}

test("an event has the form that kubectl describe reads", async () => {
  const { clock, events, recorder, stop } = recorderOf();
  recorder.record(adapter, "Normal", "Loaded", "Successfully loaded adapter on pod pod-2");
  await clock.advance(0);
  const { metadata, ...event } = events[0] as KubeEvent;
  assert.equal(metadata.namespace, "team-a");
  assert.match(metadata.name, /^sql-lora\.[0-9a-f]+$/);
  assert.deepEqual(event, {
    involvedObject: {
      apiVersion: "model.aibrix.ai/v1alpha1",
      kind: "ModelAdapter",
      namespace: "team-a",
      name: "sql-lora",
      uid: "u-1",
      resourceVersion: "7",
    },
    type: "Normal",
    reason: "Loaded",
    message: "Successfully loaded adapter on pod pod-2",
    count: 1,
    firstTimestamp: "2026-11-24T02:00:00Z",
    lastTimestamp: "2026-11-24T02:00:00Z",
    source: { component: "aibrix-controller-manager", host: "pod-0" },
    reportingComponent: "aibrix-controller-manager",
    reportingInstance: "pod-0",
  });
  stop.abort();
  await recorder.done;
});

test("repeats are counted on one event, those that wait as one request; a deleted event is told anew", async () => {
  const { clock, events, calls, recorder, stop } = recorderOf();
  const say = () => recorder.record(adapter, "Warning", "MaxRetriesExceeded", "m");
  say();
  await clock.advance(60_000);
  say();
  say();
  say();
  await clock.advance(0);
  assert.deepEqual(calls, ["create", "patch"]);
  assert.equal(events[0]?.count, 4);
  assert.equal(events[0]?.lastTimestamp, "2026-11-24T02:01:00Z");
  events.length = 0;
  say();
  await clock.advance(0);
  assert.deepEqual([events.length, events[0]?.count], [1, 1]);
  stop.abort();
  await recorder.done;
});

test("a failing server is retried with pauses, a refusal is not", async () => {
  let error: Error | undefined = new Error("connection refused");
  const { clock, events, calls, recorder, stop } = recorderOf(() => error);
  recorder.record(adapter, "Normal", "Scheduled", "a");
  await clock.advance(600);
  assert.equal(calls.length, 2);
  error = undefined;
  await clock.advance(1_000);
  assert.equal(events.length, 1);
  error = new KubeApiError(403, "Forbidden", "no");
  recorder.record(adapter, "Normal", "Scheduled", "b");
  await clock.advance(60_000);
  assert.equal(calls.length, 4);
  stop.abort();
  await recorder.done;
});

test("one chatty object is cut short without silencing others", async () => {
  const { clock, events, recorder, stop } = recorderOf();
  for (let i = 0; i < 100; i++) recorder.record(adapter, "Normal", "Noise", `message ${i}`);
  const other = { ...adapter, metadata: { name: "other", uid: "u-2" } };
  recorder.record(other, "Normal", "Loaded", "m");
  await clock.advance(0);
  const [theirs, its] = [
    events.filter(({ involvedObject }) => involvedObject.name === "other"),
    events.filter(({ involvedObject }) => involvedObject.name !== "other"),
  ];
  assert.deepEqual(
    theirs.map(({ metadata }) => metadata.namespace),
    ["default"],
  );
  assert.deepEqual(
    its.map(({ message }) => message),
    Array.from({ length: 25 }, (_, index) => `message ${index}`),
  );
  await clock.advance(5 * 60_000);
  recorder.record(adapter, "Normal", "Noise", "later");
  await clock.advance(0);
  assert.equal(events.length, 27);
  stop.abort();
  await recorder.done;
});

test("at the stop what waits is still sent, but not for ever", async () => {
  const working = recorderOf();
  working.recorder.record(adapter, "Normal", "Loaded", "m");
  working.stop.abort();
  await working.recorder.done;
  assert.equal(working.events.length, 1);

  const broken = recorderOf(() => new Error("connection refused"));
  broken.recorder.record(adapter, "Normal", "Loaded", "m");
  broken.stop.abort();
  await broken.clock.advance(2_000);
  await broken.recorder.done;
  assert.equal(broken.clock.pending, 0);
});
