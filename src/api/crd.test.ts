import assert from "node:assert/strict";
import { test } from "node:test";
import { isObject, type Json } from "#base/json.ts";
import { modelAdapterCrd, modelAdapterSchema } from "./crd.ts";
import { modelAdapterSpec } from "./model-adapter.ts";

/** Each schema below `value`, with its path. */
function* schemas(
  value: Json | undefined,
  path: string,
): Generator<[string, Record<string, Json>]> {
  if (!isObject(value)) return;
  yield [path, value];
  if (isObject(value["properties"])) {
    for (const [key, field] of Object.entries(value["properties"])) {
      yield* schemas(field, `${path}.${key}`);
    }
  }
  yield* schemas(value["items"], `${path}[]`);
  yield* schemas(value["additionalProperties"], `${path}{}`);
}

test("the schema is structural: each node has a type, and nothing that Kubernetes forbids", () => {
  const forbidden = ["$schema", "$ref", "anyOf", "oneOf", "patternProperties", "const"];
  for (const [path, schema] of schemas(modelAdapterSchema(), "")) {
    assert.equal(typeof schema["type"], "string", path);
    for (const key of forbidden) assert(!(key in schema), `${path} has ${key}`);
    assert.notEqual(schema["additionalProperties"], false, path);
  }
});

test("every field is explained, and every text, list and map has a bound", () => {
  const root = modelAdapterSchema()["properties"];
  assert(isObject(root));
  for (const part of ["spec", "status"]) {
    for (const [path, schema] of schemas(root[part], part)) {
      const inner = path.endsWith("[]") || path.endsWith("{}");
      if (!inner) assert(schema["description"], `${path} has no description`);
      const bounded = schema["maxLength"] ?? schema["enum"] ?? schema["format"];
      if (schema["type"] === "string") assert(bounded, `${path} has no bound`);
      if (schema["type"] === "array") assert(schema["maxItems"], `${path} has no maxItems`);
      if (schema["additionalProperties"]) assert(schema["maxProperties"], `${path} is unbounded`);
    }
  }
});

test("kubectl get shows AIBrix's columns, and three more with -o wide", () => {
  const crd = JSON.parse(JSON.stringify(modelAdapterCrd()));
  const columns = crd.spec.versions[0].additionalPrinterColumns;
  const names = (wide: boolean) =>
    columns
      .filter((column: { priority?: number }) => wide === (column.priority === 1))
      .map((column: { name: string }) => column.name);
  assert.deepEqual(names(false), ["Phase", "Desired", "Ready", "Candidates", "Model Path", "Age"]);
  assert.deepEqual(names(true), ["Instances", "Reason", "Base Model"]);
  assert.equal(crd.spec.names.shortNames, undefined);
});

test("a spec needs an artifactURL and a podSelector, and takes replicas 1 or none", () => {
  const good = { podSelector: {}, artifactURL: "s3://test-bucket/test-model" };
  assert.equal(modelAdapterSpec.parse(good).schedulerName, "default");
  assert(modelAdapterSpec.safeParse({ ...good, replicas: 1 }).success);
  const bad = [
    { ...good, replicas: 0 },
    { ...good, replicas: 2 },
    { ...good, schedulerName: "random" },
    { podSelector: {} },
    { artifactURL: "s3://test-bucket/test-model" },
  ];
  for (const spec of bad) assert(!modelAdapterSpec.safeParse(spec).success, JSON.stringify(spec));
});
