import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock, settle } from "#test/support/manual-clock.ts";
import { Slots } from "./slots.ts";

const never = () => new Promise<void>(() => {});
const { signal } = new AbortController();

/** Begins `count` operations on a pod that hang; how many are under way. */
function hang(slots: Slots, pod: string, count: number): () => number {
  let begun = 0;
  const work = () => {
    begun++;
    return never();
  };
  for (let at = 0; at < count; at++) void slots.run(pod, work, signal);
  return () => begun;
}

test("however many pods hang, another one has its operations at once", async () => {
  const slots = new Slots(new ManualClock());
  const hanging = Array.from({ length: 300 }, (_, at) => hang(slots, `hung-${at}`, 10));
  await settle();
  const underWay = hanging.reduce((all, begun) => all + begun(), 0);
  assert.ok(underWay < 1000, "they are bounded");
  const quick = Promise.withResolvers<void>();
  await slots.run("quick", async () => quick.resolve(), signal);
  await quick.promise;
});

test("on one pod, what hangs makes room after ten seconds, and not without end", async () => {
  const clock = new ManualClock();
  const slots = new Slots(clock);
  const begun = hang(slots, "pod", 100);
  await settle();
  assert.equal(begun(), 4);
  await clock.advance(10_000);
  assert.equal(begun(), 8);
  for (let time = 0; time < 20; time++) await clock.advance(10_000);
  assert.equal(begun(), 32);
});

test("a pod's share grows again when others have done", async () => {
  const slots = new Slots(new ManualClock());
  const gate = Promise.withResolvers<void>();
  const others = Array.from({ length: 300 }, (_, at) =>
    slots.run(`pod-${at}`, () => gate.promise, signal),
  );
  const begun = hang(slots, "pod", 3);
  await settle();
  assert.equal(begun(), 1);
  gate.resolve();
  await Promise.all(others);
  await slots.run("pod", async () => {}, signal);
  assert.equal(begun(), 3);
});
