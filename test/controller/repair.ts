/** The status and the EndpointSlice tell the truth at every moment, and what is broken is mended. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { EndpointSlice } from "#api/kubernetes.ts";
import { ENDPOINT_SLICES, MODEL_ADAPTERS, SERVICES } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { Stage } from "./stage.ts";
import { podLinesOf, World } from "./world.ts";

/** A second, as promised, and one more on a machine that has other work. */
const AT_ONCE_MS = 2000;
/** A poll, two seconds, and the load after it. */
const ONE_POLL_MS = 2000 + AT_ONCE_MS;
const PATIENCE_MS = 15_000;

const addressesOf = ({ endpoints }: EndpointSlice) => endpoints.flatMap((each) => each.addresses);

export function repairTests(stage: Stage): void {
  it("an adapter that somebody unloads is loaded again", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    const [one] = pods;
    await world.declare("lora");
    await world.serving("lora", ...pods);
    const lostMs = Date.now();
    one.engine.held.delete("lora");
    await eventually("loaded again", () => one.engine.held.has("lora"), PATIENCE_MS);
    const tookMs = Date.now() - lostMs;
    assert.ok(tookMs < ONE_POLL_MS, `${tookMs} ms`);
    await eventually("out of the slice meanwhile", () =>
      world
        .slices("lora")
        .filter(({ atMs }) => atMs > lostMs)
        .some(({ object }) => !addressesOf(object).includes(one.host)),
    );
    await world.serving("lora", ...pods);
  });

  it("a container that was started again gets its adapters at once", async (t) => {
    const world = await World.make(stage, t);
    const [one, two] = await world.pods("pod-1", "pod-2");
    await Promise.all(["a", "b", "c"].map((name) => world.declare(name)));
    for (const name of ["a", "b", "c"]) await world.serving(name, one, two);
    const restartedMs = Date.now();
    await one.restartContainer();
    await eventually("all are back", () => one.engine.held.size === 3, PATIENCE_MS);
    const tookMs = Date.now() - restartedMs;
    assert.ok(tookMs < AT_ONCE_MS, `${tookMs} ms`);
    for (const name of ["a", "b", "c"]) await world.serving(name, one, two);
  });

  it("a pod that is NotReady is out within a second, and back without a load", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    const [one, two] = pods;
    await world.declare("lora");
    await world.serving("lora", ...pods);
    const leftMs = Date.now();
    await one.ready(undefined);
    const adapter = await world.serving("lora", two);
    const tookMs = Date.now() - leftMs;
    assert.ok(tookMs < AT_ONCE_MS, `${tookMs} ms`);
    assert.deepEqual(podLinesOf(adapter)[0], "pod-1 Unavailable PodNotReady: The pod is not Ready");
    assert.equal(adapter.status?.readyReplicas, 1);
    await one.ready(0);
    await world.serving("lora", ...pods);
    assert.deepEqual(one.engine.calls, ["load lora /adapters/lora"]);
  });

  it("a pod that terminates is out within a second", async (t) => {
    const world = await World.make(stage, t);
    const one = await world.pod("pod-1", { isBound: true });
    const two = await world.pod("pod-2");
    await world.declare("lora");
    await world.serving("lora", one, two);
    const leftMs = Date.now();
    await one.delete({ gracePeriodSeconds: 600 });
    await world.serving("lora", two);
    const tookMs = Date.now() - leftMs;
    assert.ok(tookMs < AT_ONCE_MS, `${tookMs} ms`);
    await one.delete({ gracePeriodSeconds: 0 });
  });

  it("a pod whose engine has gone is out after one poll", async (t) => {
    const world = await World.make(stage, t);
    const [one, two] = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", one, two);
    const goneMs = Date.now();
    await one.refuse();
    await world.serving("lora", two);
    const tookMs = Date.now() - goneMs;
    assert.ok(tookMs < ONE_POLL_MS, `${tookMs} ms`);
    await one.listenAgain();
    await world.serving("lora", one, two);
  });

  it("a Service or EndpointSlice that was deleted comes back", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    await stage.client.delete(SERVICES, world.named("lora"));
    await stage.client.delete(ENDPOINT_SLICES, world.named("lora"));
    await eventually("both are back", async () => {
      const slice = await world.slice("lora");
      return (await world.service("lora")) !== undefined && slice?.endpoints.length === 1;
    });
    await world.serving("lora", pod);
  });

  it("a Service or EndpointSlice that was edited is as it was", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora", {}, { labels: { "model.aibrix.ai/port": "8000" } });
    await world.serving("lora", pod);
    const { client } = stage;
    const name = world.named("lora");
    const label = { metadata: { labels: { "model.aibrix.ai/name": "else" } } };
    const isPort = (ports: readonly { port?: number }[] | undefined) => ports?.[0]?.port === 8000;
    const isLabelled = (object: { metadata: { labels?: Record<string, string> } } | undefined) =>
      object?.metadata.labels?.["model.aibrix.ai/name"] === "lora";
    await client.patch(SERVICES, name, "merge", {
      ...label,
      spec: { ports: [{ name: "http", port: 1, protocol: "TCP", targetPort: 1 }] },
    });
    await client.patch(ENDPOINT_SLICES, name, "merge", {
      ...label,
      ports: [{ name: "http", port: 1, protocol: "TCP" }],
      endpoints: [{ addresses: ["127.30.255.255"], conditions: { ready: true } }],
    });
    await eventually(
      "both are as they were",
      async () => {
        const [service, slice] = [await world.service("lora"), await world.slice("lora")];
        const isSent = slice?.endpoints.map((each) => each.addresses.join()).join() === pod.host;
        const ports = isPort(service?.spec.ports) && isPort(slice?.ports);
        return isSent && ports && isLabelled(service) && isLabelled(slice);
      },
      PATIENCE_MS,
    );
    assert.deepEqual((await world.service("lora"))?.spec.ports?.length, 1);
  });

  it("what somebody loaded by hand is never touched", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    pod.engine.held.set("by-hand", "/elsewhere/by-hand");
    await world.declare("lora");
    await world.serving("lora", pod);
    await world.change("lora", { podSelector: { matchLabels: { "model.aibrix.ai/name": "x" } } });
    await eventually("the other is unloaded", () => !pod.engine.held.has("lora"), PATIENCE_MS);
    await stage.client.delete(MODEL_ADAPTERS, world.named("lora"));
    await world.gone("lora");
    assert.deepEqual([...pod.engine.held.keys()], ["by-hand"]);
    assert.ok(!pod.engine.calls.some((call) => call.includes("by-hand")));
  });

  it("an adapter leaves the pods that are no longer meant", async (t) => {
    const world = await World.make(stage, t);
    const [one, two] = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", one, two);
    await one.label({ "adapter.model.aibrix.ai/enabled": null });
    await world.serving("lora", two);
    await eventually("unloaded", () => !one.engine.held.has("lora"), PATIENCE_MS);
  });
}
