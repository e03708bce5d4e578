import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import { planSlices } from "./endpoint-slice-plan.ts";
import { balancerAddresses, planForwards } from "./service-plan.ts";

function service(
  name: string,
  spec: Partial<Service["spec"]> = {},
  status?: Service["status"],
): Service {
  return {
    metadata: { name, namespace: "ns", uid: `uid-${name}`, labels: { team: "a" } },
    spec: {
      clusterIP: "127.96.0.7",
      selector: { app: name },
      ports: [{ name: "http", port: 80, targetPort: "web" }],
      ...spec,
    },
    ...(status && { status }),
  };
}

function pod(name: string, more: { ip?: string; ready?: boolean; port?: number } = {}): Pod {
  const { ip = "127.20.0.1", ready = true, port = 8000 } = more;
  return {
    metadata: { name, namespace: "ns", uid: `uid-${name}`, labels: { app: "api" } },
    spec: {
      nodeName: "loradock",
      containers: [{ name: "main", ports: [{ name: "web", containerPort: port }] }],
    },
    status: {
      podIP: ip,
      phase: "Running",
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
    },
  };
}

describe("planSlices", () => {
  it("tells which pods serve, with their ports and conditions, as a cluster does", () => {
    const leaving = pod("c", { ip: "127.20.0.3" });
    leaving.metadata.deletionTimestamp = "2026-01-01T00:00:00Z";
    const over = { ...pod("d"), status: { ...pod("d").status, phase: "Failed" as const } };
    const pods = [leaving, pod("b", { ip: "127.20.0.2", ready: false }), pod("a"), over];
    const { create } = planSlices(service("api"), pods, []);
    assert.equal(create.length, 1);
    const [slice] = create;
    assert.match(slice?.metadata.name ?? "", /^api-[0-9a-f]{5}$/);
    assert.deepEqual(slice?.metadata.labels, {
      team: "a",
      "kubernetes.io/service-name": "api",
      "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    assert.deepEqual(slice?.metadata.ownerReferences?.[0], {
      apiVersion: "v1",
      kind: "Service",
      name: "api",
      uid: "uid-api",
      controller: true,
      blockOwnerDeletion: true,
    });
    assert.deepEqual(slice?.ports, [{ name: "http", port: 8000, protocol: "TCP" }]);
    assert.deepEqual(
      slice?.endpoints.map(({ addresses, conditions, targetRef }) => [
        targetRef?.name,
        addresses[0],
        conditions,
      ]),
      [
        ["a", "127.20.0.1", { ready: true, serving: true, terminating: false }],
        ["b", "127.20.0.2", { ready: false, serving: false, terminating: false }],
        ["c", "127.20.0.3", { ready: false, serving: true, terminating: true }],
      ],
    );
  });

  it("changes a slice in place, and only when something differs", () => {
    const [made] = planSlices(service("api"), [pod("a")], []).create;
    assert.ok(made);
    const held: EndpointSlice = { ...made, metadata: { ...made.metadata, resourceVersion: "5" } };
    const same = planSlices(service("api"), [pod("a")], [held]);
    assert.deepEqual(same, { create: [], update: [], delete: [] });
    const { update } = planSlices(service("api"), [pod("a", { ready: false })], [held]);
    assert.equal(update[0]?.metadata.name, made.metadata.name);
    assert.equal(update[0]?.metadata.resourceVersion, "5");
  });

  it("gives pods that number a named port differently slices of their own", () => {
    const { create } = planSlices(service("api"), [pod("a"), pod("b", { port: 9000 })], []);
    assert.deepEqual(create.map((slice) => slice.ports?.[0]?.port).sort(), [8000, 9000]);
  });

  it("splits many endpoints and keeps an empty slice for none", () => {
    const many = Array.from({ length: 250 }, (_, index) => pod(`p${index}`));
    const { create } = planSlices(service("api"), many, []);
    assert.deepEqual(
      create.map((slice) => slice.endpoints.length),
      [100, 100, 50],
    );
    assert.equal(new Set(create.map((slice) => slice.metadata.name)).size, 3);
    const [empty] = planSlices(service("api"), [], []).create;
    assert.deepEqual([empty?.endpoints, empty?.ports], [[], []]);
  });

  it("keeps out of Services without a selector and removes what it had made", () => {
    const [made] = planSlices(service("api"), [pod("a")], []).create;
    assert.ok(made);
    for (const gone of [
      undefined,
      service("api", { selector: {} }),
      service("api", { type: "ExternalName" }),
    ]) {
      assert.deepEqual(planSlices(gone, [pod("a")], [made]), {
        create: [],
        update: [],
        delete: [made],
      });
    }
  });

  it("publishes pods that are not ready when the Service asks for it", () => {
    const { create } = planSlices(
      service("api", { publishNotReadyAddresses: true, clusterIP: "None" }),
      [pod("a", { ready: false })],
      [],
    );
    assert.equal(create[0]?.endpoints[0]?.conditions?.ready, true);
    assert.equal(create[0]?.metadata.labels?.["service.kubernetes.io/headless"], "");
  });
});

describe("balancerAddresses", () => {
  const balancer = (name: string, ip?: string) =>
    service(
      name,
      { type: "LoadBalancer" },
      ip ? { loadBalancer: { ingress: [{ ip }] } } : undefined,
    );

  it("follow from the name, stay as they are, and are never shared", () => {
    const names = Array.from({ length: 500 }, (_, index) => `s${index}`);
    const first = balancerAddresses(names.map((name) => balancer(name)));
    assert.equal(new Set(first.values()).size, 500);
    for (const address of first.values()) assert.match(address, /^127\.97\.\d+\.\d+$/);
    const again = balancerAddresses([balancer("s7"), service("plain")]);
    assert.equal(again.get("ns/s7"), first.get("ns/s7"));
    assert.equal(again.has("ns/plain"), false);
    const taken = balancerAddresses([balancer("a", first.get("ns/s7")), balancer("s7")]);
    assert.equal(taken.get("ns/a"), first.get("ns/s7"), "what the status says stays");
    assert.notEqual(taken.get("ns/s7"), taken.get("ns/a"));
  });

  it("take what the Service asks for when it is one of ours", () => {
    const asking = (loadBalancerIP: string) =>
      balancerAddresses([service("x", { type: "LoadBalancer", loadBalancerIP })]).get("ns/x");
    assert.equal(asking("127.97.1.2"), "127.97.1.2");
    assert.notEqual(asking("10.0.0.1"), "10.0.0.1");
  });
});

describe("planForwards", () => {
  it("opens a Service's ports at its addresses for ready endpoints of all its slices", () => {
    const api = service("api", { type: "LoadBalancer" });
    const pods = [pod("a"), pod("b", { ip: "127.20.0.2", port: 9000 }), pod("c", { ready: false })];
    const { create: slices } = planSlices(api, pods, []);
    const ip = balancerAddresses([api]).get("ns/api");
    const forwards = planForwards([api, service("elsewhere", { clusterIP: "10.96.0.1" })], slices);
    assert.deepEqual([...forwards.keys()].sort(), ["127.96.0.7:80", `${ip}:80`].sort());
    assert.deepEqual(forwards.get("127.96.0.7:80")?.targets, [
      { host: "127.20.0.1", port: 8000 },
      { host: "127.20.0.2", port: 9000 },
    ]);
    const [slice] = slices;
    assert.ok(slice);
    const foreign = { ...slice, metadata: { ...slice.metadata, namespace: "other" } };
    assert.deepEqual(planForwards([api], [foreign]).get("127.96.0.7:80")?.targets, []);
  });
});
