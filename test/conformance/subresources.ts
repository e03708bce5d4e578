/** What has a path of its own below an object: status, scale, binding, token. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { lasting } from "./answer.ts";
import { invalidAdapter } from "./model-adapter.ts";
import { adapter, configMap, definition, deployment, GROUP, pod, replicaSet } from "./objects.ts";
import { define } from "./prepare.ts";
import type { Target } from "./target.ts";

export function subresourceTests(target: Target): void {
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
  const apps = async (plural: string) =>
    `/apis/apps/v1/namespaces/${await target.namespace()}/${plural}`;
  const pods = async () => `/api/v1/namespaces/${await target.namespace()}/pods`;

  it("a create drops the status", async () => {
    const made = await target.create(await adapters(), {
      ...adapter("one"),
      status: { phase: "Running" },
    });
    assert.equal(made.at("status"), undefined);
    const set = await target.create(await apps("replicasets"), {
      ...replicaSet("one"),
      status: { replicas: 5 },
    });
    assert.deepEqual(set.at("status"), { replicas: 0 });
  });

  it("an update and a patch of the object leave its status", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    await target.patch(`${path}/one/status`, "merge", { status: { phase: "Running" } });
    const patch = { spec: { baseModel: "b" }, status: { phase: "Failed" } };
    const patched = (await target.patch(`${path}/one`, "merge", patch)).expect(200);
    assert.deepEqual(patched.at("status"), { phase: "Running" });
    const put = await target.put(`${path}/one`, { ...patched.body, status: {} });
    assert.deepEqual(put.expect(200).at("status"), { phase: "Running" });
  });

  it("status takes the status and metadata is the object's", async () => {
    const path = await adapters();
    const made = await target.create(path, adapter("one", {}, { labels: { a: "1" } }));
    const put = await target.put(`${path}/one/status`, {
      ...adapter(
        "one",
        { baseModel: "other" },
        {
          resourceVersion: made.resourceVersion,
          labels: { a: "2" },
          annotations: { b: "3" },
        },
      ),
      status: { phase: "Running" },
    });
    assert.deepEqual(put.expect(200).at("status"), { phase: "Running" });
    assert.equal(put.at("spec.baseModel"), "base");
    assert.deepEqual(put.at("metadata.labels"), { a: "1" });
    assert.equal(put.at("metadata.annotations"), undefined);
    const read = await target.get(`${path}/one/status`);
    assert.deepEqual(read.expect(200).body, put.body);
  });

  it("status of a built-in kind takes labels and annotations too", async () => {
    const path = await pods();
    await target.create(path, pod("one"));
    const patched = await target.patch(`${path}/one/status`, "merge", {
      metadata: { labels: { a: "1" } },
      status: { phase: "Running", podIP: "127.0.9.1", podIPs: [{ ip: "127.0.9.1" }] },
    });
    assert.equal(patched.expect(200).at("status.podIP"), "127.0.9.1");
    assert.deepEqual(patched.at("metadata.labels"), { a: "1" });
  });

  it("an invalid status", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    const message =
      'Unsupported value: "Odd": supported values: "Pending", "Scheduled", "Loading", "Bound", "Running", "Failed"';
    const patch = { status: { phase: "Odd" } };
    const answer = await target.patch(`${path}/one/status`, "merge", patch);
    invalidAdapter(answer, "status.phase", message);
  });

  it("status of a kind that has none", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/configmaps`;
    await target.create(path, configMap("one"));
    (await target.get(`${path}/one/status`)).refused({
      code: 404,
      reason: "NotFound",
      message: "the server could not find the requested resource",
      details: {},
    });
  });

  it("scale of a custom kind without one", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    (await target.get(`${path}/one/scale`)).refused({
      code: 404,
      reason: "NotFound",
      message: 'modeladapters.model.aibrix.ai "one" not found',
      details: { name: "one", group: "model.aibrix.ai", kind: "modeladapters" },
    });
  });

  for (const [plural, build] of [
    ["deployments", deployment],
    ["replicasets", replicaSet],
  ] as const) {
    it(`scale of ${plural}`, async () => {
      const path = await apps(plural);
      const made = await target.create(path, build("one", { replicas: 2 }));
      const scale = (await target.get(`${path}/one/scale`)).expect(200);
      const namespace = path.split("/")[5] ?? "";
      const { metadata, ...rest } = scale.body;
      assert.deepEqual(metadata, {
        name: "one",
        namespace,
        uid: made.uid,
        resourceVersion: made.resourceVersion,
        creationTimestamp: made.at("metadata.creationTimestamp") ?? null,
      });
      assert.deepEqual(rest, {
        kind: "Scale",
        apiVersion: "autoscaling/v1",
        spec: { replicas: 2 },
        status: { replicas: 0, selector: "app=one" },
      });
      const patched = await target.patch(`${path}/one/scale`, "merge", { spec: { replicas: 5 } });
      assert.equal(patched.expect(200).at("spec.replicas"), 5);
      const object = (await target.get(`${path}/one`)).expect(200);
      assert.equal(object.at("spec.replicas"), 5);
      assert.equal(object.at("metadata.generation"), 2);
      const put = await target.put(`${path}/one/scale`, { ...scale.body, spec: { replicas: 0 } });
      put.refused({
        code: 409,
        reason: "Conflict",
        message: `Operation cannot be fulfilled on ${plural}.apps "one": the object has been modified; please apply your changes to the latest version and try again`,
        details: { name: "one", group: "apps", kind: plural },
      });
    });
  }

  it("scale of a custom kind whose number is not there yet", async () => {
    const group = `${target.unique("scale")}.example.com`;
    const subresources = {
      status: {},
      scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" },
    };
    await define(target, definition(group, "Thing", { subresources }));
    const path = `/apis/${group}/v1/namespaces/${await target.namespace()}/things`;
    const object = { apiVersion: `${group}/v1`, kind: "Thing", metadata: { name: "one" } };
    await target.create(path, object);
    (await target.get(`${path}/one/scale`)).expect(500);
    const patched = await target.patch(`${path}/one/scale`, "merge", { spec: { replicas: 4 } });
    assert.deepEqual(patched.expect(200).at("spec"), { replicas: 4 });
    assert.equal((await target.get(`${path}/one`)).at("spec.replicas"), 4);
    const { resources } = (await target.get(`/apis/${group}/v1`)).body;
    assert.ok(Array.isArray(resources));
    const names = resources.map((resource) => Object(resource).name);
    assert.deepEqual(names, ["things", "things/status", "things/scale"]);
  });

  it("a negative scale", async () => {
    const path = await apps("deployments");
    await target.create(path, deployment("one"));
    const message = "Invalid value: -1: must be greater than or equal to 0";
    (await target.patch(`${path}/one/scale`, "merge", { spec: { replicas: -1 } })).refused({
      code: 422,
      reason: "Invalid",
      message: `Scale.autoscaling "one" is invalid: spec.replicas: ${message}`,
      details: {
        name: "one",
        group: "autoscaling",
        kind: "Scale",
        causes: [{ reason: "FieldValueInvalid", message, field: "spec.replicas" }],
      },
    });
  });

  it("binding puts a pod on a node, once", async () => {
    const path = await pods();
    const made = await target.create(path, pod("one"));
    const binding = (node: string) => ({
      apiVersion: "v1",
      kind: "Binding",
      metadata: { name: "one" },
      target: { apiVersion: "v1", kind: "Node", name: node },
    });
    const bound = (await target.post(`${path}/one/binding`, binding("n1"))).expect(201);
    assert.deepEqual(bound.body, {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Success",
      code: 201,
    });
    const after = (await target.get(`${path}/one`)).expect(200);
    assert.equal(after.at("spec.nodeName"), "n1");
    assert.equal(after.at("metadata.generation"), 1);
    const conditions = after.at("status.conditions");
    assert.ok(Array.isArray(conditions));
    const { lastTransitionTime, ...scheduled } = Object(conditions[0]);
    assert.match(String(lastTransitionTime), /^\d{4}-/);
    assert.deepEqual(scheduled, {
      type: "PodScheduled",
      status: "True",
      lastProbeTime: null,
    });
    assert.equal(after.uid, made.uid);
    (await target.post(`${path}/one/binding`, binding("n2"))).refused({
      code: 409,
      reason: "Conflict",
      message:
        'Operation cannot be fulfilled on pods/binding "one": pod one is already assigned to node "n1"',
      details: { name: "one", kind: "pods/binding" },
    });
  });

  it("token of a service account", async () => {
    const namespace = await target.namespace();
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts`;
    const account = await target.create(path, {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name: "one" },
    });
    const answer = await target.post(`${path}/one/token`, {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { audiences: ["them"], expirationSeconds: 1200 },
    });
    answer.expect(201);
    assert.equal(answer.at("kind"), "TokenRequest");
    assert.deepEqual(answer.at("spec"), {
      audiences: ["them"],
      expirationSeconds: 1200,
      boundObjectRef: null,
    });
    const [, payload = ""] = answer.textAt("status.token").split(".");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
    assert.equal(claims.sub, `system:serviceaccount:${namespace}:one`);
    assert.deepEqual(claims.aud, ["them"]);
    assert.equal(claims.exp - claims.iat, 1200);
    assert.equal(claims["kubernetes.io"].serviceaccount.uid, account.uid);
    assert.equal(Date.parse(answer.textAt("status.expirationTimestamp")) / 1000, claims.exp);
  });

  it("a token that lives too short", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/serviceaccounts`;
    const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "one" } };
    await target.create(path, account);
    const message = "Invalid value: 60: may not specify a duration less than 10 minutes";
    const answer = await target.post(`${path}/one/token`, {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { expirationSeconds: 60 },
    });
    answer.refused({
      code: 422,
      reason: "Invalid",
      message: `TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: ${message}`,
      details: {
        group: "authentication.k8s.io",
        kind: "TokenRequest",
        causes: [{ reason: "FieldValueInvalid", message, field: "spec.expirationSeconds" }],
      },
    });
  });

  it("a pod's spec is settled, but for its image", async () => {
    const path = await pods();
    await target.create(path, pod("one"));
    const image = await target.patch(`${path}/one`, "strategic", {
      spec: { containers: [{ name: "main", image: "example/image:2" }] },
    });
    assert.equal(image.expect(200).at("metadata.generation"), 2);
    const refused = await target.patch(`${path}/one`, "strategic", {
      spec: { restartPolicy: "Never" },
    });
    refused.expect(422);
    assert.match(
      refused.textAt("message"),
      /^Pod "one" is invalid: spec: Forbidden: pod updates may not change fields other than `spec\.containers\[\*\]\.image`,`spec\.initContainers\[\*\]\.image`,`spec\.activeDeadlineSeconds`,`spec\.tolerations` \(only additions to existing tolerations\),`spec\.terminationGracePeriodSeconds` \(allow it to be set to 1 if it was previously negative\)\n/,
    );
  });

  it("a status that a kind has as fields is read back", async () => {
    const path = await apps("deployments");
    await target.create(path, deployment("one"));
    const status = { observedGeneration: 1, replicas: 1, readyReplicas: 1, availableReplicas: 1 };
    const patched = await target.patch(`${path}/one/status`, "merge", { status });
    assert.deepEqual(lasting(patched.expect(200).body)["status"], status);
  });
}
