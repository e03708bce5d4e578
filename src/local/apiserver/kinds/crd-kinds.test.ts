import assert from "node:assert/strict";
import { test } from "node:test";
import { modelAdapterCrd } from "#api/crd.ts";
import type { JsonObject } from "#base/json.ts";
import fixture from "../../../../fixtures/kubernetes/crd-validation.json" with { type: "json" };
import samples from "../../../../fixtures/kubernetes/validation.json" with { type: "json" };
import { subdomain } from "../schema/name-rules.ts";
import { validateObjectMeta } from "../schema/object-meta.ts";
import { defaultCrd, establishedStatus, kindsOfCrd, validateCrd } from "./crd-kinds.ts";

const definition = (name: string, spec: JsonObject): JsonObject => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name },
  spec,
});

test("definitions are refused as kube-apiserver 1.34 refuses them", () => {
  for (const { name, spec, causes } of fixture.cases) {
    const crd = definition(name, spec as unknown as JsonObject);
    const errors = [...validateObjectMeta({ name }, subdomain), ...validateCrd(crd)];
    const sorted = (list: { field: string; message: string }[]) =>
      list.toSorted((a, b) => `${a.field}${a.message}`.localeCompare(`${b.field}${b.message}`));
    assert.deepEqual(sorted(errors), sorted(causes), JSON.stringify(spec));
  }
});

test("rules that do not compile, and versions without a storage, are refused", () => {
  const crd = (rule: JsonObject, storage = true) =>
    definition("foos.a.example", {
      group: "a.example",
      scope: "Cluster",
      names: { kind: "Foo", plural: "foos" },
      versions: [
        {
          name: "v1",
          served: true,
          storage,
          schema: { openAPIV3Schema: { type: "object", "x-kubernetes-validations": [rule] } },
        },
      ],
    });
  const texts = (object: JsonObject) => validateCrd(object).map((error) => error.message);
  assert.match(texts(crd({ rule: "self ==" }))[0] ?? "", /compilation failed: ERROR: /);
  assert.match(texts(crd({ rule: "foo(self)" }))[0] ?? "", /compilation failed: ERROR: /);
  assert.match(texts(crd({ rule: "'a' + 'b'" }))[0] ?? "", /must evaluate to a bool$/);
  assert.match(
    texts(crd({ rule: "true", messageExpression: "1" }))[0] ?? "",
    /messageExpression must evaluate to a string$/,
  );
  assert.match(
    texts(crd({ rule: "true" }, false))[0] ?? "",
    /must have exactly one version marked as storage version$/,
  );
});

test("the kinds of definitions, with what follows from the kind's name", () => {
  const [adapter, ...others] = kindsOfCrd(modelAdapterCrd());
  assert.deepEqual(others, []);
  assert.equal(adapter?.kind, "ModelAdapter");
  assert.deepEqual(validateCrd(modelAdapterCrd()), []);

  const [things] = samples.crds as unknown as JsonObject[];
  assert(things !== undefined);
  assert.deepEqual(validateCrd(things), []);
  const [thing] = kindsOfCrd(things);
  assert.deepEqual(
    { ...thing, schema: undefined, columns: thing?.columns.slice(5, 6) },
    {
      group: "test.example.com",
      version: "v1",
      kind: "Thing",
      listKind: "ThingList",
      plural: "things",
      singular: "thing",
      shortNames: ["th"],
      categories: ["all"],
      namespaced: true,
      subresources: ["status", "scale"],
      scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" },
      schema: undefined,
      custom: true,
      columns: [
        {
          name: "Item",
          type: "string",
          jsonPath: ".spec.map[*].name",
          priority: 1,
          description: "names",
        },
      ],
    },
  );
  const bare = defaultCrd(
    definition("foos.a.example", { names: { kind: "Foo", plural: "foos" }, versions: [] }),
  );
  assert.deepEqual(bare["spec"], {
    names: { singular: "foo", listKind: "FooList", kind: "Foo", plural: "foos" },
    conversion: { strategy: "None" },
    versions: [],
  });
});

test("an established definition keeps the times of its conditions", () => {
  const crd = modelAdapterCrd();
  const first = establishedStatus(crd, "2026-01-01T00:00:00Z");
  assert.deepEqual(first["storedVersions"], ["v1alpha1"]);
  assert.deepEqual(establishedStatus({ ...crd, status: first }, "2026-01-02T00:00:00Z"), first);
});
