import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import fixture from "../../../../fixtures/kubernetes/managed-fields.json" with { type: "json" };
import samples from "../../../../fixtures/kubernetes/validation.json" with { type: "json" };
import { objectAt, objectsAt } from "../json-access.ts";
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import { kindsOfCrd } from "../kinds/crd-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { applyDefaults } from "../schema/structural.ts";
import { decodeFieldSet, encodeFieldSet, pathsOf, pathText } from "./field-set.ts";
import {
  ApplyError,
  type ApplyRequest,
  applyServerSide,
  conflictMessage,
  resetFieldsOf,
  updateManagedFields,
} from "./managed-fields.ts";

interface Case {
  kind: string;
  request: "apply" | "apply-status" | "update" | "update-status";
  manager: string;
  force?: boolean;
  live?: JsonObject | "previous";
  applied?: JsonObject;
  conflicts?: { manager: string; field: string }[];
  result?: JsonObject;
}

const things = (samples.crds as unknown as JsonObject[]).flatMap((crd) => kindsOfCrd(crd));
const kindOf = (name: string): Kind => {
  const found = [...things, ...builtinKinds()].find((kind) => kind.kind === name);
  assert(found !== undefined);
  return found;
};
const apiVersionOf = ({ group, version }: Kind) => (group === "" ? version : `${group}/${version}`);
const NOW = "2026-01-02T03:04:05Z";

/** Recordings have no times; the entries get all they need to be read. */
function withReadableEntries(object: JsonObject | undefined): JsonObject | undefined {
  if (object === undefined) return undefined;
  const metadata = objectAt(object, "metadata");
  const entries = objectsAt(metadata, "managedFields");
  if (entries.length === 0) return object;
  const managedFields = entries.map((entry) => ({ ...entry, fieldsType: "FieldsV1" }));
  return { ...object, metadata: { ...metadata, managedFields } };
}

function entriesOf(managedFields: unknown): JsonObject[] {
  const list = Array.isArray(managedFields) ? managedFields.filter(isObject) : [];
  const plain = list.map(({ time: _, fieldsType: __, ...entry }): JsonObject => entry);
  return plain.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}
const sortedJson = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sortedJson);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sortedJson(item)]),
  );
};
const bookkeeping = (managedFields: unknown) =>
  entriesOf(sortedJson(managedFields)).map((entry) => sortedJson(entry));

function withoutBooks(object: JsonObject): JsonObject {
  const { managedFields: _, ...metadata } = objectAt(object, "metadata");
  return { ...object, metadata };
}

test("applies and updates keep the books as kube-apiserver 1.34 does", () => {
  let previous: JsonObject | undefined;
  for (const [index, recorded] of (fixture.cases as unknown as Case[]).entries()) {
    const kind = kindOf(recorded.kind);
    const live = withReadableEntries(recorded.live === "previous" ? previous : recorded.live);
    const subresource = recorded.request.endsWith("status") ? "status" : "";
    const operation = {
      schema: kind.schema,
      manager: recorded.manager,
      subresource,
      apiVersion: apiVersionOf(kind),
      now: NOW,
    };
    const label = `case ${index}`;
    const { applied, result, conflicts } = recorded;
    if (applied !== undefined) {
      const resetFields = resetFieldsOf(kind, subresource);
      const force = recorded.force === true;
      const answer = applyServerSide({ ...operation, live, applied, force, resetFields });
      if ("conflicts" in answer) {
        const sorted = (list: { field: string }[]) =>
          list.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
        assert.deepEqual(sorted(answer.conflicts), sorted(conflicts ?? []), label);
        continue;
      }
      assert(result !== undefined, label);
      assert.deepEqual(
        bookkeeping(objectAt(answer.object, "metadata")["managedFields"]),
        bookkeeping(objectAt(result, "metadata")["managedFields"]),
        label,
      );
      // What Go code fills in for built-in kinds is not known to the schema.
      if (kind.custom) {
        const object = applyDefaults(kind.schema, answer.object);
        assert.deepEqual(withoutBooks(object), withoutBooks(result), label);
      }
    } else if (result !== undefined) {
      const after = withoutBooks(result);
      const entries = updateManagedFields({
        ...operation,
        operation: "Update",
        before: live,
        after,
      });
      const expected = objectAt(result, "metadata")["managedFields"];
      assert.deepEqual(bookkeeping(entries), bookkeeping(expected), label);
    }
    previous = result ?? previous;
  }
});

