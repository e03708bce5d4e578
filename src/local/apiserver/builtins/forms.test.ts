import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { modelAdapterCrd } from "#api/crd.ts";
import type { JsonObject } from "#base/json.ts";
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import { kindsOfCrd } from "../kinds/crd-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { canonicalQuantity, milliQuantity } from "../schema/canonical-quantity.ts";
import { quantityNanos } from "../schema/quantity.ts";
import { defaultBuiltin } from "./defaults.ts";
import { fieldLabelsOf, fieldValue } from "./field-labels.ts";
import { prepareBuiltin } from "./prepare.ts";
import { scaleOf, selectorText, withScale } from "./scale.ts";
import { validateBuiltin } from "./validation.ts";

const kindOf = (name: string): Kind => {
  const found = builtinKinds().find((kind) => kind.kind === name);
  assert(found !== undefined);
  return found;
};
const [adapter] = kindsOfCrd(modelAdapterCrd());
assert(adapter !== undefined);
const custom: Kind = {
  ...adapter,
  scale: {
    specReplicasPath: ".spec.replicas",
    statusReplicasPath: ".status.count",
    labelSelectorPath: ".status.selector",
  },
  selectableFields: [".spec.color"],
};

test("quantities have one form", () => {
  const forms: [string, string][] = [
    ["0", "0"],
    ["0Gi", "0"],
    ["0.5", "500m"],
    ["1000m", "1"],
    ["1500", "1500"],
    ["2000", "2k"],
    ["1024Mi", "1Gi"],
    ["1.5Gi", "1536Mi"],
    ["0.5Ki", "512"],
    ["1023", "1023"],
    ["1e3", "1e3"],
    ["1500e0", "1500"],
    ["-1", "-1"],
    ["12345.678", "12345678m"],
  ];
  for (const [text, form] of forms) assert.equal(canonicalQuantity(text), form, text);
  assert.equal(canonicalQuantity("x"), undefined);
  assert.equal(milliQuantity("100u"), "1m");
  assert.equal(milliQuantity("1Gi"), "1Gi");
});

