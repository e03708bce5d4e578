import assert from "node:assert/strict";
import { test } from "node:test";
import { isObject, type JsonObject } from "#base/json.ts";
import { builtinKinds, scaleSchema } from "./builtin-kinds.ts";

const at = (schema: JsonObject, ...path: string[]): JsonObject => {
  let current: unknown = schema;
  for (const key of path) current = isObject(current) ? current[key] : undefined;
  assert(isObject(current), `nothing at ${path.join(".")}`);
  return current;
};
const kindOf = (name: string) => {
  const found = builtinKinds().find((kind) => kind.kind === name);
  assert(found !== undefined);
  return found;
};

test("every built-in kind has a schema with metadata and without references", () => {
  for (const kind of builtinKinds()) {
    assert.equal(kind.schema["type"], "object", kind.kind);
    const metadata = at(kind.schema, "properties", "metadata");
    assert.equal(at(metadata, "properties", "name")["type"], "string", kind.kind);
  }
  assert.equal(new Set(builtinKinds().map((kind) => `${kind.plural}.${kind.group}`)).size, 21);
  assert.ok(isObject(scaleSchema()["properties"]));
});

test("the merge rules of pods survive", () => {
  const pod = at(kindOf("Pod").schema, "properties", "spec", "properties");
  const containers = at(pod, "containers");
  assert.equal(containers["x-kubernetes-list-type"], "map");
  assert.deepEqual(containers["x-kubernetes-list-map-keys"], ["name"]);
  assert.equal(containers["x-kubernetes-patch-merge-key"], "name");
  const port = at(containers, "items", "properties", "ports", "items", "properties");
  assert.equal(at(port, "protocol")["default"], "TCP");
  assert.equal(at(port, "containerPort")["format"], "int32");
});

test("the schema of schemas contains itself", () => {
  const versions = at(kindOf("CustomResourceDefinition").schema, "properties", "spec");
  const version = at(versions, "properties", "versions", "items", "properties");
  const props = at(version, "schema", "properties", "openAPIV3Schema");
  assert.equal(at(props, "properties", "not"), props);
  assert.equal(at(props, "properties", "properties", "additionalProperties"), props);
});
