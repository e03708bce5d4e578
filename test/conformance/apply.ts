/** Server-side apply, and who is said to manage which fields. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { isObject, type JsonObject } from "#base/json.ts";
import { itWithKubectl } from "#test/support/programs.ts";
import { type Answer, at } from "./answer.ts";
import { adapter, configMap, deployment, GROUP } from "./objects.ts";
import type { Target } from "./target.ts";

/** managedFields without their times. */
function managers(answer: Answer): JsonObject[] {
  const fields = answer.at("metadata.managedFields");
  assert.ok(Array.isArray(fields), answer.text);
  return fields.filter(isObject).map(({ time, ...rest }) => {
    assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    return rest;
  });
}

export function applyTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const apply = (path: string, body: unknown, manager: string, more = "") =>
    target.patch(`${path}?fieldManager=${manager}${more}`, "apply", body);

  it("creates", async () => {
    const path = `${await maps()}/one`;
    const made = await apply(path, configMap("one", { a: "1" }, { labels: { l: "1" } }), "me");
    made.expect(201);
    assert.deepEqual(made.at("data"), { a: "1" });
    assert.deepEqual(managers(made), [
      {
        manager: "me",
        operation: "Apply",
        apiVersion: "v1",
        fieldsType: "FieldsV1",
        fieldsV1: {
          "f:data": { "f:a": {} },
          "f:metadata": { "f:labels": { "f:l": {} } },
        },
      },
    ]);
  });

  it("updates: what is no longer applied goes", async () => {
    const path = `${await maps()}/one`;
    await apply(path, configMap("one", { a: "1", b: "2" }), "me");
    const second = (await apply(path, configMap("one", { a: "3" }), "me")).expect(200);
    assert.deepEqual(second.at("data"), { a: "3" });
    const third = (await apply(path, configMap("one", { a: "3" }), "me")).expect(200);
    assert.equal(third.resourceVersion, second.resourceVersion, "nothing to do");
  });

  it("what somebody else manages stays", async () => {
    const path = `${await maps()}/one`;
    await apply(path, configMap("one", { a: "1", b: "2" }), "me");
    (await apply(path, configMap("one", { b: "2", c: "3" }), "other")).expect(200);
    const mine = (await apply(path, configMap("one", { a: "1" }), "me")).expect(200);
    assert.deepEqual(mine.at("data"), { a: "1", b: "2", c: "3" });
    assert.deepEqual(
      managers(mine).map(({ manager, fieldsV1 }) => [manager, fieldsV1]),
      [
        ["me", { "f:data": { "f:a": {} } }],
        ["other", { "f:data": { "f:b": {}, "f:c": {} } }],
      ],
    );
  });

  it("conflict", async () => {
    const path = `${await maps()}/one`;
    await apply(path, configMap("one", { a: "1" }), "me");
    const answer = await apply(path, configMap("one", { a: "2" }), "other");
    answer.refused({
      code: 409,
      reason: "Conflict",
      message: 'Apply failed with 1 conflict: conflict with "me": .data.a',
      details: {
        causes: [
          { reason: "FieldManagerConflict", message: 'conflict with "me"', field: ".data.a" },
        ],
      },
    });
  });

  it("conflicts with several, of which one updated", async () => {
    const path = `${await maps()}/one`;
    await apply(path, configMap("one", { a: "1", b: "1" }), "me");
    const merge = { data: { c: "1" } };
    (await target.patch(`${path}?fieldManager=editor`, "merge", merge)).expect(200);
    const answer = await apply(path, configMap("one", { a: "2", b: "2", c: "2" }), "other");
    assert.equal(answer.expect(409).at("reason"), "Conflict");
    assert.equal(
      answer.at("message"),
      'Apply failed with 3 conflicts: conflicts with "editor" using v1:\n- .data.c\nconflicts with "me":\n- .data.a\n- .data.b',
    );
    const causes = answer.at("details.causes");
    assert.ok(Array.isArray(causes));
    // In which order the managers come is left to chance there.
    assert.deepEqual(
      causes.map((one) => `${at(one, "field")} ${at(one, "message")} ${at(one, "reason")}`).sort(),
      [
        '.data.a conflict with "me" FieldManagerConflict',
        '.data.b conflict with "me" FieldManagerConflict',
        '.data.c conflict with "editor" using v1 FieldManagerConflict',
      ],
    );
  });

  it("force takes fields over", async () => {
    const path = `${await maps()}/one`;
    await apply(path, configMap("one", { a: "1", b: "1" }), "me");
    const taken = await apply(path, configMap("one", { a: "2" }), "other", "&force=true");
    assert.deepEqual(taken.expect(200).at("data"), { a: "2", b: "1" });
    assert.deepEqual(
      managers(taken).map(({ manager, fieldsV1 }) => [manager, fieldsV1]),
      [
        ["me", { "f:data": { "f:b": {} } }],
        ["other", { "f:data": { "f:a": {} } }],
      ],
    );
  });

  it("the same value is shared", async () => {
    const path = `${await maps()}/one`;
    await apply(path, configMap("one", { a: "1" }), "me");
    const shared = (await apply(path, configMap("one", { a: "1" }), "other")).expect(200);
    assert.deepEqual(
      shared.at("metadata.managedFields.0"),
      // An apply that changes no value leaves no time, and what has no time comes first.
      {
        manager: "other",
        operation: "Apply",
        apiVersion: "v1",
        fieldsType: "FieldsV1",
        fieldsV1: { "f:data": { "f:a": {} } },
      },
    );
    assert.equal(shared.at("metadata.managedFields.1.manager"), "me");
  });

  it("dryRun", async () => {
    const path = `${await maps()}/one`;
    const made = await apply(path, configMap("one"), "me", "&dryRun=All");
    made.expect(201);
    (await target.get(path)).expect(404);
  });

  it("without a manager", async () => {
    const path = `${await maps()}/one`;
    const message = "Required value: is required for apply patch";
    (await target.patch(path, "apply", configMap("one"))).refused({
      code: 422,
      reason: "Invalid",
      message: `PatchOptions.meta.k8s.io "" is invalid: fieldManager: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "PatchOptions",
        causes: [{ reason: "FieldValueRequired", message, field: "fieldManager" }],
      },
    });
  });

  it("force is only for apply", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const message = "Forbidden: may not be specified for non-apply patch";
    (await target.patch(`${path}/one?force=true`, "merge", {})).refused({
      code: 422,
      reason: "Invalid",
      message: `PatchOptions.meta.k8s.io "" is invalid: force: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "PatchOptions",
        causes: [{ reason: "FieldValueForbidden", message, field: "force" }],
      },
    });
  });

  it("a body without a kind", async () => {
    const path = `${await maps()}/one`;
    (await apply(path, { metadata: { name: "one" } }, "me")).refused({
      code: 400,
      reason: "BadRequest",
      message: "invalid object type: /, Kind=",
    });
  });

  it("managedFields in the body", async () => {
    const path = `${await maps()}/one`;
    const body = configMap("one", {}, { managedFields: [{ manager: "x" }] });
    (await apply(path, body, "me")).refused({
      code: 400,
      reason: "BadRequest",
      message: "metadata.managedFields must be nil",
    });
  });

  it("with a resourceVersion of an object that is not there: creates it", async () => {
    const path = `${await maps()}/one`;
    (await apply(path, configMap("one", {}, { resourceVersion: "1" }), "me")).expect(201);
  });

  it("with a stale resourceVersion", async () => {
    const path = `${await maps()}/one`;
    const made = await apply(path, configMap("one", { a: "1" }), "me");
    await apply(path, configMap("one", { a: "2" }), "me");
    const meta = { resourceVersion: made.resourceVersion };
    (await apply(path, configMap("one", { a: "3" }, meta), "me")).refused({
      code: 409,
      reason: "Conflict",
      message:
        'Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply your changes to the latest version and try again',
      details: { name: "one", kind: "configmaps" },
    });
  });

  it("YAML bodies", async () => {
    const path = `${await maps()}/one`;
    const yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  a: b\n";
    assert.deepEqual((await apply(path, yaml, "me")).expect(201).at("data"), { a: "b" });
  });

  it("custom objects: defaults belong to nobody", async () => {
    const path = `${GROUP}/namespaces/${await target.namespace()}/modeladapters/one`;
    const made = (await apply(path, adapter("one", { replicas: 1 }), "me")).expect(201);
    assert.equal(made.at("spec.schedulerName"), "default");
    assert.deepEqual(managers(made), [
      {
        manager: "me",
        operation: "Apply",
        apiVersion: "model.aibrix.ai/v1alpha1",
        fieldsType: "FieldsV1",
        fieldsV1: {
          "f:spec": {
            "f:artifactURL": {},
            "f:baseModel": {},
            // Atomic by the schema's x-kubernetes-map-type.
            "f:podSelector": {},
            "f:replicas": {},
          },
        },
      },
    ]);
    const without = (await apply(path, adapter("one"), "me")).expect(200);
    assert.equal(without.at("spec.replicas"), undefined);
  });

  it("status is applied on its own", async () => {
    const path = `${GROUP}/namespaces/${await target.namespace()}/modeladapters/one`;
    await apply(path, adapter("one"), "me");
    const body = {
      apiVersion: "model.aibrix.ai/v1alpha1",
      kind: "ModelAdapter",
      status: {
        conditions: [
          {
            type: "Ready",
            status: "True",
            lastTransitionTime: "2026-01-01T00:00:00Z",
            reason: "R",
            message: "m",
          },
        ],
      },
    };
    const answer = (await apply(`${path}/status`, body, "controller")).expect(200);
    const mine = managers(answer).find((one) => one["manager"] === "controller");
    assert.deepEqual(mine, {
      manager: "controller",
      operation: "Apply",
      apiVersion: "model.aibrix.ai/v1alpha1",
      subresource: "status",
      fieldsType: "FieldsV1",
      fieldsV1: {
        "f:status": {
          "f:conditions": {
            'k:{"type":"Ready"}': {
              ".": {},
              "f:lastTransitionTime": {},
              "f:message": {},
              "f:reason": {},
              "f:status": {},
              "f:type": {},
            },
          },
        },
      },
    });
  });

  it("lists that are maps: each applies its own entries", async () => {
    const path = `/apis/apps/v1/namespaces/${await target.namespace()}/deployments/one`;
    (await apply(path, deployment("one"), "me")).expect(201);
    const side = {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "one" },
      spec: {
        template: { spec: { containers: [{ name: "side", image: "example/side:1" }] } },
      },
    };
    const both = (await apply(path, side, "other")).expect(200);
    assert.equal(both.at("spec.template.spec.containers.0.name"), "main");
    assert.equal(both.at("spec.template.spec.containers.1.name"), "side");
    const one = (await apply(path, deployment("one", {}, {}), "me")).expect(200);
    assert.equal(one.at("spec.template.spec.containers.1.name"), "side");
  });

  it("an update is recorded under its manager and its time", async () => {
    const path = await maps();
    const options = { headers: { "user-agent": "curl/8.0 (something)" } };
    const made = await target.request("POST", path, { ...options, body: configMap("one") });
    assert.deepEqual(managers(made.expect(201)), [
      {
        manager: "curl",
        operation: "Update",
        apiVersion: "v1",
        fieldsType: "FieldsV1",
        fieldsV1: { "f:data": { ".": {}, "f:a": {} } },
      },
    ]);
    const named = await target.request("PATCH", `${path}/one?fieldManager=editor`, {
      ...options,
      contentType: "application/merge-patch+json",
      body: { data: { b: "2" }, metadata: { annotations: { n: "1" } } },
    });
    const editor = managers(named.expect(200)).find((one) => one["manager"] === "editor");
    assert.deepEqual(editor?.["fieldsV1"], {
      "f:data": { "f:b": {} },
      "f:metadata": { "f:annotations": { ".": {}, "f:n": {} } },
    });
  });

  itWithKubectl("an apply takes over what the same manager's client-side apply set", async () => {
    const namespace = await target.namespace();
    const first = await target.kubectl(["apply", "-f", "-"], {
      namespace,
      input: JSON.stringify(configMap("one", { a: "1", b: "2" })),
    });
    assert.equal(first.code, 0, first.stderr);
    const second = await target.kubectl(["apply", "--server-side", "-f", "-"], {
      namespace,
      input: JSON.stringify(configMap("one", { a: "1" })),
    });
    assert.equal(second.stdout, "configmap/one serverside-applied\n", second.stderr);
    const read = await target.get(`/api/v1/namespaces/${namespace}/configmaps/one`);
    assert.deepEqual(read.at("data"), { a: "1" });
  });

  it("an update that sets managedFields to an empty entry clears them", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const cleared = await target.patch(`${path}/one`, "merge", {
      metadata: { managedFields: [{}] },
    });
    assert.equal(cleared.expect(200).at("metadata.managedFields"), undefined);
  });
}
