import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { duplicateFields } from "./duplicate-fields.ts";

// The paths are those that kube-apiserver 1.34 answered with.
test("fields that occur twice are named by their path", () => {
  const text = `{"metadata":{"name":"dup","name":"dup","foo":1},
    "spec":{"str":"ab","str":"c,d","atom":[{"x":1},{"x":1,"x":2,"y":"a\\"}","y":"b"}],"set":["a"],"set":["b","b"]}}`;
  assert.deepEqual(duplicateFields(text), [
    "metadata.name",
    "spec.str",
    "spec.atom[1].x",
    "spec.atom[1].y",
    "spec.set",
  ]);
  assert.deepEqual(duplicateFields('{"a":1,"\\u0061":2,"a":3}'), ["a"]);
});

test("what JSON.stringify writes has no duplicates", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.deepEqual(duplicateFields(JSON.stringify(value)), []);
    }),
  );
});
