/** A changed artifact goes out pod by pod, and a bad one leaves what serves alone. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { eventually } from "../support/eventually.ts";
import type { TestPod } from "./pods.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, podLinesOf, World } from "./world.ts";

const PATIENCE_MS = 15_000;

export function updateTests(stage: Stage): void {
  it("a new version replaces the old one on one pod after the other, each out of traffic", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2", "pod-3");
    await world.declare("lora");
    await world.serving("lora", ...pods);
    const wrong: string[] = [];
    for (const { engine, host } of pods) {
      engine.before = async (call) => {
        const sent = world.endpoints("lora");
        if (sent.includes(host) || sent.length !== 2) wrong.push(`${call}: ${sent}`);
      };
    }
    const { metadata } = await world.change("lora", { artifactURL: "/adapters/lora-2" });
    await eventually("all have it", () => pods.every(holds("/adapters/lora-2")), PATIENCE_MS);
    const after = await world.serving("lora", ...pods);
    assert.equal(after.status?.observedGeneration, metadata.generation);
    assert.deepEqual(wrong, []);
    const artifacts = after.status?.pods?.map(({ artifactURL }) => artifactURL);
    assert.deepEqual(artifacts, Array(3).fill("/adapters/lora-2"));
    const fewest = world
      .slices("lora")
      .slice(1)
      .map(({ object }) => object.endpoints.length);
    assert.ok(Math.min(...fewest) >= 2, `${fewest}`);
  });

  it("the only pod that serves is replaced in place", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    await world.change("lora", { artifactURL: "/adapters/lora-2" });
    await eventually("it has it", () => holds("/adapters/lora-2")(pod), PATIENCE_MS);
    assert.deepEqual(pod.engine.calls, [
      "load lora /adapters/lora",
      "replace lora /adapters/lora-2",
    ]);
    const isOut = ({ object }: { object: { endpoints: unknown[] } }) =>
      object.endpoints.length === 0;
    assert.ok(!world.slices("lora").some(isOut));
  });

  it("a bad new version leaves the old one serving, and says so", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", ...pods);
    for (const { engine } of pods) engine.refusal = "main-11-load-bad-rank-64";
    const { metadata } = await world.change("lora", { artifactURL: "/adapters/rank-64" });
    const says = /LoRA rank 64 is greater than max_lora_rank 16/;
    await world.until("lora", "says so", (adapter) => says.test(podLinesOf(adapter).join()));
    const adapter = await world.serving("lora", ...pods);
    assert.equal(adapter.status?.observedGeneration, metadata.generation);
    assert.match(conditionsOf(adapter)[2] ?? "", /^Loaded=False ModelAdapterLoadingError: /);
    assert.ok(pods.every(holds("/adapters/lora")));
    const tried = pods.filter(({ engine }) => engine.calls.length > 1);
    assert.equal(tried.length, 1, "a bad version never reaches a second pod");
    const shown = adapter.status?.pods?.map(({ artifactURL }) => artifactURL);
    assert.deepEqual(shown, ["/adapters/lora", "/adapters/lora"]);
    for (const { engine } of pods) engine.refusal = undefined;
    await world.change("lora", { artifactURL: "/adapters/rank-16" });
    await eventually("mended", () => pods.every(holds("/adapters/rank-16")), PATIENCE_MS);
    await world.serving("lora", ...pods);
  });

  it("a changed port changes Service, EndpointSlice and calls", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora", {}, { labels: { "model.aibrix.ai/port": "8001" } });
    await world.until("lora", "refused", (adapter) =>
      /connection refused/.test(podLinesOf(adapter).join()),
    );
    const labels = { "model.aibrix.ai/port": "8000" };
    await world.label("lora", labels);
    await world.serving("lora", pod);
    assert.equal((await world.service("lora"))?.spec.ports?.[0]?.port, 8000);
    assert.equal((await world.slice("lora"))?.ports?.[0]?.port, 8000);
  });
}

const holds =
  (path: string) =>
  ({ engine }: TestPod) =>
    engine.held.get("lora") === path;
