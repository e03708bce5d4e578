/** The admission table of ModelAdapters: what the rules of their definition let through. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { JsonObject } from "#base/json.ts";
import { itWithKubectl } from "#test/support/programs.ts";
import { type Answer, lasting } from "./answer.ts";
import { adapter, GROUP } from "./objects.ts";
import type { Target } from "./target.ts";

const UNCHECKED = {
  reason: "FieldValueInvalid",
  message:
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
  field: "<nil>",
};
const URL_RULE =
  "must begin with huggingface://, hf://, s3://, gs://, gcs://, tos://, http://, https:// or be an absolute path";
const NAME_RULE =
  "metadata.name becomes the name of a Service: at most 63 lower-case letters, digits and '-', beginning with a letter and ending with a letter or digit";

/**
 * The refusal of an object named one for a value that its schema does not allow: the definition has
 * rules, and the API says that they were not looked at.
 */
export function invalidAdapter(
  answer: Answer,
  field: string,
  message: string,
  reason = "FieldValueNotSupported",
): void {
  answer.refused({
    code: 422,
    reason: "Invalid",
    message: `ModelAdapter.model.aibrix.ai "one" is invalid: [${field}: ${message}, <nil>: ${UNCHECKED.message}]`,
    details: {
      name: "one",
      group: "model.aibrix.ai",
      kind: "ModelAdapter",
      causes: [{ reason, message, field }, UNCHECKED],
    },
  });
}

/** The refusal of an object for one of the rules (CEL) of the definition. */
function against(answer: Answer, name: string, field: string, message: string): void {
  answer.refused({
    code: 422,
    reason: "Invalid",
    message: `ModelAdapter.model.aibrix.ai "${name}" is invalid: ${field}: ${message}`,
    details: {
      name,
      group: "model.aibrix.ai",
      kind: "ModelAdapter",
      causes: [{ reason: "FieldValueInvalid", message, field }],
    },
  });
}

export function modelAdapterTests(target: Target): void {
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;

  const admitted: Readonly<Record<string, JsonObject>> = {
    "an empty podSelector": { podSelector: {} },
    "an s3 URL": { artifactURL: "s3://test-bucket/test-model" },
    "a path": { artifactURL: "/models/adapter" },
    "one replica": { replicas: 1 },
    "a scheduler": { schedulerName: "least-adapters" },
  };
  for (const [what, spec] of Object.entries(admitted)) {
    it(`admits ${what}`, async () => {
      const made = await target.create(await adapters(), adapter("one", spec));
      const wanted = { schedulerName: "default", ...adapter("one", spec).spec };
      assert.deepEqual(made.at("spec"), wanted);
    });
  }

  for (const url of ["aabbcc", "ms://x", "hugingface://x/y"]) {
    it(`refuses the artifactURL ${url}`, async () => {
      const answer = await target.post(await adapters(), adapter("one", { artifactURL: url }));
      against(answer, "one", "spec.artifactURL", `Invalid value: "string": ${URL_RULE}`);
    });
  }

  it("refuses an empty artifactURL", async () => {
    const answer = await target.post(await adapters(), adapter("one", { artifactURL: "" }));
    const message = 'Invalid value: "": spec.artifactURL in body should be at least 1 chars long';
    // Its own rule could still be checked, so that both say what they think of it.
    const rule = `Invalid value: "string": ${URL_RULE}`;
    const cause = { reason: "FieldValueInvalid", field: "spec.artifactURL" };
    answer.refused({
      code: 422,
      reason: "Invalid",
      message: `ModelAdapter.model.aibrix.ai "one" is invalid: [spec.artifactURL: ${message}, spec.artifactURL: ${rule}]`,
      details: {
        name: "one",
        group: "model.aibrix.ai",
        kind: "ModelAdapter",
        causes: [
          { ...cause, message },
          { ...cause, message: rule },
        ],
      },
    });
  });

  for (const replicas of [0, 2]) {
    it(`refuses ${replicas} replicas`, async () => {
      const answer = await target.post(await adapters(), adapter("one", { replicas }));
      const message = `Unsupported value: ${replicas}: supported values: "1"`;
      invalidAdapter(answer, "spec.replicas", message);
    });
  }

  it("refuses an unknown scheduler", async () => {
    const answer = await target.post(await adapters(), adapter("one", { schedulerName: "x" }));
    const message = 'Unsupported value: "x": supported values: "default", "least-adapters"';
    invalidAdapter(answer, "spec.schedulerName", message);
  });

  it("refuses a missing podSelector", async () => {
    const { podSelector: _, ...spec } = adapter("one").spec;
    const answer = await target.post(await adapters(), { ...adapter("one"), spec });
    invalidAdapter(answer, "spec.podSelector", "Required value", "FieldValueRequired");
  });

  it("refuses a missing spec", async () => {
    const { spec: _, ...body } = adapter("one");
    const answer = await target.post(await adapters(), body);
    invalidAdapter(answer, "spec", "Required value", "FieldValueRequired");
  });

  it("refuses values of the wrong type", async () => {
    const answer = await target.post(await adapters(), adapter("one", { baseModel: 5 }));
    const message =
      'Invalid value: "integer": spec.baseModel in body must be of type string: "integer"';
    invalidAdapter(answer, "spec.baseModel", message, "FieldValueTypeInvalid");
  });

  for (const name of ["1one", "one.two"]) {
    it(`refuses the name ${name}`, async () => {
      const answer = await target.post(await adapters(), adapter(name));
      answer.expect(422);
      assert.equal(answer.at("details.causes.0.message"), `Invalid value: "object": ${NAME_RULE}`);
      assert.equal(answer.at("details.causes.0.field"), "<nil>");
    });
  }

  it("keeps an unknown field out", async () => {
    const made = await target.create(await adapters(), adapter("one", { unknown: "x" }));
    const { spec } = lasting(made.body);
    assert.deepEqual(spec, { ...adapter("one").spec, schedulerName: "default" });
  });

  it("fills a nested default in", async () => {
    const path = await adapters();
    const made = await target.create(path, adapter("one", { credentialsSecretRef: {} }));
    assert.deepEqual(made.at("spec.credentialsSecretRef"), { name: "" });
  });

  it("a default that was removed comes back", async () => {
    const path = await adapters();
    await target.create(path, adapter("one", { schedulerName: "least-adapters" }));
    const patched = await target.patch(`${path}/one`, "merge", { spec: { schedulerName: null } });
    assert.equal(patched.expect(200).at("spec.schedulerName"), "default");
  });

  itWithKubectl("kubectl apply says it in one line", async () => {
    const namespace = await target.namespace();
    const input = JSON.stringify(adapter("one", { artifactURL: "aabbcc" }));
    const said = await target.kubectl(["apply", "-f", "-"], { namespace, input });
    assert.deepEqual(said, {
      code: 1,
      stdout: "",
      stderr: `The ModelAdapter "one" is invalid: spec.artifactURL: Invalid value: "string": ${URL_RULE}\n`,
    });
  });

  itWithKubectl("kubectl apply of an unknown field", async () => {
    const namespace = await target.namespace();
    const input = JSON.stringify(adapter("one", { unknown: "x" }));
    const said = await target.kubectl(["apply", "-f", "-"], { namespace, input });
    assert.deepEqual(said, {
      code: 1,
      stdout: "",
      stderr:
        'Error from server (BadRequest): error when creating "STDIN": ModelAdapter in version "v1alpha1" cannot be handled as a ModelAdapter: strict decoding error: unknown field "spec.unknown"\n',
    });
  });
}
