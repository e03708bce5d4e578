/** The status and the EndpointSlice tell the truth at every moment, and what is broken is mended. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { EndpointSlice, Service } from "#api/kubernetes.ts";
import { type JsonObject, jsonEqual } from "#base/json.ts";
import { ENDPOINT_SLICES, MODEL_ADAPTERS, type Resource, SERVICES } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, podLinesOf, World } from "./world.ts";

/** A second, as promised, and one more on a machine that has other work. */
const AT_ONCE_MS = 2000;
/** A poll, two seconds, and the load after it. */
const ONE_POLL_MS = 2000 + AT_ONCE_MS;
const PATIENCE_MS = 15_000;

const addressesOf = ({ endpoints }: EndpointSlice) => endpoints.flatMap((each) => each.addresses);

const http = (port: number) => ({ name: "http", port, protocol: "TCP" });
const labels = (key: string) => ({ metadata: { labels: { [key]: "else" } } });

/** What somebody does to a Service or an EndpointSlice. */
const EDITS: Readonly<
  Record<string, { resource: Resource<Service> | Resource<EndpointSlice>; patch: JsonObject }>
> = {
  "a Service with another port": {
    resource: SERVICES,
    patch: { spec: { ports: [{ ...http(1), targetPort: 1 }] } },
  },
  "a Service with another target port": {
    resource: SERVICES,
    patch: { spec: { ports: [{ ...http(8000), targetPort: 1 }] } },
  },
  "a Service with a selector": {
    resource: SERVICES,
    patch: {
      spec: { selector: { app: "x" }, ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4"] },
    },
  },
  "a Service that hides pods that are not Ready": {
    resource: SERVICES,
    patch: { spec: { publishNotReadyAddresses: false } },
  },
  "a Service that is another name's alias": {
    resource: SERVICES,
    patch: {
      spec: {
        type: "ExternalName",
        externalName: "else.example",
        clusterIP: null,
        clusterIPs: null,
      },
    },
  },
  "a Service with another label": { resource: SERVICES, patch: labels("model.aibrix.ai/name") },
  "an EndpointSlice with another label": {
    resource: ENDPOINT_SLICES,
    patch: labels("model.aibrix.ai/name"),
  },
  "an EndpointSlice of another Service": {
    resource: ENDPOINT_SLICES,
    patch: labels("kubernetes.io/service-name"),
  },
  "an EndpointSlice with one more port": {
    resource: ENDPOINT_SLICES,
    patch: { ports: [http(8000), { ...http(1), name: "more" }] },
  },
  "an EndpointSlice without endpoints": { resource: ENDPOINT_SLICES, patch: { endpoints: [] } },
  "an EndpointSlice with somebody else's address": {
    resource: ENDPOINT_SLICES,
    patch: { endpoints: [{ addresses: ["127.30.255.255"], conditions: { ready: true } }] },
  },
};

/** What requests depend on. */
function contentOf(object: Service | EndpointSlice | undefined): unknown {
  if (object === undefined) return undefined;
  const { labels } = object.metadata;
  if (!("spec" in object)) return { labels, endpoints: object.endpoints, ports: object.ports };
  // Whether addresses are of one family or of two is left to the cluster.
  const {
    ipFamilies: _,
    ipFamilyPolicy: __,
    ...spec
  } = object.spec as JsonObject & Service["spec"];
  return { labels, spec };
}

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

  it("an engine that was started again with a blip of readiness gets its adapter before it is sent requests", async (t) => {
    const world = await World.make(stage, t);
    const [one, two] = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", one, two);
    const sent: string[][] = [];
    one.engine.before = async () => {
      sent.push(world.endpoints("lora"));
    };
    await one.ready(undefined);
    await one.restartContainer();
    await one.ready(0);
    await world.serving("lora", two);
    await world.serving("lora", one, two);
    assert.deepEqual(one.engine.calls, Array(2).fill("load lora /adapters/lora"));
    assert.deepEqual(sent, [[two.host]]);
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

  for (const [what, { resource, patch }] of Object.entries(EDITS)) {
    it(`${what} is as it was`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      await world.declare("lora");
      await world.serving("lora", pod);
      const state = async () => [
        contentOf(await world.service("lora")),
        contentOf(await world.slice("lora")),
      ];
      const before = await state();
      const edited = await stage.client.patch<Service | EndpointSlice>(
        resource,
        world.named("lora"),
        "merge",
        patch,
      );
      assert.ok(!before.some((one) => jsonEqual(one, contentOf(edited))), "it was edited");
      await eventually("as it was", async () => jsonEqual(await state(), before), PATIENCE_MS);
      await world.serving("lora", pod);
    });
  }

  it("what others add to the metadata of Service and EndpointSlice stays", async (t) => {
    const world = await World.make(stage, t);
    const [pod] = await world.pods("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    const theirs = { metadata: { labels: { team: "a" }, annotations: { note: "b" } } };
    for (const resource of [SERVICES, ENDPOINT_SLICES] as const) {
      await stage.client.patch<Service | EndpointSlice>(
        resource,
        world.named("lora"),
        "merge",
        theirs,
      );
    }
    const more = await world.pod("pod-2");
    await world.serving("lora", pod, more);
    await stage.client.patch(SERVICES, world.named("lora"), "merge", {
      spec: { publishNotReadyAddresses: false },
    });
    await eventually("mended", async () => {
      const [service, slice] = [await world.service("lora"), await world.slice("lora")];
      const isKept = [service, slice].every(
        (one) =>
          one?.metadata.labels?.["team"] === "a" && one.metadata.annotations?.["note"] === "b",
      );
      return isKept && service?.spec.publishNotReadyAddresses;
    });
  });

  it("somebody else's EndpointSlice of that name is reported, and left alone", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await stage.client.create(ENDPOINT_SLICES, {
      metadata: world.named("lora"),
      addressType: "IPv4",
      endpoints: [],
      ports: [],
    });
    await world.declare("lora");
    const adapter = await world.phase("lora", "Bound");
    assert.match(
      conditionsOf(adapter).at(-1) ?? "",
      /^Ready=False EndpointSliceCreateError: EndpointSlice \S+\/lora exists and belongs to somebody else/,
    );
    assert.deepEqual((await world.slice("lora"))?.endpoints ?? [], []);
    await stage.client.delete(ENDPOINT_SLICES, world.named("lora"));
    await world.serving("lora", pod);
  });

  it("a status, finalizer or annotation that somebody edits is as it was", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    const { status } = await world.serving("lora", pod);
    const name = world.named("lora");
    const { client } = stage;
    const lies = { candidates: 9, desiredReplicas: 9, pods: [] };
    await client.patch(MODEL_ADAPTERS, name, "merge", { status: lies }, { subresource: "status" });
    const ours = { "adapter.model.aibrix.ai/scheduled-pods": "pod-9", theirs: "stays" };
    await client.patch(MODEL_ADAPTERS, name, "merge", {
      metadata: { finalizers: [], annotations: ours },
    });
    await eventually("as it was", async () => {
      const adapter = await client.get(MODEL_ADAPTERS, name);
      const { finalizers, annotations } = adapter.metadata;
      const isKept = finalizers?.length === 1 && Object.keys(annotations ?? {}).join() === "theirs";
      return isKept && JSON.stringify(adapter.status?.pods) === JSON.stringify(status?.pods);
    });
    await world.serving("lora", pod);
    assert.deepEqual(pod.engine.calls, ["load lora /adapters/lora"]);
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