const thing = kindOf("Thing");
const request = (
  live: JsonObject | undefined,
  manager: string,
  spec: JsonObject,
  more: Partial<ApplyRequest> = {},
): ApplyRequest => ({
  schema: thing.schema,
  live,
  applied: {
    apiVersion: "test.example.com/v1",
    kind: "Thing",
    metadata: { name: "x" },
    spec,
  },
  manager,
  force: false,
  subresource: "",
  apiVersion: "test.example.com/v1",
  now: NOW,
  ...more,
});
const apply = (...args: Parameters<typeof request>): JsonObject => {
  const answer = applyServerSide(request(...args));
  assert("object" in answer, JSON.stringify(answer));
  return answer.object;
};
const timesOf = (object: JsonObject) =>
  objectsAt(objectAt(object, "metadata"), "managedFields").map(({ manager, time }) => [
    manager,
    time,
  ]);

test("times tell when a manager last changed something", () => {
  const first = apply(undefined, "a", { str: "ab" });
  assert.deepEqual(timesOf(first), [["a", NOW]]);
  const later = { now: "2026-01-02T04:00:00Z" };
  assert.deepEqual(apply(first, "a", { str: "ab" }, later), first);
  const { apiVersion: _, kind: __, ...stored } = first;
  assert.deepEqual(timesOf(apply(stored, "a", { str: "ab" }, later)), [["a", NOW]]);
  // Who applies what is there already becomes an owner, but has changed nothing.
  const shared = apply(first, "b", { str: "ab" }, later);
  assert.deepEqual(timesOf(shared), [
    ["b", undefined],
    ["a", NOW],
  ]);
  const changed = apply(shared, "b", { str: "ab", int: 4 }, later);
  assert.deepEqual(timesOf(changed), [
    ["a", NOW],
    ["b", later.now],
  ]);
});

test("conflicts name the manager and the field", () => {
  const live = apply(undefined, "a", { str: "ab", map: [{ name: "m", v: 1 }] });
  const entries = updateManagedFields({
    ...request(live, "kubectl-edit", {}),
    operation: "Update",
    before: live,
    after: { ...live, spec: { ...objectAt(live, "spec"), int: 4 } },
  });
  const edited = {
    ...live,
    metadata: { ...objectAt(live, "metadata"), managedFields: entries as unknown as Json },
    spec: { ...objectAt(live, "spec"), int: 4 },
  };
  const conflictsOf = (spec: JsonObject) => {
    const answer = applyServerSide(request(edited, "b", spec));
    return "conflicts" in answer ? conflictMessage(answer.conflicts) : "none";
  };
  assert.equal(
    conflictsOf({ int: 5 }),
    'Apply failed with 1 conflict: conflict with "kubectl-edit" using test.example.com/v1: .spec.int',
  );
  assert.equal(
    conflictsOf({ int: 5, str: "cd", map: [{ name: "m", v: 2 }] }),
    [
      'Apply failed with 3 conflicts: conflicts with "a":',
      "- .spec.str",
      '- .spec.map[name="m"].v',
      'conflicts with "kubectl-edit" using test.example.com/v1:',
      "- .spec.int",
    ].join("\n"),
  );
  assert.equal(conflictsOf({ int: 4 }), "none");
});

test("kubectl takes over what its client-side apply set, and keeps the annotation up to date", () => {
  const name = "kubectl.kubernetes.io/last-applied-configuration";
  const text = JSON.stringify({
    apiVersion: "test.example.com/v1",
    kind: "Thing",
    metadata: { name: "x", annotations: {} },
    spec: { str: "ab" },
  });
  const created: JsonObject = {
    apiVersion: "test.example.com/v1",
    kind: "Thing",
    metadata: { name: "x", annotations: { [name]: text } },
    spec: { str: "ab" },
  };
  const entries = updateManagedFields({
    ...request(undefined, "kubectl-client-side-apply", {}),
    operation: "Update",
    before: undefined,
    after: created,
  });
  const metadata = { ...objectAt(created, "metadata"), managedFields: entries as unknown as Json };
  const live = { ...created, metadata };
  assert("conflicts" in applyServerSide(request(live, "other", { str: "cd" })));
  const applied = apply(live, "kubectl", { str: "cd" });
  const annotation = objectAt(objectAt(applied, "metadata"), "annotations")[name];
  assert.deepEqual(JSON.parse(String(annotation)), request(live, "kubectl", { str: "cd" }).applied);
});

