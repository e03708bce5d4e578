import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { SchedulerName } from "#api/model-adapter.ts";
import { schedulerOf } from "./scheduler.ts";

const names: SchedulerName[] = ["default", "least-adapters"];
const pod = fc.record({
  name: fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/),
  adapters: fc.nat(50),
});
const pods = fc.uniqueArray(pod, { minLength: 1, maxLength: 20, selector: (one) => one.name });

/** Places `count` adapters one after another; returns how many each pod got. */
function place(name: SchedulerName, prefix: string, count: number, podCount: number): number[] {
  const scheduler = schedulerOf(name, "default");
  const fleet = Array.from({ length: podCount }, (_, i) => ({
    name: `base-5587f4c57d-${i}`,
    adapters: 0,
  }));
  for (let index = 0; index < count; index++) {
    const chosen = scheduler(`default/${prefix}-${index}`, fleet);
    const target = fleet.find((one) => one.name === chosen);
    assert(target !== undefined);
    target.adapters++;
  }
  return fleet.map((one) => one.adapters);
}

test("a scheduler chooses one of the candidates, whatever their order", () => {
  for (const name of names) {
    const scheduler = schedulerOf(name, "default");
    fc.assert(
      fc.property(fc.string(), pods, (key, candidates) => {
        const chosen = scheduler(key, candidates);
        assert(candidates.some((one) => one.name === chosen));
        assert.equal(scheduler(key, candidates.toReversed()), chosen);
      }),
    );
  }
});

test("100 adapters on 10 pods: least-adapters gives each 10, default stays within 6..14", () => {
  assert.deepEqual(place("least-adapters", "lora", 100, 10), Array(10).fill(10));
  for (let seed = 0; seed < 200; seed++) {
    const counts = place("default", `lora-${seed}`, 100, 10);
    assert(Math.min(...counts) >= 6 && Math.max(...counts) <= 14, `seed ${seed}: ${counts}`);
  }
});

test("default is stable: a pod that leaves moves only its own adapters while all are lightly loaded", () => {
  const scheduler = schedulerOf("default", "default");
  const fleet = ["a", "b", "c", "d"].map((name) => ({ name, adapters: 0 }));
  for (let index = 0; index < 200; index++) {
    const key = `default/lora-${index}`;
    const before = scheduler(key, fleet);
    const after = scheduler(
      key,
      fleet.filter((one) => one.name !== "d"),
    );
    if (before !== "d") assert.equal(after, before);
  }
});

test("schedulerName default means the controller's policy; another name is honoured per adapter", () => {
  const fleet = [
    { name: "full", adapters: 9 },
    { name: "empty", adapters: 0 },
  ];
  for (let index = 0; index < 20; index++) {
    assert.equal(schedulerOf("default", "least-adapters")(`default/${index}`, fleet), "empty");
    assert.equal(schedulerOf("least-adapters", "default")(`default/${index}`, fleet), "empty");
  }
});
