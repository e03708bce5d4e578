import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import { fieldErrorsText } from "../schema/field-error.ts";
import { allocateService, type Taken } from "./services.ts";

const taken = (clusterIps: string[] = [], nodePorts: number[] = []): Taken => ({
  clusterIps: new Set(clusterIps),
  nodePorts: new Set(nodePorts),
});
const service = (spec: JsonObject, name = "s"): JsonObject => ({
  metadata: { namespace: "n", name },
  spec: { type: "ClusterIP", ports: [{ port: 80, protocol: "TCP" }], ...spec },
});
function specOf(given: JsonObject, old?: JsonObject, others = taken()): JsonObject {
  const outcome = allocateService(given, old, others);
  assert("service" in outcome, "errors" in outcome ? fieldErrorsText(outcome.errors) : "");
  return objectAt(outcome.service, "spec");
}
function refusal(given: JsonObject, others: Taken, old?: JsonObject): string {
  const outcome = allocateService(given, old, others);
  assert("errors" in outcome);
  return fieldErrorsText(outcome.errors);
}
const nodePorts = (spec: JsonObject) => objectsAt(spec, "ports").map((port) => port["nodePort"]);

test("a name or UID always leads to the same address, and to the next one when that is taken", () => {
  const ip = stringAt(specOf(service({})), "clusterIP");
  assert.match(ip, /^127\.96\.\d+\.\d+$/);
  assert.equal(specOf(service({}))["clusterIP"], ip);
  assert.notEqual(specOf(service({}, "other"))["clusterIP"], ip);
  const elsewhere = { ...service({}), metadata: { namespace: "n", name: "s", uid: "u" } };
  assert.notEqual(specOf(elsewhere)["clusterIP"], ip, "one of that name in another state folder");
  const next = specOf(service({}), undefined, taken([ip]));
  assert.notEqual(next["clusterIP"], ip);
  assert.deepEqual(stringsAt(next, "clusterIPs"), [next["clusterIP"]]);
});

test("an address that is taken or outside is refused", () => {
  const asked = (ip: string) => service({ clusterIP: ip, clusterIPs: [ip] });
  assert.equal(
    refusal(asked("127.96.1.2"), taken(["127.96.1.2"])),
    'spec.clusterIPs: Invalid value: ["127.96.1.2"]: failed to allocate IP 127.96.1.2: provided IP is already allocated',
  );
  assert.match(refusal(asked("10.0.0.1"), taken()), /does not match the current range$/);
});

test("there is an answer when nothing is left", () => {
  const all = new Set<string>();
  for (let host = 0; host < 2 ** 16; host++) all.add(`127.96.${host >> 8}.${host & 0xff}`);
  assert.match(refusal(service({}), { ...taken(), clusterIps: all }), /range is full$/);
  const ports = Array.from({ length: 2768 }, (_, position) => 30_000 + position);
  assert.match(refusal(service({ type: "NodePort" }), taken([], ports)), /not in the valid range/);
});

test("ports on nodes: found, kept, refused when others have them, shared by TCP and UDP", () => {
  const created = specOf(service({ type: "NodePort" }));
  const [port] = nodePorts(created);
  assert(typeof port === "number");
  assert.notEqual(
    nodePorts(specOf(service({ type: "NodePort" }), undefined, taken([], [port])))[0],
    port,
  );
  const old = { ...service({}), spec: created };
  assert.deepEqual(specOf(old, old, taken([stringAt(created, "clusterIP")], [port])), created);
  const asked = service({ type: "NodePort", ports: [{ port: 80, nodePort: 30_100 }] });
  assert.equal(
    refusal(asked, taken([], [30_100])),
    "spec.ports[0].nodePort: Invalid value: 30100: provided port is already allocated",
  );
  const dns = [
    { name: "a", port: 53, protocol: "TCP" },
    { name: "b", port: 53, protocol: "UDP" },
  ];
  const shared = specOf(service({ type: "NodePort", ports: dns }));
  assert.equal(new Set(nodePorts(shared)).size, 1);
  const later = specOf(service({ type: "NodePort", ports: dns }), service({ ports: dns }));
  assert.equal(new Set(nodePorts(later)).size, 2);
});

test("load balancers: ports on nodes unless they are not wanted, one more for health checks", () => {
  const spec = specOf(service({ type: "LoadBalancer", externalTrafficPolicy: "Local" }));
  const { healthCheckNodePort } = spec;
  assert(typeof healthCheckNodePort === "number");
  assert.ok(!nodePorts(spec).includes(healthCheckNodePort));
  const none = specOf(service({ type: "LoadBalancer", allocateLoadBalancerNodePorts: false }));
  assert.deepEqual(nodePorts(none), [undefined]);
});

test("no address without need: headless Services and names of others", () => {
  assert.equal(specOf(service({ clusterIP: "None", clusterIPs: ["None"] }))["clusterIP"], "None");
  assert.equal("clusterIP" in specOf(service({ type: "ExternalName" })), false);
});
