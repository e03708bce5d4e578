/** An adapter that an engine should not have goes as soon as the engine is back; what is nobody's is left alone. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { MODEL_ADAPTERS } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { TestPod } from "./pods.ts";
import type { Stage } from "./stage.ts";
import { World } from "./world.ts";

/** Five seconds of being Ready, a poll, and the drain. */
const BACK_MS = 20_000;

/** What takes an adapter from the first of two pods. */
export const DEPARTURES: Readonly<
  Record<string, (world: World, pod: TestPod) => Promise<unknown>>
> = {
  "the selector changed": (world) =>
    world.change("lora", { podSelector: { matchLabels: { tier: "gold" } } }),
  "the pod is no longer enabled": (_, pod) =>
    pod.label({ "adapter.model.aibrix.ai/enabled": null }),
  "the pod lost its label": (_, pod) => pod.label({ "model.aibrix.ai/name": null }),
};

/** How a pod is lost, and comes back with all that its engine had. */
export const ABSENCES: Readonly<
  Record<
    string,
    { begin: (pod: TestPod) => Promise<unknown>; over: (pod: TestPod) => Promise<unknown> }
  >
> = {
  "that could not be reached": { begin: (pod) => pod.refuse(), over: (pod) => pod.listenAgain() },
  "that was not Ready": {
    begin: (pod) => pod.ready(undefined),
    over: (pod) => pod.ready(0),
  },
};

export function leftoverTests(stage: Stage): void {
  for (const [why, depart] of Object.entries(DEPARTURES)) {
    for (const [how, { begin, over }] of Object.entries(ABSENCES)) {
      it(`${why} on a pod ${how}: unloaded when it is back`, async (t) => {
        const world = await World.make(stage, t);
        const [one, two] = await world.pods("pod-1", "pod-2");
        await two.label({ tier: "gold" });
        await world.declare("lora");
        await world.serving("lora", one, two);
        await begin(one);
        await world.serving("lora", two);
        await depart(world, one);
        await over(one);
        await eventually("unloaded", () => !one.engine.held.has("lora"), BACK_MS);
        await world.serving("lora", two);
        const states = ["Loaded", "Waiting"];
        await world.until("lora", "told", ({ status }) =>
          status?.pods?.every(({ state }) => states.includes(state ?? "")),
        );
        assert.deepEqual(two.engine.calls, ["load lora /adapters/lora"]);
      });
    }
  }

  for (const [how, { begin, over }] of Object.entries(ABSENCES)) {
    it(`one replica has moved from a pod ${how}: unloaded when it is back`, async (t) => {
      const world = await World.make(stage, t);
      const one = await world.pod("pod-1");
      await world.declare("lora", { replicas: 1 });
      await world.serving("lora", one);
      const two = await world.pod("pod-2");
      await begin(one);
      await one.ready(undefined);
      await world.serving("lora", two);
      await over(one);
      await one.ready(0);
      await eventually("unloaded", () => !one.engine.held.has("lora"), BACK_MS);
      await world.serving("lora", two);
      assert.deepEqual(two.engine.calls, ["load lora /adapters/lora"]);
    });
  }

  it("what somebody loaded under an adapter's name, where it is not meant, stays", async (t) => {
    const world = await World.make(stage, t);
    const [one, other] = await world.pods("pod-1", "pod-2");
    await other.label({ "model.aibrix.ai/name": "other" });
    other.engine.held.set("lora", "/by/hand");
    await world.declare("lora");
    await world.serving("lora", one);
    await world.change("lora", { artifactURL: "/adapters/lora-2" });
    await eventually("replaced", () => one.engine.held.get("lora") === "/adapters/lora-2");
    await world.serving("lora", one);
    await stage.client.delete(MODEL_ADAPTERS, world.named("lora"));
    await world.gone("lora");
    assert.deepEqual([...other.engine.held], [["lora", "/by/hand"]]);
    assert.deepEqual(other.engine.calls, []);
  });
}
