/** What goes wrong with one pod, adapter or Secret delays nobody else. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { MODEL_ADAPTERS, SECRETS } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, podLinesOf, World } from "./world.ts";

const SOON_MS = 5000;
/** Two lists that get no answer within five seconds, and the pauses before them. */
const SILENT_MS = 25_000;
/** A load that takes longer than ten seconds makes room for others. */
const HANGING_MS = 25_000;
/** The finalizer is off by then, at the latest. */
const GONE_MS = 10_000;
/** Secrets of failing adapters are read again every ten seconds. */
const SECRET_MS = 15_000;

export function isolationTests(stage: Stage): void {
  it("a pod that hangs delays neither other pods nor other adapters", async (t) => {
    const world = await World.make(stage, t);
    const [one, hung, three] = await world.pods("pod-1", "pod-2", "pod-3");
    hung.engine.down = "hanging";
    const names = Array.from({ length: 8 }, (_, at) => `lora-${at}`);
    const startedMs = Date.now();
    await Promise.all(names.map((name) => world.declare(name)));
    for (const name of names) await world.serving(name, one, three);
    assert.ok(Date.now() - startedMs < SOON_MS);
    hung.engine.down = undefined;
    for (const name of names) await world.serving(name, one, hung, three);
  });

  it("a load that hangs delays no other one on the same pod", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const never = new Promise<void>(() => {});
    pod.engine.before = (call) => (call.includes(" slow ") ? never : Promise.resolve());
    await world.declare("slow");
    await world.phase("slow", "Loading");
    await world.declare("quick");
    await world.serving("quick", pod);
  });

  it("loads that hang leave room for others on the same pod", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const never = new Promise<void>(() => {});
    pod.engine.before = (call) => (/ slow-/.test(call) ? never : Promise.resolve());
    const slow = Array.from({ length: 6 }, (_, at) => `slow-${at}`);
    for (const name of slow) await world.declare(name);
    for (const name of slow) await world.phase(name, "Loading");
    await world.declare("quick");
    await world.phase("quick", "Running", HANGING_MS);
    await stage.client.delete(MODEL_ADAPTERS, world.named("quick"));
    await world.gone("quick", GONE_MS);
  });

  it("a pod that does not answer is not chosen while another one does", async (t) => {
    const world = await World.make(stage, t);
    const [hung, other] = await world.pods("pod-1", "pod-2");
    hung.engine.down = "hanging";
    await world.declare("first", { replicas: 1 });
    await eventually("silent", () => hung.engine.abandonedLists >= 1, SILENT_MS);
    const names = Array.from({ length: 8 }, (_, at) => `lora-${at}`);
    for (const name of names) await world.declare(name, { replicas: 1 });
    for (const name of ["first", ...names]) await world.serving(name, other);
  });

  it("however many wrong keys there are, the right one is found", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    pod.engine.apiKey = "sk-right";
    const withKey = (key: string) => ({ additionalConfig: { "api-key": key } });
    const wrong = Array.from({ length: 12 }, (_, at) => `wrong-${at}`);
    for (const name of wrong) await world.declare(name, withKey(`sk-${name}`));
    for (const name of wrong) await world.phase(name, "Failed");
    await world.declare("right", withKey("sk-right"));
    await world.serving("right", pod);
    const listsBefore = pod.engine.lists;
    await eventually("it is listed", () => pod.engine.lists >= listsBefore + 2);
    pod.engine.held.delete("right");
    await eventually("loaded again", () => pod.engine.held.has("right"));
  });

  it("a load that a hung engine never answered is made again when it is back", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const never = new Promise<void>(() => {});
    pod.engine.before = () => never;
    await world.declare("lora");
    await world.phase("lora", "Loading");
    pod.engine.down = "hanging";
    await eventually("silent", () => pod.engine.abandonedLists >= 2, SILENT_MS);
    pod.engine.before = () => Promise.resolve();
    pod.engine.down = undefined;
    await world.serving("lora", pod);
  });

  it("partly loaded: Running on those that have it, with the reason of the one that has not", async (t) => {
    const world = await World.make(stage, t);
    const [one, two] = await world.pods("pod-1", "pod-2");
    one.engine.refusal = "main-11-load-bad-rank-64";
    await world.declare("lora");
    await world.serving("lora", two);
    const adapter = await world.until("lora", "says why", (seen) =>
      podLinesOf(seen).join().includes("LoRA rank 64"),
    );
    assert.deepEqual([adapter.status?.readyReplicas, adapter.status?.desiredReplicas], [1, 2]);
    assert.match(
      conditionsOf(adapter)[2] ?? "",
      /^Loaded=False ModelAdapterLoadingError: pod pod-1: /,
    );
    assert.match(podLinesOf(adapter)[0] ?? "", /^pod-1 Failed ModelAdapterLoadingError: /);
  });

  it("one adapter's wrong key fails that adapter alone", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    pod.engine.apiKey = "sk-right";
    const withKey = (key: string) => ({ additionalConfig: { "api-key": key } });
    await world.declare("wrong", withKey("sk-wrong"));
    await world.declare("right", withKey("sk-right"));
    await world.declare("none");
    await world.serving("right", pod);
    await world.phase("wrong", "Failed");
    await world.phase("none", "Failed");
  });

  it("the engine's key comes from a Secret, as soon as it is there and right", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    pod.engine.apiKey = "sk-from-secret";
    // The Secret's word counts, whatever the other says.
    await world.declare("lora", {
      apiKeySecretRef: { name: "keys", key: "vllm" },
      additionalConfig: { "api-key": "sk-other" },
    });
    await world.phase("lora", "Failed");
    const data = (key: string) => ({ vllm: Buffer.from(key).toString("base64") });
    await stage.client.create(SECRETS, { metadata: world.named("keys"), data: data("sk-old") });
    await world.until(
      "lora",
      "Unauthorized",
      (adapter) => podLinesOf(adapter).join().includes("Unauthorized"),
      SECRET_MS,
    );
    await stage.client.patch(SECRETS, world.named("keys"), "merge", {
      data: data("sk-from-secret"),
    });
    await world.phase("lora", "Running", SECRET_MS);
    await world.serving("lora", pod);
    const told = JSON.stringify([world.history("lora").map(({ object }) => object.status)]);
    const all = told + (await world.events("lora")) + stage.controllers.map((one) => one.log());
    for (const key of ["sk-old", "sk-from-secret", "sk-other"]) assert.ok(!all.includes(key), key);
  });

  it("thirty adapters at once, one of them bad", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    const names = Array.from({ length: 30 }, (_, at) => `lora-${at}`);
    await world.declare("bad", { artifactURL: "s3://bucket/bad" });
    await Promise.all(names.map((name) => world.declare(name)));
    await eventually(
      "all loaded",
      () => pods.every(({ engine }) => engine.held.size === names.length),
      30_000,
    );
    for (const name of names) await world.serving(name, ...pods);
    await world.phase("bad", "Failed");
    const loads = pods.flatMap(({ engine }) => engine.calls).length;
    assert.equal(loads, names.length * pods.length);
  });
}
