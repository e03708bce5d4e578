/** What may pass is tried again after 5, 10, ... seconds, on record in the adapter's annotations. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { itWithKubectl } from "../support/programs.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, podLinesOf, World } from "./world.ts";

const COUNT = "adapter.model.aibrix.ai/retry-count.pod-1";
const TIME = "adapter.model.aibrix.ai/last-retry-time.pod-1";
/** From 5 + 10 s, on a machine that has other work. */
const TWO_RETRIES_MS = 30_000;
/** How much later than its time a retry may come. */
const LATE_MS = 2500;

export function retryTests(stage: Stage): void {
  itWithKubectl("twice, then it works: on record meanwhile, forgotten after", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const timesMs: number[] = [];
    pod.engine.before = async () => {
      timesMs.push(Date.now());
      pod.engine.fault = timesMs.length < 3 ? { status: 503, body: "" } : undefined;
    };
    await world.declare("lora");
    const first = await world.until("lora", "the first failed", hasFailed("0"));
    assert.equal(
      conditionsOf(first)[2],
      "Loaded=False ModelAdapterLoadingError: pod pod-1: service unavailable (retry 1 of 5 follows)",
    );
    assert.deepEqual(podLinesOf(first), [
      "pod-1 Retrying ModelAdapterLoadingError: service unavailable",
    ]);
    assert.match(first.metadata.annotations?.[TIME] ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const shown = await world.kubectl("get", "modeladapter", "lora", "-o", "yaml");
    assert.match(
      shown,
      /annotations:\n(.*\n)*? +adapter\.model\.aibrix\.ai\/retry-count\.pod-1: "0"/,
    );
    await world.until("lora", "the second failed", hasFailed("1"), TWO_RETRIES_MS);
    await world.until("lora", "works", ({ status }) => status?.phase === "Running", TWO_RETRIES_MS);
    const adapter = await world.serving("lora", pod);
    assert.deepEqual(adapter.metadata.annotations ?? {}, {});
    const pauses = timesMs.map((ms, at) => ms - (timesMs[at - 1] ?? ms)).slice(1);
    assert.equal(pauses.length, 2);
    for (const [at, wantedMs] of [5000, 10_000].entries()) {
      const ms = pauses[at] ?? 0;
      assert.ok(ms >= wantedMs - 50 && ms < wantedMs + LATE_MS, `${pauses}`);
    }
    const log = stage.controllers.at(-1)?.log() ?? "";
    const line = new RegExp(
      `"Retriable error loading adapter" pod="pod-1" error="service unavailable" ModelAdapter="${world.namespace}/lora" retry="1 of 5 follows"`,
    );
    assert.match(log, line);
  });

  it("a connection that is refused is worth a retry, in the documentation's words", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await pod.refuse();
    await world.declare("lora");
    const adapter = await world.until("lora", "failed", hasFailed("0"));
    assert.equal(adapter.status?.phase, "Loading");
    assert.match(
      podLinesOf(adapter)[0] ?? "",
      /^pod-1 Retrying ModelAdapterLoadingError: connection refused/,
    );
    await pod.listenAgain();
    await world.serving("lora", pod);
  });

  it("what was refused for good is tried again at once in a new container", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    pod.engine.isFixed = true;
    await world.declare("lora");
    await world.phase("lora", "Failed");
    pod.engine.isFixed = false;
    await pod.restartContainer();
    // Without the restart it would be five minutes.
    await world.serving("lora", pod);
  });

  it("records of pods with names of any length are valid", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod(`qwen-coder-${"x".repeat(80)}-5587f4c57d-kml6s`);
    pod.engine.fault = { status: 503, body: "" };
    await world.declare("lora");
    const { metadata } = await world.until("lora", "failed", (seen) =>
      podLinesOf(seen).join().includes("Retrying"),
    );
    const keys = Object.keys(metadata.annotations ?? {}).filter((key) => key.includes("retry"));
    assert.equal(keys.length, 2);
    for (const key of keys) assert.ok((key.split("/")[1] ?? "").length <= 63, key);
  });
}

/** A load failed, after this many retries. */
export const hasFailed =
  (count: string) =>
  ({ metadata, status }: ModelAdapter): boolean =>
    metadata.annotations?.[COUNT] === count &&
    status?.pods?.some((pod) => pod.state === "Retrying" && pod.retries === Number(count)) === true;
