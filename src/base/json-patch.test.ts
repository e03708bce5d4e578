import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Json } from "./json.ts";
import { applyJsonPatch, JSON_PATCH_OPERATIONS_MAX, JsonPatchError } from "./json-patch.ts";

test("each operation of RFC 6902 on objects and lists", () => {
  const cases: [Json, Json[], Json][] = [
    [{ foo: "bar" }, [{ op: "add", path: "/baz", value: "qux" }], { baz: "qux", foo: "bar" }],
    [{ foo: ["a", "c"] }, [{ op: "add", path: "/foo/1", value: "b" }], { foo: ["a", "b", "c"] }],
    [{ foo: ["a"] }, [{ op: "add", path: "/foo/-", value: ["b"] }], { foo: ["a", ["b"]] }],
    [{ a: 1, b: 2 }, [{ op: "remove", path: "/a" }], { b: 2 }],
    [{ foo: ["a", "b"] }, [{ op: "remove", path: "/foo/0" }], { foo: ["b"] }],
    [{ a: 1 }, [{ op: "replace", path: "/a", value: null }], { a: null }],
    [{ a: [1, 2] }, [{ op: "replace", path: "/a/1", value: 3 }], { a: [1, 3] }],
    [{ a: { x: 1 }, b: {} }, [{ op: "move", from: "/a/x", path: "/b/y" }], { a: {}, b: { y: 1 } }],
    [{ a: [1, 2, 3] }, [{ op: "move", from: "/a/0", path: "/a/2" }], { a: [2, 3, 1] }],
    [{ a: [1] }, [{ op: "copy", from: "/a", path: "/b" }], { a: [1], b: [1] }],
    [{ "/": 9, "~1": 10 }, [{ op: "test", path: "/~01", value: 10 }], { "/": 9, "~1": 10 }],
    [{ a: 1 }, [{ op: "add", path: "", value: [1] }], [1]],
    [{ a: 1 }, [{ op: "test", path: "/b", value: null }], { a: 1 }],
    [{ a: 1 }, [{ op: "add", path: "/b" }], { a: 1, b: null }],
    [{ a: 1 }, [{ op: "replace", path: "/b", value: 2 }], { a: 1, b: 2 }],
  ];
  for (const [document, patch, expected] of cases) {
    assert.deepEqual(applyJsonPatch(document, patch), expected, JSON.stringify(patch));
  }
});

test("an error names the operation and what is missing", () => {
  const cases: [unknown, string][] = [
    [{}, "a JSON Patch is a list of operations"],
    [[{ op: "frob", path: "/a" }], 'operation 0: unknown op "frob"'],
    [
      [{ op: "add", path: "a", value: 1 }],
      "operation 0: path must be a JSON Pointer such as /spec/replicas",
    ],
    [
      [{ op: "remove", path: "/a/b~2" }],
      "operation 0: path /a/b~2 holds a ~ that is neither ~0 nor ~1",
    ],
    [
      [
        { op: "test", path: "/a/0", value: 1 },
        { op: "remove", path: "/a/1" },
      ],
      "operation 1: the document has nothing at /a/1",
    ],
    [[{ op: "add", path: "/x/y", value: 1 }], "operation 0: the document has nothing at /x"],
    [[{ op: "add", path: "/a/01", value: 1 }], "operation 0: the document has nothing at /a/01"],
    [[{ op: "test", path: "/a", value: [2] }], "operation 0: test failed at /a"],
    [[{ op: "move", from: "/a", path: "/a/0" }], "operation 0: cannot move /a into itself"],
    [[{ op: "remove", path: "" }], "operation 0: the whole document cannot be removed"],
    [
      Array.from({ length: 100 }, (_, i) => ({ op: "copy", from: "", path: `/k${i}` })),
      "operation 17: copies more than 3145728 characters",
    ],
    [
      Array.from({ length: JSON_PATCH_OPERATIONS_MAX + 1 }, () => ({})),
      "the patch has 10001 operations, at most 10000 are allowed",
    ],
  ];
  for (const [patch, message] of cases) {
    assert.throws(
      () => applyJsonPatch({ a: [1] }, patch),
      (error) => error instanceof JsonPatchError && error.message === message,
      message,
    );
  }
});

const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as Json);
const token = fc.string().map((text) => text.replaceAll("~", "~0").replaceAll("/", "~1"));

test("laws: add then test holds, add then remove is the identity, arguments survive", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), json), token, json, (dictionary, key, value) => {
      const document = JSON.parse(JSON.stringify(dictionary)) as { [key: string]: Json };
      const before = JSON.stringify(document);
      const path = `/${key}`;
      const added = applyJsonPatch(document, [
        { op: "add", path, value },
        { op: "test", path, value },
      ]);
      assert.equal(JSON.stringify(document), before);
      const plain = key.replaceAll("~1", "/").replaceAll("~0", "~");
      const { [plain]: _, ...without } = document;
      assert.deepEqual(applyJsonPatch(added, [{ op: "remove", path }]), without);
    }),
  );
});

test("a member called __proto__ is data like any other", () => {
  const result = applyJsonPatch({}, [{ op: "add", path: "/__proto__", value: { x: 1 } }]);
  assert.equal(JSON.stringify(result), '{"__proto__":{"x":1}}');
});