test("a configuration that does not fit is refused", () => {
  const cases: [JsonObject, RegExp][] = [
    [
      { nope: 1 },
      /\(\/x; test\.example\.com\/v1, Kind=Thing\): \.spec\.nope: field not declared in schema$/,
    ],
    [{ str: 1 }, /\.spec\.str: expected string, got 1$/],
    [{ int: "a" }, /\.spec\.int: expected numeric \(int or float\), got string$/],
    [{ map: [{ name: "a" }, { name: "a" }] }, /duplicate entries for key/],
    [{ map: [{ v: 1 }] }, /omits all key fields \["name"\]/],
  ];
  for (const [spec, message] of cases) {
    assert.throws(
      () => applyServerSide(request(undefined, "a", spec)),
      (error) => error instanceof ApplyError && error.code === 500 && message.test(error.message),
    );
  }
  const managed = request(undefined, "a", {});
  managed.applied = { ...managed.applied, metadata: { name: "x", managedFields: [] } };
  assert.throws(
    () => applyServerSide(managed),
    /^ApplyError: metadata\.managedFields must be nil$/,
  );
});

test("only so many updating managers are remembered, the oldest are thrown together", () => {
  let object: JsonObject = { apiVersion: "test.example.com/v1", metadata: { name: "x" }, spec: {} };
  for (let count = 0; count < 14; count++) {
    const before = count === 0 ? undefined : object;
    const labels = { ...objectAt(objectAt(object, "metadata"), "labels"), [`l${count}`]: "1" };
    const after = { ...object, metadata: { ...objectAt(object, "metadata"), labels } };
    const minute = String(count).padStart(2, "0");
    const entries = updateManagedFields({
      ...request(undefined, `m${minute}`, {}, { now: `2026-01-01T00:${minute}:00Z` }),
      operation: "Update",
      before,
      after,
    });
    const metadata = { ...after.metadata, managedFields: entries as unknown as Json };
    object = { ...after, metadata };
  }
  const managers = timesOf(object).map(([manager]) => manager);
  assert.equal(managers.length, 10);
  assert.equal(managers[0], "ancient-changes");
  assert.equal(managers.at(-1), "m13");
});

test("field sets survive being written and read", () => {
  const fields = {
    "f:metadata": { "f:labels": { ".": {}, "f:a": {} } },
    "f:spec": {
      "f:set": { 'v:"x"': {}, "v:3": {} },
      'k:{"port":80,"protocol":"TCP"}': { ".": {}, "f:name": {} },
    },
  };
  const set = decodeFieldSet(fields);
  assert(set !== undefined);
  assert.deepEqual(encodeFieldSet(set), fields);
  assert.deepEqual(pathsOf(set).map(pathText), [
    ".metadata.labels",
    ".metadata.labels.a",
    '.spec[port=80,protocol="TCP"]',
    '.spec.set[="x"]',
    ".spec.set[=3]",
    '.spec[port=80,protocol="TCP"].name',
  ]);
  assert.equal(decodeFieldSet({ bad: {} }), undefined);
});

const spec = fc
  .record(
    {
      str: fc.constantFrom("ab", "cd"),
      set: fc.uniqueArray(fc.constantFrom("a", "b", "c"), { minLength: 1 }),
      map: fc.uniqueArray(
        fc.record({ name: fc.constantFrom("a", "b", "c"), v: fc.constantFrom(1, 2) }),
        { selector: (item) => item.name, minLength: 1 },
      ),
      dict: fc.dictionary(fc.constantFrom("p", "q"), fc.constantFrom("1", "2"), { minKeys: 1 }),
      free: fc.constantFrom<JsonObject>({ x: 1 }, { x: { y: 1 } }, { z: [1] }),
    },
    { requiredKeys: [] },
  )
  .map((value) => JSON.parse(JSON.stringify(value)) as JsonObject);

test("properties: applying twice changes nothing; what a second manager added goes with it", () => {
  fc.assert(
    fc.property(spec, spec, (one, two) => {
      const first = apply(undefined, "a", one);
      assert.deepEqual(apply(first, "a", one), first);
      // Fields that both apply must agree, or the second would take them from the first.
      const agreed = {
        ...two,
        ...Object.fromEntries(Object.keys(one).map((key) => [key, one[key] as Json])),
      };
      const both = apply(first, "b", agreed);
      const back = apply(both, "b", {});
      assert.deepEqual(withoutBooks(back)["spec"] ?? {}, withoutBooks(first)["spec"] ?? {});
      assert.deepEqual(
        bookkeeping(objectAt(back, "metadata")["managedFields"]).filter(
          (entry) => isObject(entry) && entry["manager"] === "a",
        ),
        bookkeeping(objectAt(first, "metadata")["managedFields"]),
      );
    }),
  );
});
