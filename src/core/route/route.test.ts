import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { LABEL } from "#api/names.ts";
import { pickEndpoint } from "./pick.ts";
import { buildRouteTable, type Route, type RouteSources } from "./table.ts";

type Labels = Record<string, string>;

function pod(
  name: string,
  ip: string,
  labels: Labels,
  more: Partial<Pod["metadata"]> & { ready?: boolean } = {},
): Pod {
  const { ready = true, ...metadata } = more;
  return {
    metadata: { name, namespace: "default", uid: `uid-${name}`, labels, ...metadata },
    spec: { containers: [{ name: "engine", ports: [{ name: "api", containerPort: 9009 }] }] },
    status: { podIP: ip, conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
  };
}

function adapter(name: string, more: Partial<ModelAdapter["metadata"]> = {}): ModelAdapter {
  return {
    apiVersion: "model.aibrix.ai/v1alpha1",
    kind: "ModelAdapter",
    metadata: { name, namespace: "default", creationTimestamp: "2026-11-24T00:00:00Z", ...more },
    spec: { podSelector: {}, artifactURL: "https://me:pw@host/a?sig=1", schedulerName: "default" },
  };
}

function slice(
  name: string,
  pods: readonly Pod[],
  more: Partial<EndpointSlice["metadata"]> = {},
): EndpointSlice {
  return {
    metadata: { name, namespace: "default", labels: { [LABEL.adapterName]: name }, ...more },
    addressType: "IPv4",
    endpoints: pods.map(({ metadata, status }) => ({
      addresses: [status?.podIP ?? ""],
      conditions: { ready: true },
      targetRef: { kind: "Pod", name: metadata.name, uid: metadata.uid ?? "" },
    })),
    ports: [{ port: 8000 }],
  };
}

const service = (name: string, targetPort?: number | string): Service => ({
  metadata: { name, namespace: "default" },
  spec: {
    ports: [
      { name: "http", port: 8080 },
      { name: "serve", port: 80, ...(targetPort === undefined ? {} : { targetPort }) },
    ],
  },
});

const table = (sources: Partial<RouteSources>) =>
  buildRouteTable({
    pods: [],
    services: [],
    slices: [],
    adapters: [],
    defaultNamespace: "default",
    ...sources,
  });
const addresses = (route: Route | undefined) => route?.endpoints.map((one) => one.address);
const QWEN = { [LABEL.modelName]: "qwen" };

test("a base model is served by its ready pods, at the port that label, Service or convention name", () => {
  const ready = pod("a", "10.0.0.1", QWEN);
  const pods = [
    ready,
    pod("b", "10.0.0.2", { ...QWEN, [LABEL.modelPort]: "9000" }),
    pod("c", "10.0.0.3", QWEN, { ready: false }),
    pod("d", "10.0.0.4", QWEN, { deletionTimestamp: "2026-11-24T00:00:00Z" }),
    pod("e", "fd00::5", QWEN),
  ];
  const portOf = (services: Service[]) =>
    addresses(table({ pods: [ready], services }).lookup("qwen"));
  assert.deepEqual(addresses(table({ pods }).lookup("qwen")), [
    "10.0.0.1:8000",
    "10.0.0.2:9000",
    "[fd00::5]:8000",
  ]);
  assert.deepEqual(portOf([service("qwen", 8001)]), ["10.0.0.1:8001"]);
  assert.deepEqual(portOf([service("qwen", "api")]), ["10.0.0.1:9009"]);
  assert.deepEqual(portOf([service("qwen")]), ["10.0.0.1:80"]);
  assert.deepEqual(portOf([service("other", 8001)]), ["10.0.0.1:8000"]);
});

test("a base model without a ready pod is known but has no endpoint", () => {
  const route = table({ pods: [pod("a", "10.0.0.1", QWEN, { ready: false })] }).lookup("qwen");
  assert.deepEqual(addresses(route), []);
});

test("an adapter is served by the pods of its slice that still are what the slice meant", () => {
  const a = pod("a", "10.0.0.1", QWEN);
  const b = pod("b", "10.0.0.2", QWEN);
  const served = (pods: Pod[]) => {
    const route = table({
      pods,
      slices: [slice("sql", [a, b])],
      adapters: [adapter("sql")],
    }).lookup("sql");
    return addresses(route)?.sort();
  };
  const both = ["10.0.0.1:8000", "10.0.0.2:8000"];
  assert.deepEqual(served([a, b]), both);
  assert.deepEqual(served([a]), both, "a pod that the cache does not know yet is believed");
  assert.deepEqual(served([a, pod("b", "10.0.0.2", QWEN, { ready: false })]), ["10.0.0.1:8000"]);
  assert.deepEqual(served([a, pod("b", "10.0.0.2", QWEN, { uid: "another" })]), ["10.0.0.1:8000"]);
  assert.deepEqual(served([a, pod("b", "10.0.0.9", QWEN)]), ["10.0.0.1:8000"]);
});

test("an adapter without a slice is known; one on its way out is not", () => {
  const deletionTimestamp = "2026-11-24T00:00:00Z";
  const both = table({ adapters: [adapter("sql"), adapter("gone", { deletionTimestamp })] });
  assert.deepEqual(addresses(both.lookup("sql")), []);
  assert.equal(both.lookup("gone"), undefined);
  const { root, createdS, parent } = both.lookup("sql") as Route;
  assert.deepEqual([root, createdS, parent], ["https://host/a", 1795478400, undefined]);
});

test("SGLang gets base:adapter, vLLM the adapter's name", () => {
  const a = pod("a", "10.0.0.1", QWEN);
  const b = pod("b", "10.0.0.2", { ...QWEN, [LABEL.modelEngine]: "sglang" });
  const route = table({
    pods: [a, b],
    slices: [slice("sql", [a, b])],
    adapters: [adapter("sql")],
  }).lookup("sql");
  assert.deepEqual(route?.endpoints.map((one) => one.engineModel).sort(), ["qwen:sql", "sql"]);
  assert.equal(route?.parent, "qwen");
});

test("of one name in several namespaces the default one's comes first, then the alphabet; namespace/name always works", () => {
  const named = (namespace: string) => adapter("sql", { namespace });
  const names = (...namespaces: string[]) => table({ adapters: namespaces.map(named) });
  assert.equal(names("zeta", "default", "alpha").lookup("sql")?.namespace, "default");
  assert.equal(names("zeta", "alpha").lookup("sql")?.namespace, "alpha");
  assert.equal(names("zeta", "alpha").lookup("zeta/sql")?.namespace, "zeta");
  assert.equal(names("zeta", "alpha").lookup("alpha/sql")?.namespace, "alpha");
  assert.deepEqual([...names("zeta", "alpha").names.keys()], ["sql", "zeta/sql"]);
  const pods = [pod("a", "10.0.0.1", { [LABEL.modelName]: "sql" })];
  assert.equal(table({ pods, adapters: [named("default")] }).lookup("sql")?.kind, "base");
});

const route = (kind: Route["kind"], count: number, name = "m"): Route => {
  const pods = Array.from({ length: count }, (_, i) =>
    pod(`p${i}`, `10.0.0.${i}`, { [LABEL.modelName]: kind === "base" ? name : "qwen" }),
  );
  const sources =
    kind === "base" ? { pods } : { pods, slices: [slice(name, pods)], adapters: [adapter(name)] };
  return table(sources).lookup(name) as Route;
};

test("property: the choice is one of the untried, and no pod is far above the others", () => {
  fc.assert(
    fc.property(
      fc.constantFrom<Route["kind"]>("base", "adapter"),
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.tuple(fc.boolean(), fc.double({ min: 0, max: 1, noNaN: true })), {
        maxLength: 80,
      }),
      (kind, count, steps) => {
        const target = route(kind, count);
        const loads = new Map<string, number>();
        const open: string[] = [];
        for (const [isStart, random] of steps) {
          if (!isStart) {
            const done = open.splice(Math.floor(random * open.length), 1)[0];
            if (done !== undefined) loads.set(done, (loads.get(done) ?? 0) - 1);
            continue;
          }
          const choice = pickEndpoint(
            target,
            (address) => ({ inFlight: loads.get(address) ?? 0, isSuspect: false }),
            new Set(),
            random,
          );
          assert.ok(choice !== undefined);
          const load = (loads.get(choice.address) ?? 0) + 1;
          loads.set(choice.address, load);
          open.push(choice.address);
          const mean = open.length / count;
          assert.ok(
            load <= Math.ceil(1.25 * mean) || load === 1,
            `${load} where the mean is ${mean}`,
          );
        }
      },
    ),
  );
});

