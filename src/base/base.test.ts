import assert from "node:assert/strict";
import { test } from "node:test";
import { exponentialMs, jitterMs } from "./backoff.ts";
import { codeOf, messageOf } from "./errors.ts";
import { jsonEqual } from "./json.ts";
import { Semaphore } from "./semaphore.ts";

test("back-off doubles and stops at its bound", () => {
  const waits = [0, 1, 2, 3, 4, 5].map((attempt) => exponentialMs(attempt, 5000, 80_000));
  assert.deepEqual(waits, [5000, 10_000, 20_000, 40_000, 80_000, 80_000]);
  assert.equal(exponentialMs(1e9, 1, 1000), 1000);
  assert.equal(
    jitterMs(1000, 0.1, () => 0),
    900,
  );
  assert.equal(
    jitterMs(1000, 0.1, () => 1),
    1100,
  );
});

test("a semaphore bounds its holders and serves waiters in turn, also when one gives up", async () => {
  const places = new Semaphore(2);
  const order: string[] = [];
  const first = await places.acquire();
  const second = await places.acquire();
  const leave = new AbortController();
  const left = assert.rejects(places.acquire(leave.signal), { message: "left" });
  const third = places.acquire().then((release) => {
    order.push("third");
    return release;
  });
  const fourth = places.acquire().then((release) => {
    order.push("fourth");
    return release;
  });
  leave.abort(new Error("left"));
  await left;
  assert.deepEqual(order, []);
  first();
  first();
  (await third)();
  second();
  (await fourth)();
  assert.deepEqual(order, ["third", "fourth"]);
  await assert.rejects(places.acquire(AbortSignal.abort(new Error("late"))), { message: "late" });
});

test("errors are told with their causes, and their code is found below a wrapper", () => {
  const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  const wrapped = new Error("loading sql-lora", {
    cause: new TypeError("fetch failed", { cause: refused }),
  });
  assert.equal(messageOf(wrapped), "loading sql-lora: fetch failed: connect ECONNREFUSED");
  assert.equal(codeOf(wrapped), "ECONNREFUSED");
  assert.equal(codeOf(new AggregateError([refused])), "ECONNREFUSED");
  assert.equal(codeOf(new Error("plain")), undefined);
});

test("JSON values are equal whatever the order of their keys", () => {
  assert(jsonEqual({ a: 1, b: [1, { c: null }], d: undefined }, { b: [1, { c: null }], a: 1 }));
  assert(!jsonEqual({ a: 1 }, { a: 1, b: null }));
  assert(!jsonEqual([1, 2], [2, 1]));
  assert(!jsonEqual({}, []));
});
