import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Json, JsonObject } from "#base/json.ts";
import fixture from "../../../../fixtures/kubernetes/validation.json" with { type: "json" };
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import { fieldErrorsText } from "./field-error.ts";
import { applyDefaults, prune, validate } from "./structural.ts";

interface Case {
  plural: string;
  old?: JsonObject;
  spec: JsonObject;
  causes?: { reason: string; field: string; message: string }[];
  message?: string;
  result?: JsonObject;
  unknown?: string[];
}

const schemas = new Map(
  fixture.crds.map((crd) => [
    crd.spec.names.plural,
    crd.spec.versions[0]?.schema.openAPIV3Schema as unknown as JsonObject,
  ]),
);
const cases = fixture.cases as unknown as Case[];
const objectOf = (spec: JsonObject): JsonObject => ({
  apiVersion: "test.example.com/v1",
  kind: "Any",
  metadata: { name: "xname" },
  spec,
});
const schemaOf = (plural: string) => {
  const schema = schemas.get(plural);
  assert(schema !== undefined);
  return schema;
};

test("objects are refused, pruned and defaulted as kube-apiserver 1.34 does it", () => {
  for (const { plural, old, spec, causes, message, result, unknown } of cases) {
    // An embedded apiVersion that is no text already fails while the body is read.
    if (message !== undefined) continue;
    const schema = schemaOf(plural);
    const label = JSON.stringify(old === undefined ? spec : { old, spec });
    const pruned = prune(schema, objectOf(spec));
    assert.deepEqual(pruned.unknown, unknown ?? [], label);
    const object = applyDefaults(schema, pruned.object);
    const errors = validate(schema, object, old === undefined ? undefined : objectOf(old));
    // The API server goes through maps in any order.
    const sorted = (list: { field: string; message: string }[]) =>
      list.toSorted((a, b) => `${a.field}${a.message}`.localeCompare(`${b.field}${b.message}`));
    assert.deepEqual(sorted(errors), sorted(causes ?? []), label);
    if (result !== undefined) assert.deepEqual(object["spec"], result, label);
  }
});

test("rules about the whole object name no field", () => {
  const schema = schemaOf("others");
  const object = { ...objectOf({}), metadata: { name: "y" } };
  assert.equal(
    fieldErrorsText(validate(schema, object)),
    '<nil>: Invalid value: "object": name must start with x',
  );
});

test("several errors stand in brackets, each once", () => {
  const schema = schemaOf("things");
  assert.equal(
    fieldErrorsText(validate(schema, objectOf({ xint: 1 }))),
    "[spec.xint: Invalid value: 1: spec.xint in body should be a multiple of 3, spec.xint: Invalid value: 1: spec.xint in body should be greater than 1]",
  );
});

test("unknown metadata is pruned and reported, wrong metadata refused", () => {
  const schema = schemaOf("things");
  const object = { ...objectOf({}), metadata: { name: "x", foo: 1, labels: { a: 1 } }, extra: 1 };
  const pruned = prune(schema, object);
  assert.deepEqual(pruned.unknown, ["metadata.foo", "extra"]);
  assert.deepEqual(
    validate(schema, pruned.object).filter((error) => error.field.startsWith("metadata")),
    [
      {
        field: "metadata.labels.a",
        reason: "FieldValueTypeInvalid",
        message:
          'Invalid value: "integer": metadata.labels.a in body must be of type string: "integer"',
      },
    ],
  );
});

test("built-in kinds: unknown fields, free-form fields and missing ones", () => {
  const pod = builtinKinds().find((kind) => kind.kind === "Pod")?.schema ?? {};
  const { object, unknown } = prune(pod, {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "a", managedFields: [{ fieldsV1: { "f:spec": { "f:x": {} } } }] },
    spec: { containers: [{ imagee: "x", ports: [{ containerPort: 1 }] }], nodename: "n" },
    nonsense: true,
  });
  assert.deepEqual(unknown, ["spec.containers[0].imagee", "spec.nodename", "nonsense"]);
  assert.deepEqual(object["metadata"], {
    name: "a",
    managedFields: [{ fieldsV1: { "f:spec": { "f:x": {} } } }],
  });
  const defaulted = applyDefaults(pod, object);
  assert.deepEqual(defaulted["spec"], {
    containers: [{ ports: [{ containerPort: 1, protocol: "TCP" }] }],
  });
  assert.equal(
    fieldErrorsText(validate(pod, defaulted)),
    "spec.containers[0].name: Required value",
  );
});

test("properties: pruning twice is pruning once, defaulting twice is defaulting once", () => {
  const known = fc.constantFrom("spec", "free", "known", "emb", "metadata", "kind", "obj", "must");
  const value = fc.letrec<{ json: Json; object: JsonObject }>((tie) => ({
    json: fc.oneof(
      { depthSize: "small" },
      fc.constant(1),
      fc.string(),
      fc.constant(null),
      tie("object"),
      fc.array(tie("json"), { maxLength: 3 }),
    ),
    object: fc
      .dictionary(fc.oneof(known, fc.string({ maxLength: 3 })), tie("json"), { maxKeys: 4 })
      .map((object) => ({ ...object })),
  })).object;
  const schema = schemaOf("things");
  fc.assert(
    fc.property(value, (spec) => {
      const text = JSON.stringify(spec);
      const once = prune(schema, objectOf(spec));
      const again = prune(schema, once.object);
      assert.deepEqual(again, { object: once.object, unknown: [] });
      const defaulted = applyDefaults(schema, once.object);
      assert.deepEqual(applyDefaults(schema, defaulted), defaulted);
      assert.equal(JSON.stringify(spec), text);
    }),
  );
});
