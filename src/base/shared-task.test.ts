import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyedMutex } from "./keyed-mutex.ts";
import { SharedTask } from "./shared-task.ts";

const untilAborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

test("all callers get the one result", async () => {
  const done = Promise.withResolvers<string>();
  let runs = 0;
  const task = new SharedTask(new AbortController(), () => {
    runs++;
    return done.promise;
  });
  const all = Promise.all([task.join(), task.join()]);
  done.resolve("x");
  assert.deepEqual([await all, runs, task.isJoinable], [["x", "x"], 1, false]);
  assert.equal(await task.join(), "x");
});

test("a caller may leave; the last one takes the work along", async () => {
  const task = new SharedTask(new AbortController(), untilAborted);
  const [first, second] = [new AbortController(), new AbortController()];
  const joined = [task.join(first.signal), task.join(second.signal)];
  first.abort(new Error("first left"));
  await assert.rejects(joined[0] ?? Promise.resolve(), /first left/);
  assert.equal(task.isJoinable, true);
  second.abort(new Error("second left"));
  await assert.rejects(joined[1] ?? Promise.resolve(), /second left/);
  assert.equal(task.isJoinable, false);
});

test("cancel ends it for everybody", async () => {
  const task = new SharedTask(new AbortController(), untilAborted);
  const joined = task.join();
  task.cancel(new Error("unloaded"));
  await assert.rejects(joined, /unloaded/);
});

test("a keyed mutex: one at a time by key, in order, and nothing left behind", async () => {
  const mutex = new KeyedMutex();
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const runs = [
    mutex.run("a", async () => {
      await gate.promise;
      order.push("a1");
    }),
    mutex.run("a", async () => void order.push("a2")),
    mutex.run("b", async () => void order.push("b1")),
  ];
  await runs[2];
  assert.deepEqual([order, mutex.isHeld("a"), mutex.isHeld("b")], [["b1"], true, false]);
  gate.resolve();
  await Promise.all(runs);
  assert.deepEqual([order, mutex.isHeld("a")], [["b1", "a1", "a2"], false]);
});
