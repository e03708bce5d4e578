/** Engines that are not vLLM 0.32: those that cannot replace in place, answer in other words, or drop what they have no room for. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { MODEL_ADAPTERS } from "#kube/client.ts";
import type { EngineName } from "../support/engine-words.ts";
import { eventually } from "../support/eventually.ts";
import { gate } from "./gate.ts";
import { BASE_LABELS } from "./pods.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, podLinesOf, World } from "./world.ts";

const PATIENCE_MS = 15_000;
/** Three losses, each found within a poll of two seconds. */
const THREE_LOSSES_MS = 30_000;

const PODS = {
  "vllm-0.7": { engine: "vllm-0.7", labels: BASE_LABELS },
  sglang: { engine: "sglang", labels: { ...BASE_LABELS, "model.aibrix.ai/engine": "sglang" } },
} as const;

/** What an engine refuses for good, and what the status says of it. */
const REFUSALS: Readonly<Record<keyof typeof PODS, Readonly<Record<string, [string, RegExp]>>>> = {
  "vllm-0.7": {
    "a rank above its limit": [
      "LoRA rank 64 is greater than max_lora_rank 16.",
      /^pod-1 Failed ModelAdapterLoadingError: the engine answered 400: LoRA rank 64 is greater than max_lora_rank 16\.: start the engine with --max-lora-rank 64 or more, or train with a lower r$/,
    ],
    "an artifact that is not there": [
      "Loading lora lora failed: No adapter found for /adapters/lora",
      /^pod-1 Failed .*: No adapter found for \/adapters\/lora: check spec\.artifactURL; a path has to be mounted in the engine's container$/,
    ],
    "LoRA that is off": [
      "LoRA is not enabled.",
      /^pod-1 Failed .*: LoRA is not enabled\.: start the engine with --enable-lora$/,
    ],
  },
  sglang: {
    "a rank above its limit": [
      "LoRA adapter lora with rank 64 does not fit: raise --max-lora-rank",
      /^pod-1 Failed ModelAdapterLoadingError: the engine answered 400: LoRA adapter lora with rank 64 does not fit: raise --max-lora-rank$/,
    ],
    "LoRA that is off": [
      "LoRA is not enabled. Please set `--enable-lora` to enable LoRA.",
      /^pod-1 Failed .*: LoRA is not enabled\. Please set `--enable-lora` to enable LoRA\.$/,
    ],
  },
};

export function engineTests(stage: Stage): void {
  for (const [name, options] of Object.entries(PODS) as [EngineName & keyof typeof PODS, never][]) {
    it(`${name}: loaded, replaced by unloading first, unloaded`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", options);
      await world.declare("lora");
      await world.serving("lora", pod);
      await world.change("lora", { artifactURL: "/adapters/lora-2" });
      await world.until(
        "lora",
        "has the new version",
        ({ status }) => status?.pods?.[0]?.artifactURL === "/adapters/lora-2",
      );
      await stage.client.delete(MODEL_ADAPTERS, world.named("lora"));
      await world.gone("lora");
      const done = ["load lora /adapters/lora", "unload lora", "load lora /adapters/lora-2"];
      const tries = pod.engine.calls.filter((call) => !call.startsWith("replace"));
      // What it refuses because the name is taken is tried again when there is room.
      assert.deepEqual([...new Set(tries)], done);
      assert.equal(tries.at(-1), "unload lora");
      assert.deepEqual([...pod.engine.held], []);
    });

    it(`${name}: a bad new version leaves the old one serving, and says so`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", options);
      pod.engine.sees = (path) => path !== "/adapters/bad";
      await world.declare("lora");
      await world.serving("lora", pod);
      await world.change("lora", { artifactURL: "/adapters/bad" });
      const says = /\/adapters\/bad/;
      await world.until("lora", "says so", (seen) => says.test(podLinesOf(seen).join()));
      const adapter = await world.serving("lora", pod);
      assert.match(conditionsOf(adapter)[2] ?? "", /^Loaded=False ModelAdapterLoadingError: /);
      assert.equal(pod.engine.held.get("lora"), "/adapters/lora");
      assert.equal(adapter.status?.pods?.[0]?.artifactURL, "/adapters/lora");
    });

    for (const [what, [words, says]] of Object.entries(REFUSALS[name])) {
      it(`${name}: ${what} is final, and told with the cure`, async (t) => {
        const world = await World.make(stage, t);
        const pod = await world.pod("pod-1", options);
        pod.engine.refusal = words;
        await world.declare("lora");
        assert.match(podLinesOf(await world.phase("lora", "Failed"))[0] ?? "", says);
        assert.deepEqual(pod.engine.calls, ["load lora /adapters/lora"]);
      });
    }

    it(`${name}: a key that it asks for is told, and used`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", options);
      pod.engine.apiKey = "sk-right";
      await world.declare("lora");
      assert.match(
        podLinesOf(await world.phase("lora", "Failed"))[0] ?? "",
        /: Unauthorized: set additionalConfig\.api-key \(or spec\.apiKeySecretRef\) to the engine's API key$/,
      );
      await world.change("lora", { additionalConfig: { "api-key": "sk-right" } });
      await world.phase("lora", "Running", PATIENCE_MS);
    });

    it(`${name}: what passes is tried again`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", options);
      pod.engine.fault = { status: 502, body: "" };
      await world.declare("lora");
      const isTold = (seen: Parameters<typeof podLinesOf>[0]) =>
        podLinesOf(seen)[0] === "pod-1 Retrying ModelAdapterLoadingError: bad gateway";
      await world.until("lora", "bad gateway", isTold);
      pod.engine.fault = undefined;
      await world.phase("lora", "Running", PATIENCE_MS);
    });
  }

  it("SGLang without LoRA routes says what it needs", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1", PODS.sglang);
    pod.engine.isFixed = true;
    await world.declare("lora");
    assert.match(
      podLinesOf(await world.phase("lora", "Failed"))[0] ?? "",
      /the engine has no route for LoRA adapters: use SGLang 0\.5 or newer, started with --enable-lora$/,
    );
  });

  it("SGLang unloads when its requests are done: out of the list at once, and a deletion is not stuck", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1", PODS.sglang);
    await world.declare("lora");
    await world.serving("lora", pod);
    const requests = gate();
    pod.engine.before = async () => {
      pod.engine.held.delete("lora");
      await requests.opened;
    };
    await stage.client.delete(MODEL_ADAPTERS, world.named("lora"));
    const tookMs = await world.gone("lora");
    assert.ok(tookMs < 10_000, `${tookMs} ms`);
    requests.open();
  });

  it("SGLang at its limit drops the oldest: after some tries that is left alone, and told", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1", PODS.sglang);
    pod.engine.limit = 2;
    const names = ["lora-1", "lora-2", "lora-3"];
    for (const name of names) await world.declare(name);
    const lineOf = (name: string) =>
      world
        .history(name)
        .at(-1)
        ?.object.status?.pods?.find((line) => line.name === "pod-1");
    const full = await eventually(
      "one says so",
      () => names.find((name) => lineOf(name)?.reason === "Capacity"),
      THREE_LOSSES_MS,
    );
    assert.match(
      lineOf(full)?.message ?? "",
      /^the engine dropped the adapter by itself 3 times within 120 s: raise how many adapters it may hold, or put fewer on this pod$/,
    );
    const others = names.filter((name) => name !== full);
    await eventually(
      "the others serve",
      () => others.every((name) => world.endpoints(name).length === 1),
      PATIENCE_MS,
    );
  });
}
