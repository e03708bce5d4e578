/** How objects go: preconditions, finalizers, grace, whole collections. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { JsonObject } from "#base/json.ts";
import { adapter, configMap, GROUP, pod } from "./objects.ts";
import type { Target } from "./target.ts";

const OTHER_UID = "11111111-2222-3333-4444-555555555555";
const KEEP = "example.com/keep";

export function deleteTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const pods = async () => `/api/v1/namespaces/${await target.namespace()}/pods`;
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;

  it("uid precondition", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    (await target.delete(`${path}/one`, { preconditions: { uid: OTHER_UID } })).refused({
      code: 409,
      reason: "Conflict",
      message: `Operation cannot be fulfilled on ConfigMap "one": the UID in the precondition (${OTHER_UID}) does not match the UID in record (${made.uid}). The object might have been deleted and then recreated`,
      details: { name: "one", kind: "ConfigMap" },
    });
    (await target.delete(`${path}/one`, { preconditions: { uid: made.uid } })).expect(200);
  });

  it("resourceVersion precondition", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    const stale = made.resourceVersion;
    const now = await target.patch(`${path}/one`, "merge", { data: { b: "2" } });
    const answer = await target.delete(`${path}/one`, {
      preconditions: { resourceVersion: stale },
    });
    answer.refused({
      code: 409,
      reason: "Conflict",
      message: `Operation cannot be fulfilled on ConfigMap "one": the ResourceVersion in the precondition (${stale}) does not match the ResourceVersion in record (${now.resourceVersion}). The object might have been modified`,
      details: { name: "one", kind: "ConfigMap" },
    });
    const preconditions = { resourceVersion: now.resourceVersion };
    (await target.delete(`${path}/one`, { preconditions })).expect(200);
  });

  it("uid precondition of a custom object", async () => {
    const path = await adapters();
    const made = await target.create(path, adapter("one"));
    (await target.delete(`${path}/one`, { preconditions: { uid: OTHER_UID } })).refused({
      code: 409,
      reason: "Conflict",
      message: `Operation cannot be fulfilled on ModelAdapter.model.aibrix.ai "one": the UID in the precondition (${OTHER_UID}) does not match the UID in record (${made.uid}). The object might have been deleted and then recreated`,
      details: { name: "one", group: "model.aibrix.ai", kind: "ModelAdapter" },
    });
  });

  it("options in the query", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const answer = await target.delete(
      `${path}/one?gracePeriodSeconds=0&propagationPolicy=Background`,
    );
    answer.expect(200);
  });

  it("an unknown propagationPolicy", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const message =
      'Unsupported value: "Odd": supported values: "Foreground", "Background", "Orphan", "nil"';
    (await target.delete(`${path}/one`, { propagationPolicy: "Odd" })).refused({
      code: 422,
      reason: "Invalid",
      message: `DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "DeleteOptions",
        causes: [{ reason: "FieldValueNotSupported", message, field: "propagationPolicy" }],
      },
    });
  });

  it("orphanDependents and propagationPolicy at once", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const options = { propagationPolicy: "Background", orphanDependents: true };
    const message =
      'Invalid value: "Background": orphanDependents and deletionPropagation cannot be both set';
    (await target.delete(`${path}/one`, options)).refused({
      code: 422,
      reason: "Invalid",
      message: `DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "DeleteOptions",
        causes: [{ reason: "FieldValueInvalid", message, field: "propagationPolicy" }],
      },
    });
  });

  it("a finalizer keeps an object until it is removed", async () => {
    const path = await adapters();
    const made = await target.create(path, adapter("one", {}, { finalizers: [KEEP] }));
    const marked = (await target.delete(`${path}/one`)).expect(200);
    assert.equal(marked.at("kind"), "ModelAdapter");
    assert.match(marked.textAt("metadata.deletionTimestamp"), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.equal(marked.at("metadata.deletionGracePeriodSeconds"), 0);
    assert.equal(marked.at("metadata.generation"), 2);
    const again = (await target.delete(`${path}/one`)).expect(200);
    assert.deepEqual(again.body, marked.body, "a second delete changes nothing");
    const freed = await target.patch(`${path}/one`, "merge", { metadata: { finalizers: [] } });
    assert.equal(freed.expect(200).uid, made.uid);
    assert.equal(freed.at("metadata.finalizers"), undefined);
    (await target.get(`${path}/one`)).expect(404);
  });

  it("a finalizer, as a watch sees it", async () => {
    const path = await maps();
    await using watch = await target.watch(path);
    await target.create(path, configMap("one", {}, { finalizers: [KEEP, "example.com/two"] }));
    await target.delete(`${path}/one`);
    await target.patch(`${path}/one`, "merge", { metadata: { finalizers: [KEEP] } });
    await target.patch(`${path}/one`, "merge", { metadata: { finalizers: [] } });
    assert.deepEqual(await watch.take(4), [
      "ADDED one",
      "MODIFIED one",
      "MODIFIED one",
      "DELETED one",
    ]);
  });

  it("no finalizer can be added to an object that is going", async () => {
    const path = await maps();
    await target.create(path, configMap("one", {}, { finalizers: [KEEP] }));
    await target.delete(`${path}/one`);
    const finalizers = [KEEP, "example.com/more"];
    const answer = await target.patch(`${path}/one`, "merge", { metadata: { finalizers } });
    const message =
      'Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/more"}';
    const cause = { reason: "FieldValueForbidden", message, field: "metadata.finalizers" };
    answer.refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "one" is invalid: metadata.finalizers: ${message}`,
      // Two validations find it, and the message merges what the causes do not.
      details: { name: "one", kind: "ConfigMap", causes: [cause, cause] },
    });
    await target.patch(`${path}/one`, "merge", { metadata: { finalizers: null } });
  });

  it("an object that is going can still be changed", async () => {
    const path = await maps();
    await target.create(path, configMap("one", {}, { finalizers: [KEEP] }));
    await target.delete(`${path}/one`);
    const patched = await target.patch(`${path}/one`, "merge", { data: { b: "2" } });
    assert.deepEqual(patched.expect(200).at("data"), { b: "2" });
    await target.patch(`${path}/one`, "merge", { metadata: { finalizers: null } });
  });

  it("a create under the name of an object that is going", async () => {
    const path = await maps();
    await target.create(path, configMap("one", {}, { finalizers: [KEEP] }));
    await target.delete(`${path}/one`);
    (await target.post(path, configMap("one"))).refused({
      code: 409,
      reason: "AlreadyExists",
      message: 'object is being deleted: configmaps "one" already exists',
      details: { name: "one", kind: "configmaps" },
    });
    await target.patch(`${path}/one`, "merge", { metadata: { finalizers: null } });
  });

  it("a collection, with selectors", async () => {
    const path = await maps();
    for (const [name, a] of [
      ["one", "1"],
      ["two", "1"],
      ["three", "2"],
    ] as const)
      await target.create(path, configMap(name, {}, { labels: { a } }));
    const deleted = (await target.delete(`${path}?labelSelector=a%3D1`)).expect(200);
    assert.equal(deleted.at("kind"), "ConfigMapList");
    assert.deepEqual(deleted.names, ["one", "two"]);
    assert.deepEqual((await target.get(path)).names, ["three"]);
    const query = "fieldSelector=metadata.name%3Dthree&dryRun=All";
    (await target.delete(`${path}?${query}`)).expect(200);
    assert.deepEqual((await target.get(path)).names, ["three"]);
    (await target.delete(`${path}?fieldSelector=metadata.name%3Dthree`)).expect(200);
    assert.deepEqual((await target.get(path)).names, []);
  });

  it("a collection of custom objects", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    await target.create(path, adapter("two", {}, { finalizers: [KEEP] }));
    const deleted = (await target.delete(path)).expect(200);
    assert.equal(deleted.at("kind"), "ModelAdapterList");
    assert.deepEqual(deleted.names, ["one", "two"]);
    assert.deepEqual((await target.get(path)).names, ["two"]);
    await target.patch(`${path}/two`, "merge", { metadata: { finalizers: null } });
    assert.deepEqual((await target.get(path)).names, []);
  });

  it("a pod that is on no node goes at once", async () => {
    const path = await pods();
    await target.create(path, pod("one"));
    const deleted = (await target.delete(`${path}/one`)).expect(200);
    assert.equal(deleted.at("kind"), "Pod");
    assert.equal(deleted.at("metadata.deletionGracePeriodSeconds"), 0);
    (await target.get(`${path}/one`)).expect(404);
  });

  it("a pod on a node is given its time", async () => {
    const path = await pods();
    await target.create(path, pod("one", { nodeName: "n1" }));
    await using watch = await target.watch(path);
    const marked = (await target.delete(`${path}/one`)).expect(200);
    assert.equal(marked.at("metadata.deletionGracePeriodSeconds"), 30);
    assert.equal(marked.at("metadata.generation"), 2);
    const due = Date.parse(marked.textAt("metadata.deletionTimestamp"));
    const created = Date.parse(marked.textAt("metadata.creationTimestamp"));
    assert.ok(due - created >= 30_000 && due - created < 60_000);
    const shorter = (await target.delete(`${path}/one`, { gracePeriodSeconds: 5 })).expect(200);
    assert.equal(shorter.at("metadata.deletionGracePeriodSeconds"), 5);
    const longer = (await target.delete(`${path}/one`, { gracePeriodSeconds: 50 })).expect(200);
    assert.equal(longer.at("metadata.deletionGracePeriodSeconds"), 5, "never longer");
    (await target.delete(`${path}/one`, { gracePeriodSeconds: 0 })).expect(200);
    (await target.get(`${path}/one`)).expect(404);
    assert.deepEqual(await watch.take(5), [
      "ADDED one",
      "MODIFIED one",
      "MODIFIED one",
      // Its grace period is 0, for which it is not deleted, but updated and then deleted.
      "MODIFIED one",
      "DELETED one",
    ]);
  });

  it("a pod whose own grace period is 0 goes at once", async () => {
    const path = await pods();
    await target.create(path, pod("one", { nodeName: "n1", terminationGracePeriodSeconds: 0 }));
    (await target.delete(`${path}/one`)).expect(200);
    (await target.get(`${path}/one`)).expect(404);
  });

  for (const phase of ["Succeeded", "Failed"]) {
    it(`a pod that has ${phase.toLowerCase()} goes at once`, async () => {
      const path = await pods();
      await target.create(path, pod("one", { nodeName: "n1" }));
      (await target.patch(`${path}/one/status`, "merge", { status: { phase } })).expect(200);
      (await target.delete(`${path}/one`)).expect(200);
      (await target.get(`${path}/one`)).expect(404);
    });
  }

  it("a pod with a finalizer and no time left stays until it is freed", async () => {
    const path = await pods();
    await target.create(path, pod("one", { nodeName: "n1" }, { finalizers: [KEEP] }));
    (await target.delete(`${path}/one`, { gracePeriodSeconds: 0 })).expect(200);
    const left = (await target.get(`${path}/one`)).expect(200);
    assert.equal(left.at("metadata.deletionGracePeriodSeconds"), 0);
    await target.patch(`${path}/one`, "merge", { metadata: { finalizers: null } });
    (await target.get(`${path}/one`)).expect(404);
  });

  it("a negative grace period counts as one second", async () => {
    const path = await pods();
    await target.create(path, pod("one", { nodeName: "n1" }));
    const options: JsonObject = { gracePeriodSeconds: -5 };
    const answer = await target.delete(`${path}/one`, options);
    assert.equal(answer.expect(200).at("metadata.deletionGracePeriodSeconds"), 1);
  });

  it("foreground marks an object that has nobody below it, then it goes", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    await using watch = await target.watch(path);
    const answer = await target.delete(`${path}/one`, { propagationPolicy: "Foreground" });
    assert.equal(answer.expect(200).at("kind"), "ConfigMap");
    assert.deepEqual(answer.at("metadata.finalizers"), ["foregroundDeletion"]);
    assert.deepEqual(await watch.take(3), ["ADDED one", "MODIFIED one", "DELETED one"]);
  });
}
