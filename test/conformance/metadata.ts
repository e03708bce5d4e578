/** What a client may say about metadata, and what only the server says. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { JsonObject } from "#base/json.ts";
import { adapter, configMap, deployment, GROUP, lease } from "./objects.ts";
import type { Target } from "./target.ts";

export function metadataTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;

  it("generateName takes five characters that spell nothing", async () => {
    const path = await maps();
    const body: JsonObject = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { generateName: "made-" },
    };
    const [one, two] = [await target.create(path, body), await target.create(path, body)];
    assert.match(one.textAt("metadata.name"), /^made-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    assert.equal(one.at("metadata.generateName"), "made-");
    assert.notEqual(one.at("metadata.name"), two.at("metadata.name"));
  });

  it("a long generateName is cut", async () => {
    const prefix = "a".repeat(70);
    const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { generateName: prefix } };
    const name = (await target.create(await maps(), body)).textAt("metadata.name");
    assert.equal(name.length, 63);
  });

  it("uid, creationTimestamp, generation and the like of a request are overruled", async () => {
    const path = await adapters();
    const made = await target.create(
      path,
      adapter(
        "one",
        {},
        {
          uid: "11111111-2222-3333-4444-555555555555",
          creationTimestamp: "2001-01-01T00:00:00Z",
          generation: 7,
          deletionTimestamp: "2001-01-01T00:00:00Z",
          deletionGracePeriodSeconds: 3,
          selfLink: "/there",
        },
      ),
    );
    assert.notEqual(made.uid, "11111111-2222-3333-4444-555555555555");
    assert.doesNotMatch(made.textAt("metadata.creationTimestamp"), /^2001/);
    assert.equal(made.at("metadata.generation"), 1);
    assert.equal(made.at("metadata.deletionTimestamp"), undefined);
    assert.equal(made.at("metadata.deletionGracePeriodSeconds"), undefined);
    assert.equal(made.at("metadata.selfLink"), undefined);
  });

  it("an update that says other server-side metadata changes none of it", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    const updated = await target.put(
      `${path}/one`,
      configMap("one", { b: "2" }, { creationTimestamp: "2001-01-01T00:00:00Z", generation: 9 }),
    );
    assert.equal(updated.expect(200).uid, made.uid);
    assert.equal(updated.at("metadata.creationTimestamp"), made.at("metadata.creationTimestamp"));
    assert.equal(updated.at("metadata.generation"), undefined);
  });

  it("a patch of the name", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    (await target.patch(`${path}/one`, "merge", { metadata: { name: "two" } })).refused({
      code: 400,
      reason: "BadRequest",
      message: "the name of the object (two) does not match the name on the URL (one)",
    });
  });

  it("a patch of the uid", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const other = "11111111-2222-3333-4444-555555555555";
    const answer = await target.patch(`${path}/one`, "merge", { metadata: { uid: other } });
    const message = `Invalid value: "${other}": field is immutable`;
    const cause = { reason: "FieldValueInvalid", message, field: "metadata.uid" };
    answer.refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "one" is invalid: metadata.uid: ${message}`,
      // Two validations find it, and the message merges what the causes do not.
      details: { name: "one", kind: "ConfigMap", causes: [cause, cause] },
    });
  });

  it("a patch of the creationTimestamp changes nothing", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    const patch = { metadata: { creationTimestamp: "2001-01-01T00:00:00Z", generation: 5 } };
    const patched = (await target.patch(`${path}/one`, "merge", patch)).expect(200);
    assert.deepEqual(patched.body, made.body);
  });

  it("generation counts changes of what is wanted", async () => {
    const path = await adapters();
    const made = await target.create(path, adapter("one"));
    assert.equal(made.at("metadata.generation"), 1);
    const step = async (what: string, wanted: number, patch: JsonObject, sub = "") => {
      const answer = await target.patch(`${path}/one${sub}`, "merge", patch);
      assert.equal(answer.expect(200).at("metadata.generation"), wanted, what);
    };
    await step("labels", 1, { metadata: { labels: { a: "b" } } });
    await step("annotations", 1, { metadata: { annotations: { a: "b" } } });
    await step("finalizers", 1, { metadata: { finalizers: ["example.com/keep"] } });
    await step("status", 1, { status: { phase: "Running" } }, "/status");
    await step("spec", 2, { spec: { baseModel: "other" } });
    await step("the same spec", 2, { spec: { baseModel: "other" } });
    await step("no finalizers", 2, { metadata: { finalizers: null } });
  });

  it("generation of a deployment", async () => {
    const path = `/apis/apps/v1/namespaces/${await target.namespace()}/deployments`;
    await target.create(path, deployment("one"));
    const patch = async (body: JsonObject, sub = "") =>
      (await target.patch(`${path}/one${sub}`, "merge", body)).expect(200);
    const labelled = await patch({ metadata: { labels: { a: "b" } } });
    assert.equal(labelled.at("metadata.generation"), 1);
    // The one annotation's change that deployments count (older clients wrote it with the spec).
    const annotated = await patch({ metadata: { annotations: { a: "b" } } });
    assert.equal(annotated.at("metadata.generation"), 2);
    assert.equal((await patch({ spec: { replicas: 3 } })).at("metadata.generation"), 3);
    const status = await patch({ status: { replicas: 1 } }, "/status");
    assert.equal(status.at("metadata.generation"), 3);
  });

  it("deleting with a finalizer counts as a change", async () => {
    const path = await adapters();
    await target.create(path, adapter("one", {}, { finalizers: ["example.com/keep"] }));
    const deleted = (await target.delete(`${path}/one`)).expect(200);
    assert.equal(deleted.at("metadata.generation"), 2);
  });

  it("kinds without a generation have none", async () => {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${await target.namespace()}/leases`;
    assert.equal((await target.create(path, lease("one"))).at("metadata.generation"), undefined);
  });

  it("invalid labels", async () => {
    const message =
      "Invalid value: \"b!\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    (await target.post(await maps(), configMap("one", {}, { labels: { a: "b!" } }))).refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "one" is invalid: metadata.labels: ${message}`,
      details: {
        name: "one",
        kind: "ConfigMap",
        causes: [{ reason: "FieldValueInvalid", message, field: "metadata.labels" }],
      },
    });
  });

  it("a finalizer without a domain", async () => {
    const message =
      'Invalid value: "bad": name is neither a standard finalizer name nor is it fully qualified';
    (await target.post(await maps(), configMap("one", {}, { finalizers: ["bad"] }))).refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "one" is invalid: metadata.finalizers[0]: ${message}`,
      details: {
        name: "one",
        kind: "ConfigMap",
        causes: [{ reason: "FieldValueInvalid", message, field: "metadata.finalizers[0]" }],
      },
    });
  });

  it("two owners that both control", async () => {
    const owner = (name: string) => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      name,
      uid: `11111111-2222-3333-4444-55555555555${name}`,
      controller: true,
    });
    const body = configMap("one", {}, { ownerReferences: [owner("1"), owner("2")] });
    const message =
      'Invalid value: [{"apiVersion":"v1","kind":"ConfigMap","name":"1","uid":"11111111-2222-3333-4444-555555555551","controller":true},{"apiVersion":"v1","kind":"ConfigMap","name":"2","uid":"11111111-2222-3333-4444-555555555552","controller":true}]: Only one reference can have Controller set to true. Found "true" in references for ConfigMap/1 and ConfigMap/2';
    (await target.post(await maps(), body)).refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "one" is invalid: metadata.ownerReferences: ${message}`,
      details: {
        name: "one",
        kind: "ConfigMap",
        causes: [{ reason: "FieldValueInvalid", message, field: "metadata.ownerReferences" }],
      },
    });
  });
}
