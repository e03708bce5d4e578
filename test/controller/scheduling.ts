/** Adapters of one replica are spread evenly over the pods, and stay where they are. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { SchedulerName } from "#api/model-adapter.ts";
import { MODEL_ADAPTERS } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { TestPod } from "./pods.ts";
import type { Stage } from "./stage.ts";
import { World } from "./world.ts";

const PODS = 10;
const ADAPTERS = 100;
const PATIENCE_MS = 60_000;

/** How many adapters a pod has at least and at most, a tenth of them being an even share. */
const PROMISES: readonly [SchedulerName, number, number][] = [
  ["least-adapters", 10, 10],
  ["default", 6, 14],
];

export function schedulingTests(stage: Stage): void {
  for (const [schedulerName, least, most] of PROMISES) {
    for (const how of ["at once", "one after another"]) {
      it(`a hundred adapters of one replica, applied ${how}: ${schedulerName}`, async (t) => {
        const world = await World.make(stage, t);
        const pods = await podsOf(world);
        const names = Array.from({ length: ADAPTERS }, (_, at) => `lora-${at}`);
        const declare = (name: string) => world.declare(name, { replicas: 1, schedulerName });
        if (how === "at once") await Promise.all(names.map(declare));
        else {
          for (const name of names) {
            await declare(name);
            await eventually("loaded", () => pods.some((pod) => pod.engine.held.has(name)));
          }
        }
        for (const name of names) await world.phase(name, "Running", PATIENCE_MS);
        const counts = pods.map(({ engine }) => engine.held.size);
        const isEven = counts.every((count) => count >= least && count <= most);
        assert.ok(isEven, `${counts}`);
        assert.equal(sum(counts), ADAPTERS, "each is on one pod");
        const more = await world.pod("pod-more");
        await eventually("it is known", () => more.engine.lists >= 2);
        await world.declare("last", { replicas: 1, schedulerName: "least-adapters" });
        await world.serving("last", more);
        const loads = pods.map(({ engine }) => engine.calls.length);
        assert.equal(sum(loads), ADAPTERS, "none was loaded twice, or moved");
        assert.deepEqual(more.engine.calls, ["load last /adapters/last"]);
        await removeAll(world, [...names, "last"]);
      });
    }
  }
}

async function podsOf(world: World): Promise<TestPod[]> {
  return await Promise.all(Array.from({ length: PODS }, (_, at) => world.pod(`pod-${at}`)));
}

/** Hundreds of adapters without their engines would keep the controller busy with retries. */
async function removeAll(world: World, names: readonly string[]): Promise<void> {
  const { client } = world.stage;
  await Promise.all(names.map((name) => client.delete(MODEL_ADAPTERS, world.named(name))));
  for (const name of names) await world.gone(name, PATIENCE_MS);
}

const sum = (counts: readonly number[]) => counts.reduce((all, one) => all + one, 0);
