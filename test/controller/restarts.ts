/**
 * What the controller knows outlasts it: each test goes on under another controller than it began with. The second one loads through
 * sidecars, the third one no longer does.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { toTimestamp } from "#base/clock.ts";
import { ENDPOINT_SLICES, MODEL_ADAPTERS, SERVICES } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import { gate } from "./gate.ts";
import { ABSENCES, DEPARTURES } from "./leftovers.ts";
import { Meeting } from "./meeting.ts";
import type { TestPod } from "./pods.ts";
import { hasFailed } from "./retries.ts";
import { type Scenario, SIDECAR_SCENARIOS } from "./sidecars.ts";
import type { Controller, Stage } from "./stage.ts";
import { podLinesOf, World } from "./world.ts";

const PATIENCE_MS = 20_000;
const RETRY_MS = 30_000;

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "what serves goes on serving, untouched": async (world, meet) => {
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare("all");
    await world.declare("one", { replicas: 1 });
    await world.serving("all", ...pods);
    await world.phase("one", "Running");
    // What is left to be done then is to remove the annotation.
    const isClean = ({ metadata }: ModelAdapter) =>
      Object.keys(metadata.annotations ?? {}).length === 0;
    for (const name of ["all", "one"]) await world.until(name, "cleaned up", isClean);
    const told = () => pods.map(({ engine }) => [...engine.calls]);
    const before = told();
    const seen = ["all", "one"].map((name) => world.slices(name).length);
    const written = world.history("all").length;
    await meet();
    await meet();
    const asked = pods.map(({ engine }) => engine.lists);
    await eventually(
      "they were asked twice more",
      () => pods.every(({ engine }, at) => engine.lists >= (asked[at] ?? 0) + 2),
      PATIENCE_MS,
    );
    assert.deepEqual(told(), before);
    assert.deepEqual(
      ["all", "one"].map((name) => world.slices(name).length),
      seen,
    );
    assert.equal(world.history("all").length, written);
  },

  "retries are counted on, and not made early": async (world, meet) => {
    const pod = await world.pod("pod-1");
    const timesMs: number[] = [];
    pod.engine.fault = { status: 503, body: "" };
    pod.engine.before = async () => {
      timesMs.push(Date.now());
    };
    await world.declare("lora");
    await world.until("lora", "failed", hasFailed("0"));
    await meet();
    await meet();
    await world.until("lora", "failed again", hasFailed("1"), RETRY_MS);
    assert.equal(timesMs.length, 2);
    pod.engine.fault = undefined;
    await world.until("lora", "works", ({ status }) => status?.phase === "Running", RETRY_MS);
    const adapter = await world.serving("lora", pod);
    assert.deepEqual(adapter.metadata.annotations ?? {}, {});
    const [first = 0, second = 0, third = 0] = timesMs;
    // The times on record are whole seconds.
    assert.ok(second - first >= 4000, `${second - first} ms`);
    assert.ok(third - second >= 9000, `${third - second} ms`);
  },

  "after the last retry another pod is chosen, as the documentation shows": async (world, meet) => {
    const pods = await world.pods("pod-1", "pod-2");
    for (const { engine } of pods) engine.fault = { status: 503, body: "" };
    await world.declare("my-lora", { replicas: 1 });
    const failed = await world.until("my-lora", "failed", (seen) =>
      podLinesOf(seen).join().includes("Retrying"),
    );
    const first = failed.status?.pods?.find((line) => line.state === "Retrying")?.name;
    const second = pods.find(({ name }) => name !== first);
    assert.ok(first !== undefined && second !== undefined);
    second.engine.fault = undefined;
    await meet();
    const [count, time] = ["retry-count", "last-retry-time"].map(
      (what) => `adapter.model.aibrix.ai/${what}.${first}`,
    );
    // As the one before would have written it, after 155 seconds.
    const annotations = { [count ?? ""]: "5", [time ?? ""]: toTimestamp(Date.now()) };
    const name = world.named("my-lora");
    await world.stage.client.patch(MODEL_ADAPTERS, name, "merge", { metadata: { annotations } });
    await meet();
    await world.serving("my-lora", second);
    await eventually("told", async () =>
      (await world.events("my-lora")).some((event) => event.includes("is ready")),
    );
    const events = await world.events("my-lora");
    const story = [
      `Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [${first}]`,
      `Warning MaxRetriesExceeded Max retries exceeded for pod ${first}: service unavailable`,
      `Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [${second.name}]`,
      `Normal Loaded Successfully loaded adapter on pod ${second.name}`,
    ];
    assert.deepEqual(
      events.filter((event) => story.includes(event)),
      story,
    );
  },

  "what could not be unloaded is, when its engine is back": async (world, meet) => {
    const [one, two] = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", one, two);
    await one.refuse();
    await world.stage.client.delete(MODEL_ADAPTERS, world.named("lora"));
    await world.gone("lora");
    await meet();
    await meet();
    await one.listenAgain();
    await eventually("unloaded", () => !one.engine.held.has("lora"), PATIENCE_MS);
  },

  "a deletion that nobody saw is carried out": async (world, meet) => {
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    await meet();
    await world.stage.client.delete(MODEL_ADAPTERS, world.named("lora"));
    await meet();
    await world.gone("lora");
    // One that it is too late to wait for is unloaded all the same.
    await eventually("unloaded", () => pod.engine.held.size === 0, PATIENCE_MS);
  },

  "pods that went meanwhile are out": async (world, meet) => {
    const [one, two, three] = await world.pods("pod-1", "pod-2", "pod-3");
    await world.declare("lora");
    await world.serving("lora", one, two, three);
    await meet();
    await two.ready(undefined);
    await three.delete();
    await meet();
    await world.serving("lora", one);
  },

  "what was lost, changed or deleted meanwhile is mended": async (world, meet) => {
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    await meet();
    pod.engine.held.clear();
    await world.stage.client.delete(SERVICES, world.named("lora"));
    const address = "127.30.255.255";
    await world.stage.client.patch(ENDPOINT_SLICES, world.named("lora"), "merge", {
      endpoints: [{ addresses: [address] }],
    });
    await meet();
    await eventually("loaded again", () => pod.engine.held.has("lora"), PATIENCE_MS);
    await world.published("lora", pod);
    await eventually("the Service is back", () => world.service("lora"), PATIENCE_MS);
    await world.serving("lora", pod);
  },

  "a selector that changed meanwhile is followed": async (world, meet) => {
    const [one, two] = await world.pods("pod-1", "pod-2");
    await two.label({ tier: "gold" });
    await world.declare("lora");
    await world.serving("lora", one, two);
    await meet();
    await world.change("lora", { podSelector: { matchLabels: { tier: "gold" } } });
    await meet();
    await world.serving("lora", two);
    await eventually("unloaded", () => !one.engine.held.has("lora"), PATIENCE_MS);
  },

  "an artifact that changed meanwhile is rolled out": async (world, meet) => {
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", ...pods);
    await meet();
    await world.change("lora", { artifactURL: "/adapters/lora-2" });
    await meet();
    const isNew = ({ engine }: TestPod) => engine.held.get("lora") === "/adapters/lora-2";
    await eventually("rolled out", () => pods.every(isNew), PATIENCE_MS);
    await world.serving("lora", ...pods);
  },

  "a new controller knows how full the pods are": async (world, meet) => {
    const one = await world.pod("pod-1");
    const spec = { replicas: 1, schedulerName: "least-adapters" } as const;
    const first = ["m-1", "m-2", "m-3", "m-4"];
    for (const name of first) await world.declare(name, spec);
    for (const name of first) await world.serving(name, one);
    const two = await world.pod("pod-2");
    await meet();
    // They come before and after the others, whatever the order in which a new controller looks at them.
    const later = ["a-1", "a-2", "z-1", "z-2"];
    for (const name of later) await world.declare(name, spec);
    await meet();
    for (const name of later) await world.serving(name, two);
  },

  "a load that was under way is found done": async (world, meet) => {
    const pod = await world.pod("pod-1");
    const loading = gate();
    pod.engine.before = () => loading.opened;
    await world.declare("lora");
    await world.phase("lora", "Loading");
    await meet();
    loading.open();
    await eventually("done", () => pod.engine.held.has("lora"));
    await meet();
    await world.serving("lora", pod);
    assert.deepEqual(pod.engine.calls, ["load lora /adapters/lora"]);
  },
};

/** What should not be on a pod that is away, decided before or after the one controller ended. */
function* departures(): Generator<[string, Scenario]> {
  for (const [why, depart] of Object.entries(DEPARTURES)) {
    for (const [how, { begin, over }] of Object.entries(ABSENCES)) {
      for (const when of ["before", "meanwhile"]) {
        yield [
          `${why} ${when}, on a pod ${how}`,
          async (world, meet) => {
            const [one, two] = await world.pods("pod-1", "pod-2");
            await two.label({ tier: "gold" });
            await world.declare("lora");
            await world.serving("lora", one, two);
            await begin(one);
            await world.serving("lora", two);
            if (when === "before") await depart(world, one);
            await meet();
            if (when === "meanwhile") await depart(world, one);
            await meet();
            await world.serving("lora", two);
            await over(one);
            await eventually("unloaded", () => !one.engine.held.has("lora"), PATIENCE_MS);
            await world.serving("lora", two);
            assert.deepEqual(two.engine.calls, ["load lora /adapters/lora"]);
          },
        ];
      }
    }
  }
}

export function restartTests(stage: Stage): void {
  const all = [...Object.entries({ ...SCENARIOS, ...SIDECAR_SCENARIOS }), ...departures()];
  describe("a restart", { concurrency: all.length }, () => {
    let controller: Controller | undefined;
    const start = async (...args: string[]) => {
      controller = await stage.start(...args);
      await controller.ready();
    };
    const meeting = new Meeting(all.length, [
      async () => controller?.kill(),
      () => start("--enable-runtime-sidecar"),
      async () => {
        await controller?.stop();
        await start("--enable-runtime-sidecar=false");
      },
    ]);
    before(() => start());
    after(() => controller?.stop());
    for (const [name, scenario] of all) {
      it(name, async (t) => {
        try {
          const world = await World.make(stage, t);
          await scenario(world, () => meeting.arrive(), t);
        } finally {
          meeting.leave();
        }
      });
    }
  });
}
