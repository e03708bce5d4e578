/** A changed artifact goes out pod by pod, and a bad one leaves what serves alone. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { eventually } from "../support/eventually.ts";
import { startFakeEngine } from "../support/fake-engine.ts";
import type { TestPod } from "./pods.ts";
import type { Stage } from "./stage.ts";
import { sendRequests } from "./traffic.ts";
import { conditionsOf, podLinesOf, World } from "./world.ts";

/** As vLLM 0.7 says it. */
const RANK_REFUSED = "LoRA rank 64 is greater than max_lora_rank 16";

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

  it("requests never fail while versions change, and get the new one from the moment it is told", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", ...pods);
    const interrupted: string[] = [];
    for (const { engine, name } of pods) {
      engine.before = async (call) => {
        if ((engine.requests.get("lora") ?? 0) > 0) interrupted.push(`${name}: ${call}`);
      };
    }
    const traffic = sendRequests(world, "lora", 6);
    const versions = ["/adapters/lora-2", "/adapters/lora-3", "/adapters/lora"];
    for (const artifactURL of versions) {
      await world.change("lora", { artifactURL });
      await world.until("lora", "all have it", (adapter) => isAllOn(adapter, artifactURL));
      await world.serving("lora", ...pods);
      const before = traffic.answers.length;
      await eventually("many are answered", () => traffic.answers.length > before + 50);
      const texts = new Set(traffic.answers.slice(before + 6));
      assert.deepEqual([...texts], [artifactURL]);
    }
    await traffic.stop();
    assert.deepEqual([traffic.failures, interrupted], [[], []]);
    assert.deepEqual(
      pods.map(({ engine }) => engine.calls.length),
      [4, 4],
    );
  });

  it("one replica and all of them, and back: no request fails", async (t) => {
    const world = await World.make(stage, t);
    const [one, two, three] = await world.pods("pod-1", "pod-2", "pod-3");
    await world.declare("lora");
    await world.serving("lora", one, two, three);
    const traffic = sendRequests(world, "lora", 6);
    await world.change("lora", { replicas: 1 });
    const isOne = ({ status }: ModelAdapter) => status?.instances?.length === 1;
    const { status } = await world.until("lora", "is on one", isOne);
    const left = [one, two, three].filter((pod) => pod.name !== status?.instances?.[0]);
    await eventually("unloaded", () => left.every((pod) => !pod.engine.held.has("lora")));
    assert.deepEqual([status?.desiredReplicas, status?.readyReplicas], [1, 1]);
    await world.change("lora", { replicas: null });
    await world.serving("lora", one, two, three);
    await traffic.stop();
    assert.deepEqual(traffic.failures, []);
    const calls = [one, two, three].flatMap(({ engine }) => engine.calls);
    assert.equal(calls.length, 3 + 2 + 2);
  });

  it("the engine's key is no version: nothing is loaded again when it changes", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    const withKey = (key: string) => ({ additionalConfig: { "api-key": key } });
    for (const { engine } of pods) engine.apiKey = "sk-1";
    await world.declare("lora", withKey("sk-1"));
    await world.serving("lora", ...pods);
    // As engines are restarted one by one with the new key.
    const [one, two] = pods;
    await world.change("lora", withKey("sk-2"));
    one.engine.apiKey = "sk-2";
    await one.restartContainer();
    await eventually("back", () => one.engine.held.has("lora"), PATIENCE_MS);
    await world.serving("lora", ...pods);
    await eventually("asked on", () => two.engine.lists > 0);
    two.engine.apiKey = "sk-2";
    await two.restartContainer();
    await world.phase("lora", "Running");
    await eventually("back", () => two.engine.held.has("lora"), PATIENCE_MS);
    await world.serving("lora", ...pods);
    const load = "load lora /adapters/lora";
    assert.deepEqual([one.engine.calls, two.engine.calls], Array(2).fill([load, load]));
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

  it("an engine that cannot replace goes on with the old version when the new one is bad", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1", { engine: "vllm-0.7" });
    await world.declare("lora");
    await world.serving("lora", pod);
    pod.engine.refuses = (path) => (path.endsWith("bad") ? RANK_REFUSED : undefined);
    await world.change("lora", { artifactURL: "/adapters/bad" });
    const says = new RegExp(RANK_REFUSED);
    await world.until("lora", "says so", (adapter) => says.test(podLinesOf(adapter).join()));
    const { status } = await world.serving("lora", pod);
    assert.equal(pod.engine.held.get("lora"), "/adapters/lora");
    assert.equal(status?.pods?.[0]?.artifactURL, "/adapters/lora");
    await world.change("lora", { artifactURL: "/adapters/good" });
    await eventually("mended", () => holds("/adapters/good")(pod), PATIENCE_MS);
    await world.serving("lora", pod);
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

  it("what failed for good at one port is tried at once at another", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const wrong = await startFakeEngine({ host: pod.host, port: 8001 });
    t.after(() => wrong.close());
    wrong.isFixed = true;
    await world.declare("lora", {}, { labels: { "model.aibrix.ai/port": "8001" } });
    await world.phase("lora", "Failed");
    await world.label("lora", { "model.aibrix.ai/port": "8000" });
    await world.serving("lora", pod);
  });
}

const isAllOn = ({ status }: ModelAdapter, artifactURL: string) =>
  status?.phase === "Running" && status.pods?.every((pod) => pod.artifactURL === artifactURL);

const holds =
  (path: string) =>
  ({ engine }: TestPod) =>
    engine.held.get("lora") === path;
