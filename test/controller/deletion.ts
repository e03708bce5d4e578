/** An adapter that is deleted goes, whatever its engines do; and they lose it as soon as they can. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { MODEL_ADAPTERS } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { TestPod } from "./pods.ts";
import type { Stage } from "./stage.ts";
import { World } from "./world.ts";

/** The finalizer is off by then, at the latest. */
const GONE_MS = 10_000;
/** Two lists that get no answer within five seconds, and the pauses before them. */
const SILENT_MS = 25_000;
/** Unloads that failed are tried again after five, then ten seconds. */
const UNLOADED_MS = 25_000;

/** What keeps an engine from unloading; `over` ends it. */
const FAULTS: Readonly<Record<string, { begin: Fault; over: Fault }>> = {
  "refuses connections": { begin: (pod) => pod.refuse(), over: (pod) => pod.listenAgain() },
  hangs: {
    begin: async ({ engine }) => {
      engine.down = "hanging";
    },
    over: async ({ engine }) => {
      // Long enough for the controller to believe nothing that it was told before.
      await eventually("silent", () => engine.abandonedLists >= 2, SILENT_MS);
      engine.down = undefined;
    },
  },
  "answers an unload with a 500": {
    begin: async ({ engine }) => {
      engine.fault = { status: 500, body: "Internal Server Error" };
    },
    over: async ({ engine }) => {
      engine.fault = undefined;
    },
  },
  "answers everything with a 503": {
    begin: async ({ engine }) => {
      engine.down = { status: 503, body: "" };
    },
    over: async ({ engine }) => {
      engine.down = undefined;
    },
  },
  "answers no unload": {
    begin: async ({ engine }) => {
      engine.before = () => new Promise<void>(() => {});
    },
    over: async ({ engine }) => {
      engine.before = () => Promise.resolve();
    },
  },
  "is in a pod that is not Ready": {
    begin: async (pod) => {
      await pod.ready(undefined);
      await pod.refuse();
    },
    over: async (pod) => {
      await pod.listenAgain();
      await pod.ready(0);
    },
  },
};
type Fault = (pod: TestPod) => Promise<void>;

export function deletionTests(stage: Stage): void {
  it("is unloaded everywhere, and nothing of it stays", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", ...pods);
    const atUnload: string[][] = [];
    for (const { engine } of pods) {
      engine.before = async () => {
        atUnload.push(world.endpoints("lora"));
      };
    }
    await remove(world, "lora");
    await world.gone("lora");
    for (const { engine } of pods) assert.deepEqual([...engine.held], []);
    assert.deepEqual(atUnload, [[], []], "out of traffic first");
    await eventually("nothing stays", async () => {
      const service = await world.service("lora");
      return service === undefined && (await world.slice("lora")) === undefined;
    });
  });

  for (const [what, { begin, over }] of Object.entries(FAULTS)) {
    it(`never waits longer than ten seconds for an engine that ${what}`, async (t) => {
      const world = await World.make(stage, t);
      const [one, two] = await world.pods("pod-1", "pod-2");
      await world.declare("lora");
      await world.serving("lora", one, two);
      await begin(one);
      await remove(world, "lora");
      const tookMs = await world.gone("lora");
      assert.ok(tookMs < GONE_MS, `${tookMs} ms`);
      assert.ok(!two.engine.held.has("lora"));
      assert.ok(one.engine.held.has("lora"));
      await over(one);
      await eventually("unloaded", () => !one.engine.held.has("lora"), UNLOADED_MS);
    });
  }

  it("an engine that answers no unload keeps nobody from being unloaded elsewhere", async (t) => {
    const world = await World.make(stage, t);
    const [stuck, other] = await world.pods("pod-1", "pod-2");
    const on = (pod: TestPod) => ({ podSelector: { matchLabels: { pod: pod.name } } });
    for (const pod of [stuck, other]) await pod.label({ pod: pod.name });
    const names = Array.from({ length: 20 }, (_, at) => `stuck-${at}`);
    for (const name of names) await world.declare(name, on(stuck));
    await world.declare("lora", on(other));
    for (const name of names) await world.serving(name, stuck);
    await world.serving("lora", other);
    const never = new Promise<void>(() => {});
    stuck.engine.before = () => never;
    await other.refuse();
    for (const name of [...names, "lora"]) await remove(world, name);
    const startedMs = Date.now();
    for (const name of [...names, "lora"]) await world.gone(name);
    assert.ok(Date.now() - startedMs < GONE_MS, `${Date.now() - startedMs} ms`);
    await other.listenAgain();
    await eventually("unloaded", () => !other.engine.held.has("lora"), UNLOADED_MS);
  });

  it("goes at once when its pod is gone", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    await pod.refuse();
    await pod.delete();
    await world.phase("lora", "Pending");
    await remove(world, "lora");
    assert.ok((await world.gone("lora")) < 4000);
  });

  it("goes at once when it never got anywhere", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    pod.engine.refusal = "main-09-load-missing-path";
    await world.declare("lora");
    await world.declare("lost", { podSelector: { matchLabels: { none: "such" } } });
    await world.phase("lora", "Failed");
    await world.phase("lost", "Pending");
    for (const name of ["lora", "lost"]) {
      await remove(world, name);
      assert.ok((await world.gone(name)) < 4000);
    }
  });

  it("goes with its namespace", async (t) => {
    const world = await World.make(stage, t);
    const [one, two] = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.declare("other", { replicas: 1 });
    await world.serving("lora", one, two);
    await world.phase("other", "Running");
    const startedMs = Date.now();
    await world.remove();
    for (const name of ["lora", "other"]) await world.gone(name);
    const tookMs = Date.now() - startedMs;
    assert.ok(tookMs < GONE_MS, `${tookMs} ms`);
    await eventually("nothing stays", async () => {
      const service = await world.service("lora");
      return service === undefined && (await world.slice("lora")) === undefined;
    });
  });

  it("is made again under its name while the old one is still on a hung engine", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    pod.engine.fault = { status: 500, body: "Internal Server Error" };
    await remove(world, "lora");
    await world.gone("lora");
    pod.engine.fault = undefined;
    await world.declare("lora", { artifactURL: "/adapters/other" });
    await world.serving("lora", pod);
    assert.equal(pod.engine.held.get("lora"), "/adapters/other", "the old weights serve nobody");
  });
}

async function remove(world: World, name: string): Promise<void> {
  await world.stage.client.delete(MODEL_ADAPTERS, world.named(name));
}
