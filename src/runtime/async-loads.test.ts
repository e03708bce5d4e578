import assert from "node:assert/strict";
import { test } from "node:test";
import { abortReason, isAbort } from "#base/abort.ts";
import { SharedTask } from "#base/shared-task.ts";
import { ManualClock, settle } from "#test/support/manual-clock.ts";
import type { LoadRequest, LoadResult } from "./adapters.ts";
import { AsyncLoads, asyncPreference } from "./async-loads.ts";

test("how a caller wants to be answered is read from its header", () => {
  assert.equal(asyncPreference(undefined), undefined);
  assert.equal(asyncPreference("handling=strict"), undefined);
  const plain = { waitMs: 0, followMs: undefined };
  assert.deepEqual(asyncPreference("respond-async"), plain);
  assert.deepEqual(asyncPreference("Respond-Async, wait=x"), plain);
  const both = { waitMs: 5000, followMs: 30_000 };
  assert.deepEqual(asyncPreference("respond-async, wait=5, follow=30"), both);
  assert.deepEqual(asyncPreference("wait=5; respond-async;follow=30"), both);
});

const request = (artifactUrl: string): LoadRequest => ({
  name: "sql",
  source: { artifactUrl, credentials: undefined, sha256: undefined },
  apiKey: undefined,
  maxRank: undefined,
});
const RESULT: LoadResult = { localPath: "/adapters/sql", path: "/v/1", engine: "loaded" };

/** Loads that end when they are told to, shared by those with the same wish as the sidecar's are. */
function setUp() {
  const clock = new ManualClock();
  const tasks = new Map<string, { task: SharedTask<LoadResult>; end: () => void }>();
  const stopped: string[] = [];
  const loads = new AsyncLoads(clock, ({ source }, left) => {
    const key = JSON.stringify(source);
    const { promise, resolve, reject } = Promise.withResolvers<LoadResult>();
    const stop = new AbortController();
    stop.signal.addEventListener("abort", () => {
      stopped.push(key);
      reject(abortReason(stop.signal));
    });
    const known = tasks.get(key);
    if (known !== undefined) return known.task.join(left);
    const task = new SharedTask(stop, () => promise);
    tasks.set(key, { task, end: () => resolve(RESULT) });
    return task.join(left);
  });
  const end = async () => {
    for (const one of tasks.values()) one.end();
    await settle();
  };
  return { clock, loads, stopped, end };
}
const PREFERENCE = { waitMs: 5000, followMs: 30_000 };

test("what takes no longer than its caller waits is answered at once, failures too", async () => {
  const { loads, end } = setUp();
  const answer = loads.start(request("s3://a"), PREFERENCE);
  await end();
  assert.deepEqual(await answer, RESULT);
  const failing = new AsyncLoads(new ManualClock(), () => Promise.reject(new Error("no")));
  await assert.rejects(failing.start(request("s3://a"), PREFERENCE), /no/);
  assert.equal(await failing.start(request("s3://a"), { ...PREFERENCE, waitMs: 0 }), undefined);
});

test("what takes longer goes on for as long as somebody asks how it stands", async () => {
  const { clock, loads, stopped } = setUp();
  const answer = loads.start(request("s3://a"), PREFERENCE);
  await clock.advance(5000);
  assert.equal(await answer, undefined);
  for (let second = 0; second < 100; second += 20) {
    loads.asked("sql");
    await clock.advance(20_000);
  }
  assert.deepEqual(stopped, []);
  await clock.advance(10_000);
  assert.equal(stopped.length, 1);
});

test("without the wish to be followed it goes on to its end", async () => {
  const { clock, loads, stopped } = setUp();
  assert.equal(await loads.start(request("s3://a"), { waitMs: 0, followMs: undefined }), undefined);
  await clock.advance(3_600_000);
  assert.deepEqual(stopped, []);
});

test("another wish for the same name ends the one before; the same wish joins it", async () => {
  const { clock, loads, stopped, end } = setUp();
  const first = loads.start(request("s3://a"), PREFERENCE);
  const again = loads.start(request("s3://a"), PREFERENCE);
  // The first caller has become the second.
  await assert.rejects(first, isAbort);
  assert.deepEqual(stopped, []);
  const other = loads.start(request("s3://b"), PREFERENCE);
  await assert.rejects(again, isAbort);
  assert.equal(stopped.length, 1);
  await end();
  assert.deepEqual(await other, RESULT);
  assert.equal(clock.pending, 0);
});
