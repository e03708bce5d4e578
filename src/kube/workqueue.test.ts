import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ManualClock, settle } from "#test/support/manual-clock.ts";
import { WorkQueue } from "./workqueue.ts";

/** A queue whose handlers the test lets go one by one. */
function queueOf(t: TestContext, workers = 1) {
  const clock = new ManualClock();
  const queue = new WorkQueue({ clock, backoffBaseMs: 100, backoffMaxMs: 1_000 });
  const stop = new AbortController();
  const started: string[] = [];
  const open = new Map<string, (outcome: Error | number | undefined) => void>();
  const errors: string[] = [];
  const done = queue.run(
    workers,
    async (key) => {
      started.push(key);
      assert.ok(!open.has(key), "one worker at a time for a key");
      const outcome = await new Promise<Error | number | undefined>((resolve) =>
        open.set(key, resolve),
      );
      open.delete(key);
      if (outcome instanceof Error) throw outcome;
      return { requeueAfterMs: outcome };
    },
    (key) => errors.push(key),
    stop.signal,
  );
  const finish = async (key: string, outcome?: Error | number) => {
    const resolve = open.get(key);
    assert.ok(resolve, `${key} is being worked on`);
    resolve(outcome);
    await settle();
  };
  t.after(async () => {
    stop.abort();
    for (const resolve of open.values()) resolve(undefined);
    await done;
  });
  return { clock, queue, started, finish, errors, stop, done };
}

test("a key is queued once, and again when it was added while being worked on", async (t) => {
  const { queue, started, finish } = queueOf(t);
  queue.add("a");
  queue.add("a");
  queue.add("b");
  await settle();
  assert.deepEqual(started, ["a"]);
  queue.add("a");
  queue.add("a");
  await finish("a");
  await finish("b");
  await finish("a");
  assert.deepEqual(started, ["a", "b", "a"]);
  assert.equal(queue.length, 0);
});

test("an idle worker leaves a key alone that another one works on", async (t) => {
  const { queue, started, finish } = queueOf(t, 3);
  queue.add("a");
  await settle();
  queue.add("a");
  await settle();
  assert.deepEqual(started, ["a"]);
  await finish("a");
  assert.deepEqual(started, ["a", "a"]);
});

test("workers run side by side, up to their number", async (t) => {
  const { queue, started, finish } = queueOf(t, 2);
  for (const key of ["a", "b", "c"]) queue.add(key);
  await settle();
  assert.deepEqual(started, ["a", "b"]);
  await finish("b");
  assert.deepEqual(started, ["a", "b", "c"]);
});

test("a failing key comes back after doubled pauses, until it succeeds", async (t) => {
  const { clock, queue, started, finish, errors } = queueOf(t);
  queue.add("a");
  await settle();
  for (const pause of [100, 200, 400, 800, 1_000, 1_000]) {
    const before = started.length;
    await finish("a", new Error("no"));
    await clock.advance(pause - 1);
    assert.equal(started.length, before);
    await clock.advance(1);
    assert.equal(started.length, before + 1, `after ${pause} ms`);
  }
  assert.equal(errors.length, 6);
  await finish("a");
  assert.equal(queue.failures("a"), 0);
});

test("a key that events bring back before its pause is over waits for the rest of it, no longer", async (t) => {
  const { clock, queue, started, finish } = queueOf(t);
  queue.add("a");
  await settle();
  await finish("a", new Error("no"));
  for (let event = 0; event < 5; event++) {
    await clock.advance(10);
    queue.add("a");
    await settle();
    await finish("a", new Error("no"));
  }
  for (const pause of [50, 200]) {
    const before = started.length;
    await clock.advance(pause - 1);
    assert.equal(started.length, before);
    await clock.advance(1);
    assert.equal(started.length, before + 1, `after ${pause} ms`);
    await finish("a", new Error("no"));
  }
});

test("of several delays the earliest counts, and a handler may ask to come back", async (t) => {
  const { clock, queue, started, finish } = queueOf(t);
  queue.addAfter("a", 500);
  queue.addAfter("a", 50);
  queue.addAfter("a", 900);
  await clock.advance(50);
  assert.deepEqual(started, ["a"]);
  await finish("a", 300);
  await clock.advance(299);
  assert.equal(started.length, 1);
  await clock.advance(1);
  assert.equal(started.length, 2);
  await finish("a");
  await clock.advance(10_000);
  assert.equal(started.length, 2, "nothing is left of the longer delays");
});

test("after the stop nothing new starts, what runs is waited for, no timer is left", async (t) => {
  const { clock, queue, started, finish, stop, done } = queueOf(t);
  queue.add("a");
  queue.add("b");
  queue.addAfter("c", 100);
  await settle();
  stop.abort();
  let isDone = false;
  void done.then(() => {
    isDone = true;
  });
  await settle();
  assert.equal(isDone, false);
  queue.add("d");
  await finish("a", new Error("late"));
  await done;
  assert.deepEqual(started, ["a"]);
  assert.equal(clock.pending, 0);
});
