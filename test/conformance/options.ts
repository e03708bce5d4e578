/** Options of writes: dryRun and fieldValidation. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { lasting } from "./answer.ts";
import { adapter, configMap, deployment, GROUP } from "./objects.ts";
import type { Target } from "./target.ts";

export function optionTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
  const deployments = async () =>
    `/apis/apps/v1/namespaces/${await target.namespace()}/deployments`;

  it("dryRun of a create says what would be, and leaves nothing", async () => {
    const path = await maps();
    const answer = (await target.post(`${path}?dryRun=All`, configMap("one"))).expect(201);
    assert.equal(answer.at("metadata.resourceVersion"), undefined);
    assert.match(answer.uid, /^[0-9a-f-]{36}$/);
    assert.deepEqual(answer.at("data"), { a: "1" });
    (await target.get(`${path}/one`)).expect(404);
  });

  it("dryRun of an update, a patch and a delete", async () => {
    const path = await adapters();
    const made = await target.create(path, adapter("one"));
    const put = await target.put(`${path}/one?dryRun=All`, {
      ...made.body,
      spec: { ...adapter("one").spec, baseModel: "b" },
    });
    assert.equal(put.expect(200).at("spec.baseModel"), "b");
    assert.equal(put.at("metadata.generation"), 2);
    assert.equal(put.resourceVersion, made.resourceVersion);
    const patch = { spec: { baseModel: "c" } };
    const patched = await target.patch(`${path}/one?dryRun=All`, "merge", patch);
    assert.equal(patched.expect(200).at("spec.baseModel"), "c");
    (await target.delete(`${path}/one?dryRun=All`)).expect(200);
    assert.deepEqual((await target.get(`${path}/one`)).body, made.body);
  });

  it("dryRun in the body of a delete", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    (await target.delete(`${path}/one`, { dryRun: ["All"] })).expect(200);
    (await target.get(`${path}/one`)).expect(200);
  });

  it("dryRun still refuses", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    (await target.post(`${path}?dryRun=All`, configMap("one"))).expect(409);
    const url = `${await adapters()}?dryRun=All`;
    (await target.post(url, adapter("one", { replicas: 2 }))).expect(422);
  });

  it("dryRun of something else", async () => {
    const message = 'Unsupported value: ["Odd"]: supported values: "All"';
    (await target.post(`${await maps()}?dryRun=Odd`, configMap("one"))).refused({
      code: 422,
      reason: "Invalid",
      message: `CreateOptions.meta.k8s.io "" is invalid: dryRun: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "CreateOptions",
        causes: [{ reason: "FieldValueNotSupported", message, field: "dryRun" }],
      },
    });
  });

  const unknown = { ...adapter("one", { unknown: 1 }), other: 2 };

  it("fieldValidation Strict: unknown fields of a custom object", async () => {
    (await target.post(`${await adapters()}?fieldValidation=Strict`, unknown)).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'ModelAdapter in version "v1alpha1" cannot be handled as a ModelAdapter: strict decoding error: unknown field "other", unknown field "spec.unknown"',
    });
  });

  it("fieldValidation Strict: unknown fields of a built-in kind", async () => {
    const path = await deployments();
    const body = { ...deployment("one", { unknown: 1 }), other: 2 };
    (await target.post(`${path}?fieldValidation=Strict`, body)).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.unknown", unknown field "other"',
    });
  });

  it("fieldValidation Strict: unknown fields in metadata", async () => {
    const body = configMap("one", {}, { odd: 1 });
    (await target.post(`${await maps()}?fieldValidation=Strict`, body)).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "metadata.odd"',
    });
    const custom = adapter("one", {}, { odd: 1 });
    (await target.post(`${await adapters()}?fieldValidation=Strict`, custom)).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'ModelAdapter in version "v1alpha1" cannot be handled as a ModelAdapter: strict decoding error: unknown field "metadata.odd"',
    });
  });

  it("fieldValidation Warn, the default: warnings, and the fields are dropped", async () => {
    for (const query of ["", "?fieldValidation=Warn"]) {
      const made = (await target.post((await adapters()) + query, unknown)).expect(201);
      assert.deepEqual(made.warnings, ['unknown field "other"', 'unknown field "spec.unknown"']);
      assert.equal(made.at("spec.unknown"), undefined);
      const built = await target.post((await deployments()) + query, {
        ...deployment("one", { unknown: 1 }),
      });
      assert.deepEqual(built.expect(201).warnings, ['unknown field "spec.unknown"']);
    }
  });

  it("fieldValidation Ignore: not a word", async () => {
    const made = await target.post(`${await adapters()}?fieldValidation=Ignore`, unknown);
    assert.deepEqual(made.expect(201).warnings, []);
    assert.deepEqual(lasting(made.body)["spec"], {
      ...adapter("one").spec,
      schedulerName: "default",
    });
  });

  const twice = (namespaced: string) =>
    `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"${namespaced}"},"data":{"a":"1"},"data":{"a":"2","a":"3"}}`;

  it("duplicate fields: Strict", async () => {
    (await target.post(`${await maps()}?fieldValidation=Strict`, twice("one"))).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "data", duplicate field "data.a"',
    });
  });

  it("duplicate fields: Warn", async () => {
    const made = (await target.post(await maps(), twice("one"))).expect(201);
    assert.deepEqual(made.warnings, ['duplicate field "data"', 'duplicate field "data.a"']);
    assert.deepEqual(made.at("data"), { a: "3" });
  });

  it("duplicate fields of a custom object", async () => {
    const text = JSON.stringify(adapter("one")).replace(
      '"baseModel":"base"',
      '"baseModel":"a","baseModel":"b"',
    );
    const path = await adapters();
    (await target.post(`${path}?fieldValidation=Strict`, text)).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'ModelAdapter in version "v1alpha1" cannot be handled as a ModelAdapter: strict decoding error: duplicate field "spec.baseModel"',
    });
    const made = (await target.post(path, text)).expect(201);
    assert.deepEqual(made.warnings, ['duplicate field "spec.baseModel"']);
    assert.equal(made.at("spec.baseModel"), "b");
  });

  it("Strict of a patch", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    const patch = { spec: { unknown: 1 } };
    const answer = await target.patch(`${path}/one?fieldValidation=Strict`, "merge", patch);
    answer.expect(422);
    // In between stands the whole patched object.
    assert.match(
      answer.textAt("message"),
      /^ "" is invalid: patch: Invalid value: "\{.*\}": strict decoding error: unknown field "spec\.unknown"$/,
    );
    assert.equal(answer.at("details.causes.0.field"), "patch");
  });

  it("Strict of a server-side apply", async () => {
    const path = await adapters();
    const query = "fieldManager=me&fieldValidation=Strict";
    (await target.patch(`${path}/one?${query}`, "apply", adapter("one", { unknown: 1 }))).refused({
      code: 500,
      message:
        "failed to create typed patch object (/one; model.aibrix.ai/v1alpha1, Kind=ModelAdapter): .spec.unknown: field not declared in schema",
    });
  });

  it("Strict of a patch of a built-in kind", async () => {
    const path = await deployments();
    await target.create(path, deployment("one"));
    const patch = { spec: { unknown: 1 } };
    const message =
      'Invalid value: "map[spec:map[unknown:1]]": strict decoding error: unknown field "spec.unknown"';
    (await target.patch(`${path}/one?fieldValidation=Strict`, "strategic", patch)).refused({
      code: 422,
      reason: "Invalid",
      message: ` "" is invalid: patch: ${message}`,
      details: { causes: [{ reason: "FieldValueInvalid", message, field: "patch" }] },
    });
  });

  it("fieldValidation of something else", async () => {
    const message = 'Unsupported value: "Odd": supported values: "", "Ignore", "Strict", "Warn"';
    (await target.post(`${await maps()}?fieldValidation=Odd`, configMap("one"))).refused({
      code: 422,
      reason: "Invalid",
      message: `CreateOptions.meta.k8s.io "" is invalid: fieldValidation: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "CreateOptions",
        causes: [{ reason: "FieldValueNotSupported", message, field: "fieldValidation" }],
      },
    });
  });
}