test("properties: the form of a quantity is worth the same, and is its own form", () => {
  const suffix = fc.constantFrom("", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E2");
  fc.assert(
    fc.property(fc.integer(), suffix, (number, unit) => {
      const form = canonicalQuantity(`${number}${unit}`);
      assert(form !== undefined);
      assert.equal(quantityNanos(form), quantityNanos(`${number}${unit}`));
      assert.equal(canonicalQuantity(form), form);
    }),
  );
});

test("what is empty goes, what Go cannot leave out comes, times are told in UTC", () => {
  const pod = defaultBuiltin(kindOf("Pod"), {
    metadata: { name: "a", labels: {}, creationTimestamp: null },
    spec: { hostNetwork: false, nodeName: "", containers: [{ name: "c", image: "x", args: [] }] },
    status: {
      conditions: [{ type: "Ready", status: "True" }],
      startTime: "2026-01-01T02:00:00+02:00",
    },
  });
  assert.deepEqual(pod["metadata"], { name: "a" });
  assert.deepEqual(pod["status"], {
    conditions: [{ type: "Ready", status: "True", lastProbeTime: null, lastTransitionTime: null }],
    startTime: "2026-01-01T00:00:00Z",
  });
  const lease = defaultBuiltin(kindOf("Lease"), { spec: { renewTime: "2026-01-01T00:00:00.5Z" } });
  assert.deepEqual(lease["spec"], { renewTime: "2026-01-01T00:00:00.500000Z" });
});

test("custom objects are left alone", () => {
  const object = { metadata: { labels: {} }, spec: { a: "" } };
  assert.equal(defaultBuiltin(custom, object), object);
  assert.equal(prepareBuiltin(custom, object, undefined), object);
  assert.deepEqual(validateBuiltin(custom, object, undefined, ""), []);
});

test("the classes of pods", () => {
  const classOf = (...resources: JsonObject[]) => {
    const containers = resources.map((item, position) => ({
      name: `c${position}`,
      resources: item,
    }));
    const pod = prepareBuiltin(
      kindOf("Pod"),
      defaultBuiltin(kindOf("Pod"), { metadata: {}, spec: { containers } }),
      undefined,
    );
    return (pod["status"] as JsonObject)["qosClass"];
  };
  const all = { cpu: "1", memory: "1Gi" };
  assert.equal(classOf({}), "BestEffort");
  assert.equal(classOf({ limits: all }), "Guaranteed");
  assert.equal(classOf({ limits: all }, {}), "Burstable");
  assert.equal(classOf({ limits: all, requests: { cpu: "500m" } }), "Burstable");
  assert.equal(classOf({ limits: { cpu: "1" } }), "Burstable");
  assert.equal(classOf({ limits: { "a.example/gpu": "1" } }), "BestEffort");
});

test("scales of custom objects are where their definition says", () => {
  const object = {
    metadata: { name: "a", namespace: "n", uid: "u", resourceVersion: "5", labels: { a: "b" } },
    spec: { replicas: 2 },
    status: { count: 1, selector: "a=b" },
  };
  assert.deepEqual(scaleOf(custom, object), {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name: "a", namespace: "n", uid: "u", resourceVersion: "5" },
    spec: { replicas: 2 },
    status: { replicas: 1, selector: "a=b" },
  });
  const scale = { metadata: { resourceVersion: "6" }, spec: { replicas: 0 } };
  const scaled = withScale(custom, object, scale);
  assert.deepEqual(scaled["spec"], { replicas: 0 });
  assert.deepEqual(scaled["metadata"], { ...object.metadata, resourceVersion: "6" });
  assert.throws(
    () => scaleOf(custom, { spec: {} }),
    /the spec replicas field "\.spec\.replicas" does not exist$/,
  );
});

test("selectors as texts", () => {
  const selector = {
    matchLabels: { z: "1", b: "2" },
    matchExpressions: [
      { key: "c", operator: "In", values: ["y", "x"] },
      { key: "d", operator: "NotIn", values: ["x"] },
      { key: "a", operator: "DoesNotExist" },
      { key: "e", operator: "Exists" },
    ],
  };
  assert.equal(selectorText(selector), "!a,b=2,c in (x,y),d notin (x),e,z=1");
  assert.equal(selectorText({}), "");
});

test("what field selectors compare with", () => {
  const pod = {
    metadata: { name: "a", namespace: "n" },
    spec: { nodeName: "x" },
    status: { podIPs: [{ ip: "1.2.3.4" }] },
  };
  const valuesOf = (kind: Kind, object: JsonObject, ...labels: string[]) =>
    labels.map((label) => fieldValue(kind, object, label));
  assert.deepEqual(
    valuesOf(
      kindOf("Pod"),
      pod,
      "metadata.name",
      "spec.host",
      "spec.hostNetwork",
      "status.podIP",
      "status.phase",
    ),
    ["a", "x", "false", "1.2.3.4", ""],
  );
  assert.deepEqual(valuesOf(kindOf("Node"), { spec: {} }, "spec.unschedulable"), ["false"]);
  const event = { apiVersion: "v1", involvedObject: { kind: "Pod" }, reportingComponent: "c" };
  assert.deepEqual(valuesOf(kindOf("Event"), event, "involvedObject.kind", "source"), ["Pod", "c"]);
  const newEvents = builtinKinds().find((kind) => kind.group === "events.k8s.io");
  assert(newEvents !== undefined);
  assert.deepEqual(valuesOf(newEvents, event, "regarding.kind", "reportingController"), [
    "Pod",
    "c",
  ]);
  assert.deepEqual(fieldLabelsOf(custom), ["metadata.name", "metadata.namespace", "spec.color"]);
  assert.equal(fieldValue(custom, { spec: { color: "red" } }, "spec.color"), "red");
});
