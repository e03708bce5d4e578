import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Json, JsonObject } from "./json.ts";
import { applyMergePatch } from "./merge-patch.ts";

test("the examples of RFC 7386, appendix A", () => {
  const cases: [Json, Json, Json][] = [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [document, patch, expected] of cases) {
    assert.deepEqual(applyMergePatch(document, patch), expected);
  }
});

const json = fc.jsonValue().map((value) => value as Json);
const object = fc.dictionary(fc.string(), json).map((value) => ({ ...value }) as JsonObject);

test("laws: applying twice is applying once, the empty patch is the identity, arguments survive", () => {
  fc.assert(
    fc.property(object, json, (document, patch) => {
      const before = JSON.stringify([document, patch]);
      const once = applyMergePatch(document, patch);
      assert.deepEqual(applyMergePatch(once, patch), once);
      assert.deepEqual(applyMergePatch(document, {}), document);
      assert.equal(JSON.stringify([document, patch]), before);
    }),
  );
});

test("a member called __proto__ is data like any other", () => {
  const patch = JSON.parse('{"__proto__":{"polluted":true}}') as Json;
  const result = applyMergePatch({}, patch) as JsonObject;
  assert.equal(result["polluted"], undefined);
  assert.equal(JSON.stringify(result), '{"__proto__":{"polluted":true}}');
});
