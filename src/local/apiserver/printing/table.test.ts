import assert from "node:assert/strict";
import { test } from "node:test";
import type { Json, JsonObject } from "#base/json.ts";
import fixture from "../../../../fixtures/kubernetes/tables.json" with { type: "json" };
import samples from "../../../../fixtures/kubernetes/validation.json" with { type: "json" };
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import { kindsOfCrd } from "../kinds/crd-kinds.ts";
import { humanDuration } from "./human-duration.ts";
import { findJsonPath } from "./json-path.ts";
import { toTable } from "./table.ts";

const kinds = [
  ...builtinKinds(),
  ...(samples.crds as unknown as JsonObject[]).flatMap((crd) => kindsOfCrd(crd)),
];
const kindOf = (group: string, plural: string) => {
  const found = kinds.find((kind) => kind.group === group && kind.plural === plural);
  assert(found !== undefined, plural);
  return found;
};

interface Row {
  cells: Json[];
  conditions?: Json[];
  object: JsonObject;
}

test("rows are those of kube-apiserver 1.34", () => {
  for (const { group, plural, nowMs, rows } of fixture.tables) {
    const expected = rows as unknown as Row[];
    const options = { nowMs, includeObject: "Object" as const, listMeta: {} };
    const objects = expected.map((row) => row.object);
    const table = toTable(kindOf(group, plural), objects, options);
    assert.deepEqual(table["rows"], expected, plural);
  }
});

test("a table carries the list's metadata and as much of the objects as is asked for", () => {
  const object = { kind: "Secret", metadata: { name: "a", uid: "1" }, data: { x: "" } };
  const rowObject = (includeObject: "None" | "Metadata" | "Object") => {
    const options = { nowMs: 0, includeObject, listMeta: { resourceVersion: "5" } };
    const table = toTable(kindOf("", "secrets"), [object], options);
    assert.deepEqual(
      { ...table, rows: undefined, columnDefinitions: undefined },
      {
        kind: "Table",
        apiVersion: "meta.k8s.io/v1",
        metadata: { resourceVersion: "5" },
        rows: undefined,
        columnDefinitions: undefined,
      },
    );
    return (table["rows"] as unknown as Row[])[0]?.object;
  };
  assert.equal(rowObject("None"), null);
  assert.deepEqual(rowObject("Metadata"), {
    kind: "PartialObjectMetadata",
    apiVersion: "meta.k8s.io/v1",
    metadata: { name: "a", uid: "1" },
  });
  assert.equal(rowObject("Object"), object);
});

test("columns of a definition: the name first, then its own", () => {
  const columns = toTable(kindOf("test.example.com", "things"), [], {
    nowMs: 0,
    includeObject: "None",
    listMeta: {},
  })["columnDefinitions"] as unknown as JsonObject[];
  assert.equal(columns[0]?.["format"], "name");
  assert.deepEqual(columns[6], {
    name: "Item",
    type: "string",
    format: "",
    description: "names",
    priority: 1,
  });
  assert.equal(columns.length, 12);
});

test("JSON paths", () => {
  const value = {
    a: { "b.c": [1, 2, 3], d: null },
    list: [
      { type: "Ready", status: "True", n: 3 },
      { type: "Bound", status: "False", n: 7 },
    ],
  };
  const cases: [string, Json[]][] = [
    [".a['b.c'][1]", [2]],
    [".a.b\\.c[*]", [1, 2, 3]],
    [".a['b.c'][-1]", [3]],
    [".a['b.c'][0:2]", [1, 2]],
    [".a.d", [null]],
    [".a.none.more", []],
    ['.list[?(@.type=="Ready")].status', ["True"]],
    [".list[?(@.type == 'Bound')].n", [7]],
    [".list[?(@.n>3)].type", ["Bound"]],
    [".list[?(@.n != 3)].n", [7]],
    [".list[?(@.missing)].n", []],
    [".list[*].type", ["Ready", "Bound"]],
    ["..type", ["Ready", "Bound"]],
    [".list[", []],
  ];
  for (const [path, expected] of cases) assert.deepEqual(findJsonPath(path, value), expected, path);
});

test("durations as kubectl writes them", () => {
  const second = 1000;
  const hour = 3600 * second;
  const cases: [number, string][] = [
    [-5 * second, "<invalid>"],
    [-second, "0s"],
    [119 * second, "119s"],
    [120 * second, "2m"],
    [125 * second, "2m5s"],
    [11 * 60 * second + 5 * second, "11m"],
    [179 * 60 * second, "179m"],
    [3 * hour, "3h"],
    [3 * hour + 60 * second, "3h1m"],
    [47 * hour, "47h"],
    [49 * hour, "2d1h"],
    [72 * hour, "3d"],
    [20 * 24 * hour, "20d"],
    [3 * 365 * 24 * hour, "3y"],
    [(3 * 365 + 2) * 24 * hour, "3y2d"],
    [9 * 365 * 24 * hour, "9y"],
  ];
  for (const [ms, text] of cases) assert.equal(humanDuration(ms), text);
});