test("an adapter stays at home while there is room, and adapters have different homes", () => {
  const idle = () => ({ inFlight: 0, isSuspect: false });
  const homes = Array.from({ length: 60 }, (_, i) => {
    const target = route("adapter", 3, `lora-${i}`);
    const choices = [0, 0.5, 0.99].map(
      (random) => pickEndpoint(target, idle, new Set(), random)?.address,
    );
    assert.equal(new Set(choices).size, 1);
    return choices[0];
  });
  for (const home of new Set(homes)) assert.ok(homes.filter((one) => one === home).length > 8);
  assert.equal(new Set(homes).size, 3);
});

test("suspects and tried ones are avoided; when only suspects are left they are asked", () => {
  const target = route("base", 3);
  const suspects = new Set(["10.0.0.0:8000", "10.0.0.1:8000"]);
  const loadOf = (address: string) => ({ inFlight: 0, isSuspect: suspects.has(address) });
  const pick = (...tried: string[]) => pickEndpoint(target, loadOf, new Set(tried), 0)?.address;
  assert.equal(pick(), "10.0.0.2:8000");
  assert.equal(pick("10.0.0.2:8000"), "10.0.0.0:8000");
  assert.equal(pick("10.0.0.2:8000", "10.0.0.0:8000", "10.0.0.1:8000"), undefined);
});
