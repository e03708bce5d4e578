import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "#base/json.ts";
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import { StrategicMergeError, strategicMerge } from "./strategic-merge.ts";

const schemaOf = (kind: string) => {
  const found = builtinKinds().find((candidate) => candidate.kind === kind);
  assert(found !== undefined);
  return found.schema;
};
const podSpec = (patch: JsonObject, spec: JsonObject): unknown =>
  strategicMerge(schemaOf("Pod"), { spec }, { spec: patch })["spec"];
const named = (...names: string[]) => names.map((name) => ({ name }));

test("lists with a merge key are merged item by item, new items come first", () => {
  const spec = { containers: [{ name: "engine", image: "a", env: [{ name: "X", value: "1" }] }] };
  assert.deepEqual(
    podSpec(
      {
        containers: [
          { name: "engine", image: "b", env: [{ name: "X", value: null }] },
          { name: "sidecar" },
        ],
      },
      spec,
    ),
    { containers: [{ name: "engine", image: "b", env: [{ name: "X" }] }, { name: "sidecar" }] },
  );
  assert.deepEqual(podSpec({ containers: [{ name: "sidecar" }] }, spec), {
    containers: [{ name: "sidecar" }, spec.containers[0]],
  });
});

test("$patch deletes and replaces objects and items", () => {
  const spec = { containers: named("a", "b"), nodeSelector: { x: "1" }, affinity: { q: 1 } };
  assert.deepEqual(
    podSpec(
      {
        containers: [{ name: "a", $patch: "delete" }],
        nodeSelector: { $patch: "replace", y: "2" },
        affinity: { $patch: "delete" },
        volumes: [{ $patch: "replace" }, { name: "v", $retainKeys: ["name"] }],
      },
      spec,
    ),
    {
      containers: named("b"),
      nodeSelector: { y: "2" },
      affinity: {},
      volumes: named("v"),
    },
  );
  assert.deepEqual(podSpec({ containers: [{ $patch: "replace" }, { name: "c" }] }, spec), {
    ...spec,
    containers: named("c"),
  });
});

test("lists without a merge strategy are replaced, primitive ones are merged as sets", () => {
  assert.deepEqual(podSpec({ tolerations: [{ key: "b" }] }, { tolerations: [{ key: "a" }] }), {
    tolerations: [{ key: "b" }],
  });
  const object = { metadata: { finalizers: ["x/a", "x/b"] } };
  assert.deepEqual(
    strategicMerge(schemaOf("Pod"), object, { metadata: { finalizers: ["x/b", "x/c"] } }),
    { metadata: { finalizers: ["x/a", "x/b", "x/c"] } },
  );
  assert.deepEqual(
    strategicMerge(schemaOf("Pod"), object, {
      metadata: { "$deleteFromPrimitiveList/finalizers": ["x/a"] },
    }),
    { metadata: { finalizers: ["x/b"] } },
  );
});

// The expected orders are those that kube-apiserver 1.34 answered with.
test("$setElementOrder puts the patch's items in order and leaves the others where they were", () => {
  const cases: [string[], JsonObject, string[]][] = [
    [
      ["d", "a", "e"],
      { containers: [], "$setElementOrder/containers": named("e", "a") },
      ["d", "e", "a"],
    ],
    [
      ["a", "b"],
      { containers: named("c"), "$setElementOrder/containers": named("c", "a") },
      ["c", "a", "b"],
    ],
    [
      ["c", "b"],
      {
        containers: [{ name: "b", $patch: "delete" }, { name: "d" }],
        "$setElementOrder/containers": named("a", "d"),
      },
      ["c", "d"],
    ],
  ];
  for (const [before, patch, after] of cases) {
    assert.deepEqual(podSpec(patch, { containers: named(...before) }), {
      containers: named(...after),
    });
  }
});

test("$retainKeys drops what the patch does not name", () => {
  const deployment = {
    spec: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } },
  };
  const patch = { spec: { strategy: { $retainKeys: ["type"], type: "Recreate" } } };
  assert.deepEqual(strategicMerge(schemaOf("Deployment"), deployment, patch), {
    spec: { strategy: { type: "Recreate" } },
  });
});

test("a directive that cannot be obeyed is refused in the API server's words", () => {
  const cases: [JsonObject, RegExp][] = [
    [{ containers: [{ image: "x" }] }, /does not contain declared merge key: name$/],
    [{ containers: [{ name: "a", $patch: "frob" }] }, /^unknown patch type: frob in map/],
    [{ securityContext: { $patch: "merge" } }, /^unknown patch type: merge in map/],
    [
      { securityContext: { $retainKeys: ["runAsUser"], runAsGroup: 1 } },
      /^invalid patch format of retainKeys$/,
    ],
    [
      { containers: named("b"), "$setElementOrder/containers": named("a") },
      /doesn't match \$setElementOrder list/,
    ],
  ];
  for (const [patch, message] of cases) {
    assert.throws(
      () => podSpec(patch, { containers: named("a"), securityContext: {} }),
      (error) => error instanceof StrategicMergeError && message.test(error.message),
    );
  }
});
