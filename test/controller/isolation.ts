/** What goes wrong with one pod, adapter or Secret delays nobody else. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { SECRETS } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, podLinesOf, World } from "./world.ts";

const SOON_MS = 5000;
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
