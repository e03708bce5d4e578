import assert from "node:assert/strict";
import { it } from "node:test";
import { invalidAdapter } from "./model-adapter.ts";
import { adapter, configMap, deployment, GROUP, pod } from "./objects.ts";
import type { Target } from "./target.ts";

export function patchTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
  const deployments = async () =>
    `/apis/apps/v1/namespaces/${await target.namespace()}/deployments`;

  it("merge: null removes, objects merge, arrays are replaced", async () => {
    const path = await adapters();
    await target.create(path, adapter("one", { additionalConfig: { a: "1", b: "2" } }));
    const patched = await target.patch(`${path}/one`, "merge", {
      spec: {
        additionalConfig: { a: null, c: "3" },
        podSelector: { matchExpressions: [{ key: "k", operator: "Exists" }] },
      },
    });
    assert.deepEqual(patched.expect(200).at("spec"), {
      baseModel: "base",
      artifactURL: "huggingface://org/repo",
      schedulerName: "default",
      additionalConfig: { b: "2", c: "3" },
      podSelector: {
        matchLabels: { "model.aibrix.ai/name": "base" },
        matchExpressions: [{ key: "k", operator: "Exists" }],
      },
    });
  });

  it("JSON: all operations in order", async () => {
    const path = await maps();
    await target.create(path, configMap("one", { a: "1", b: "2" }));
    const patched = await target.patch(`${path}/one`, "json", [
      { op: "test", path: "/data/a", value: "1" },
      { op: "add", path: "/data/c", value: "3" },
      { op: "replace", path: "/data/a", value: "4" },
      { op: "remove", path: "/data/b" },
      { op: "copy", from: "/data/a", path: "/data/d" },
      { op: "move", from: "/data/c", path: "/data/x~1y" },
    ]);
    // The slash makes it an invalid key: the operations were applied, validation refused.
    const message =
      "Invalid value: \"x/y\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    patched.refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "one" is invalid: data[x/y]: ${message}`,
      details: {
        name: "one",
        kind: "ConfigMap",
        causes: [{ reason: "FieldValueInvalid", message, field: "data[x/y]" }],
      },
    });
    const valid = await target.patch(`${path}/one`, "json", [
      { op: "test", path: "/data/a", value: "1" },
      { op: "add", path: "/data/c", value: "3" },
      { op: "replace", path: "/data/a", value: "4" },
      { op: "remove", path: "/data/b" },
      { op: "copy", from: "/data/a", path: "/data/d" },
      { op: "move", from: "/data/c", path: "/data/e" },
    ]);
    assert.deepEqual(valid.expect(200).at("data"), { a: "4", d: "4", e: "3" });
  });

  for (const [what, operation, message] of [
    ["no operation", 1, "number into Go value of type handlers.jsonPatchOp"],
    ["no name", { op: 1, path: "/a" }, "number into Go struct field jsonPatchOp.op of type string"],
    [
      "no path",
      { op: "add", path: 1 },
      "number into Go struct field jsonPatchOp.path of type string",
    ],
  ] as const) {
    it(`JSON: an operation of the wrong type: ${what}`, async () => {
      const path = await maps();
      await target.create(path, configMap("one"));
      (await target.patch(`${path}/one`, "json", [operation])).refused({
        code: 400,
        reason: "BadRequest",
        message: `error decoding patch: json: cannot unmarshal ${message}`,
      });
    });
  }

  for (const [what, operations] of Object.entries({
    "an unknown name": [{ op: "frob", path: "/data/a" }],
    "no name": [{ path: "/data/a" }],
    "no path": [{ op: "add", value: "1" }],
    "a path that is none": [{ op: "add", path: "data", value: "1" }],
    // Each copy holds all the copies before it.
    "copies of copies": Array.from({ length: 40 }, (_, i) => ({
      op: "copy",
      from: "/metadata",
      path: `/metadata/annotations/k${i}`,
    })),
  })) {
    it(`JSON: ${what}`, async () => {
      const path = await maps();
      await target.create(path, configMap("one", {}, { annotations: { a: "b" } }));
      (await target.patch(`${path}/one`, "json", operations)).refused({
        code: 422,
        reason: "Invalid",
        message: "the server rejected our request due to an error in our request",
        details: {},
      });
    });
  }

  it("JSON: a value that is left out is null", async () => {
    const path = await maps();
    await target.create(path, configMap("one", { a: "1", b: "2" }));
    const patched = await target.patch(`${path}/one`, "json", [{ op: "add", path: "/data/a" }]);
    assert.equal(patched.expect(200).at("data.a") ?? "", "");
  });

  it("JSON: too many operations", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const operation = { op: "test", path: "/data/none", value: null };
    const operations = Array.from({ length: 10_001 }, () => operation);
    (await target.patch(`${path}/one`, "json", operations)).refused({
      code: 413,
      reason: "RequestEntityTooLarge",
      message:
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
    });
  });

  for (const [kind, prefix] of [
    ["merge", "error decoding patch: "],
    ["strategic", ""],
  ] as const) {
    it(`${kind}: a body that goes too deep`, async () => {
      const path = await maps();
      await target.create(path, configMap("one"));
      (await target.patch(`${path}/one`, kind, nested(50_000))).refused({
        code: 400,
        reason: "BadRequest",
        message: `${prefix}invalid character '{' exceeded max depth`,
      });
    });

    it(`${kind}: a body that goes deep`, async () => {
      const path = await maps();
      await target.create(path, configMap("one"));
      (await target.patch(`${path}/one`, kind, nested(900))).expect(200);
    });
  }

  it("JSON: a test that fails", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const patch = [
      { op: "add", path: "/data/b", value: "2" },
      { op: "test", path: "/data/a", value: "other" },
    ];
    (await target.patch(`${path}/one`, "json", patch)).refused({
      code: 422,
      reason: "Invalid",
      message: "the server rejected our request due to an error in our request",
      details: {},
    });
    assert.deepEqual((await target.get(`${path}/one`)).at("data"), { a: "1" });
  });

  it("JSON: a path that is not there", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const patch = [{ op: "remove", path: "/data/none" }];
    (await target.patch(`${path}/one`, "json", patch)).refused({
      code: 422,
      reason: "Invalid",
      message: "the server rejected our request due to an error in our request",
      details: {},
    });
  });

  it("JSON: of a custom object", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    const patch = [{ op: "add", path: "/spec/replicas", value: 1 }];
    const patched = await target.patch(`${path}/one`, "json", patch);
    assert.equal(patched.expect(200).at("spec.replicas"), 1);
  });

  it("JSON: a body that is no list", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    (await target.patch(`${path}/one`, "json", { op: "remove" })).refused({
      code: 400,
      reason: "BadRequest",
      message:
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
    });
  });

  it("merge: a body that is not JSON", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    (await target.patch(`${path}/one`, "merge", "{oops")).refused({
      code: 400,
      reason: "BadRequest",
      message:
        "error decoding patch: invalid character 'o' looking for beginning of object key string",
    });
  });

  it("merge: a value of the wrong type", async () => {
    const path = await deployments();
    await target.create(path, deployment("one"));
    const answer = await target.patch(`${path}/one`, "merge", { spec: { replicas: "3" } });
    answer.expect(422);
    assert.equal(answer.at("reason"), "Invalid");
    assert.equal(answer.at("details.causes.0.field"), "patch");
    // In between stands the whole patched object.
    const message = answer.textAt("message");
    assert.ok(message.startsWith(' "" is invalid: patch: Invalid value: "{'), message);
    assert.match(
      message,
      /\}": json: cannot unmarshal string into Go struct field DeploymentSpec\.spec\.replicas of type int32$/,
    );
  });

  it("strategic: containers merge by name", async () => {
    const path = await deployments();
    await target.create(path, deployment("one"));
    const patched = await target.patch(`${path}/one`, "strategic", {
      spec: {
        template: {
          spec: {
            containers: [
              { name: "side", image: "example/side:1" },
              { name: "main", image: "example/image:2" },
            ],
          },
        },
      },
    });
    const containers = patched.expect(200).at("spec.template.spec.containers");
    assert.ok(Array.isArray(containers));
    assert.deepEqual(
      containers.map((one) => [Object(one)["name"], Object(one)["image"]]),
      [
        ["side", "example/side:1"],
        ["main", "example/image:2"],
      ],
    );
  });

  it("strategic: $patch delete, $setElementOrder, $retainKeys, $deleteFromPrimitiveList", async () => {
    const path = await deployments();
    await target.create(path, deployment("one", {}, { finalizers: ["a.io/a", "a.io/b"] }));
    const two = await target.patch(`${path}/one`, "strategic", {
      spec: { template: { spec: { containers: [{ name: "side", image: "example/side:1" }] } } },
    });
    const names = (answer: typeof two) =>
      [0, 1].map((index) => answer.at(`spec.template.spec.containers.${index}.name`));
    assert.deepEqual(names(two.expect(200)), ["side", "main"]);
    const ordered = await target.patch(`${path}/one`, "strategic", {
      spec: {
        template: {
          spec: {
            "$setElementOrder/containers": [{ name: "main" }, { name: "side" }],
            containers: [{ name: "side", image: "example/side:2" }],
          },
        },
      },
    });
    assert.deepEqual(names(ordered.expect(200)), ["main", "side"]);
    const fewer = await target.patch(`${path}/one`, "strategic", {
      spec: { template: { spec: { containers: [{ name: "side", $patch: "delete" }] } } },
    });
    assert.deepEqual(names(fewer.expect(200)), ["main", undefined]);
    const recreated = await target.patch(`${path}/one`, "strategic", {
      spec: { strategy: { $retainKeys: ["type"], type: "Recreate" } },
    });
    assert.deepEqual(recreated.expect(200).at("spec.strategy"), { type: "Recreate" });
    const freed = await target.patch(`${path}/one`, "strategic", {
      metadata: { "$deleteFromPrimitiveList/finalizers": ["a.io/a"], finalizers: ["a.io/c"] },
    });
    assert.deepEqual(freed.expect(200).at("metadata.finalizers"), ["a.io/c", "a.io/b"]);
  });

  it("strategic: a pod's conditions merge by type", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/pods`;
    await target.create(path, pod("one"));
    const condition = (type: string, status: string) => ({
      status: { conditions: [{ type, status }] },
    });
    await target.patch(`${path}/one/status`, "strategic", condition("Ready", "False"));
    await target.patch(`${path}/one/status`, "strategic", condition("Other", "True"));
    const last = await target.patch(`${path}/one/status`, "strategic", condition("Ready", "True"));
    const conditions = last.expect(200).at("status.conditions");
    assert.ok(Array.isArray(conditions));
    assert.deepEqual(
      conditions.map((one) => `${Object(one)["type"]}=${Object(one)["status"]}`).sort(),
      ["Other=True", "Ready=True"],
    );
  });

  it("strategic is not for custom objects", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    (await target.patch(`${path}/one`, "strategic", {})).refused({
      code: 415,
      reason: "UnsupportedMediaType",
      message:
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    });
  });

  it("a patch of no known kind", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const answer = await target.request("PATCH", `${path}/one`, {
      body: {},
      contentType: "application/json",
    });
    answer.refused({
      code: 415,
      reason: "UnsupportedMediaType",
      message: "415: Unsupported Media Type",
      details: {},
    });
  });

  it("a patch that makes an object invalid", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    const answer = await target.patch(`${path}/one`, "merge", { spec: { replicas: 2 } });
    invalidAdapter(answer, "spec.replicas", 'Unsupported value: 2: supported values: "1"');
  });
}

/** Objects in an object that has no field of that name. */
const nested = (depth: number) => `${'{"x":'.repeat(depth)}1${"}".repeat(depth)}`;
