import assert from "node:assert/strict";
import { test } from "node:test";
import { modelAdapterCrd } from "#api/crd.ts";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import samples from "../../../../fixtures/kubernetes/validation.json" with { type: "json" };
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import { kindsOfCrd } from "../kinds/crd-kinds.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import { openApiV2Protobuf } from "./openapi-v2.ts";
import { openApiV3, openApiV3Index } from "./openapi-v3.ts";

const kinds = [
  ...builtinKinds(),
  ...kindsOfCrd(modelAdapterCrd()),
  ...(samples.crds as unknown as JsonObject[]).flatMap((crd) => kindsOfCrd(crd)),
];
const documentOf = (groupVersion: string) => {
  const document = openApiV3(kinds, groupVersion);
  assert(document !== undefined, groupVersion);
  return document;
};
const at = (value: JsonObject, ...path: string[]): JsonObject => path.reduce(objectAt, value);

function refsIn(value: Json): string[] {
  if (Array.isArray(value)) return value.flatMap(refsIn);
  if (!isObject(value)) return [];
  const own = typeof value["$ref"] === "string" ? [value["$ref"]] : [];
  return [...own, ...Object.values(value).flatMap(refsIn)];
}

test("every reference leads to a component", () => {
  for (const groupVersion of new Set(kinds.map(groupVersionOf))) {
    const document = documentOf(groupVersion);
    const components = at(document, "components", "schemas");
    for (const ref of refsIn(document)) {
      const name = ref.replace("#/components/schemas/", "");
      assert.ok(name in components, `${groupVersion} ${ref}`);
    }
  }
  assert.equal(openApiV3(kinds, "nope/v1"), undefined);
});

test("operations tell kubectl their kind and the parameters that it looks for", () => {
  for (const kind of kinds) {
    const document = documentOf(groupVersionOf(kind));
    const root = kind.group === "" ? "/api/v1" : `/apis/${kind.group}/${kind.version}`;
    const scope = kind.namespaced ? `${root}/namespaces/{namespace}` : root;
    const patch = at(document, "paths", `${scope}/${kind.plural}/{name}`, "patch");
    const { group, version } = kind;
    assert.deepEqual(patch["x-kubernetes-group-version-kind"], { group, version, kind: kind.kind });
    assert.equal(patch["x-kubernetes-action"], "patch");
    const names = objectsAt(patch, "parameters").map((parameter) => stringAt(parameter, "name"));
    assert.deepEqual(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
  }
  const scale = at(
    documentOf("apps/v1"),
    "paths",
    "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
    "get",
  );
  assert.equal(at(scale, "x-kubernetes-group-version-kind")["kind"], "Scale");
});

test("definitions: our own with their words, built-in ones with their merge rules", () => {
  const adapter = at(
    documentOf("model.aibrix.ai/v1alpha1"),
    "components",
    "schemas",
    "ai.aibrix.model.v1alpha1.ModelAdapter",
  );
  assert.match(stringAt(at(adapter, "properties", "spec"), "description"), /^What is wanted/);
  assert.deepEqual(adapter["x-kubernetes-group-version-kind"], [
    { group: "model.aibrix.ai", version: "v1alpha1", kind: "ModelAdapter" },
  ]);
  const podSpec = at(documentOf("v1"), "components", "schemas", "io.k8s.api.core.v1.PodSpec");
  const containers = at(podSpec, "properties", "containers");
  assert.equal(containers["x-kubernetes-patch-merge-key"], "name");
  assert.deepEqual(containers["items"], {
    $ref: "#/components/schemas/io.k8s.api.core.v1.Container",
  });
  const pod = at(documentOf("v1"), "components", "schemas", "io.k8s.api.core.v1.Pod");
  const { description, ...spec } = at(pod, "properties", "spec");
  assert.match(String(description), /^Specification of the desired behavior of the pod/);
  assert.deepEqual(spec, {
    allOf: [{ $ref: "#/components/schemas/io.k8s.api.core.v1.PodSpec" }],
    default: {},
  });
  const embedded = at(
    documentOf("test.example.com/v1"),
    ...["components", "schemas", "com.example.test.v1.Thing", "properties", "spec"],
    ...["properties", "emb"],
  );
  assert.deepEqual(embedded["required"], ["apiVersion", "kind"]);
});

test("an address changes with its document and only then", () => {
  const urlOf = (list: typeof kinds, path: string) =>
    stringAt(at(openApiV3Index(list), "paths", path), "serverRelativeURL");
  const adapters = "apis/model.aibrix.ai/v1alpha1";
  assert.match(
    urlOf(kinds, adapters),
    /^\/openapi\/v3\/apis\/model\.aibrix\.ai\/v1alpha1\?hash=[0-9A-F]{128}$/,
  );
  const changed = kinds.map((kind) =>
    kind.kind === "ModelAdapter" ? { ...kind, schema: { ...kind.schema, description: "x" } } : kind,
  );
  assert.notEqual(urlOf(changed, adapters), urlOf(kinds, adapters));
  assert.equal(urlOf(changed, "api/v1"), urlOf(kinds, "api/v1"));
});

/** The length-delimited fields of a protobuf message, by their number. */
function fieldsOf(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const fields = new Map<number, Uint8Array[]>();
  let offset = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[offset++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (offset < bytes.length) {
    const key = varint();
    if ((key & 7) === 0) {
      varint();
      continue;
    }
    assert.equal(key & 7, 2);
    const length = varint();
    const number = Math.floor(key / 8);
    fields.set(number, [...(fields.get(number) ?? []), bytes.subarray(offset, offset + length)]);
    offset += length;
    assert.ok(offset <= bytes.length);
  }
  return fields;
}
const decoder = new TextDecoder();
const only = (fields: Map<number, Uint8Array[]>, number: number) => {
  const [value] = fields.get(number) ?? [];
  assert(value !== undefined, `field ${number}`);
  return value;
};
const namedIn = (list: Uint8Array[] | undefined) =>
  new Map(
    (list ?? []).map((entry) => {
      const fields = fieldsOf(entry);
      return [decoder.decode(only(fields, 1)), fieldsOf(only(fields, 2))];
    }),
  );

test("the protobuf document can be read back", () => {
  const document = fieldsOf(openApiV2Protobuf(kinds));
  assert.equal(decoder.decode(only(document, 1)), "2.0");
  const definitions = namedIn(fieldsOf(only(document, 9)).get(1));
  const podSpec = definitions.get("io.k8s.api.core.v1.PodSpec");
  assert(podSpec !== undefined);
  const containers = namedIn(fieldsOf(only(podSpec, 25)).get(1)).get("containers");
  const extension = namedIn(containers?.get(31)).get("x-kubernetes-patch-merge-key");
  assert.equal(decoder.decode(extension?.get(2)?.[0]), '"name"');
  const items = fieldsOf(only(fieldsOf(only(containers ?? new Map(), 23)), 1));
  assert.equal(decoder.decode(only(items, 1)), "#/definitions/io.k8s.api.core.v1.Container");

  const paths = namedIn(fieldsOf(only(document, 8)).get(2));
  const path = "/apis/model.aibrix.ai/v1alpha1/namespaces/{namespace}/modeladapters/{name}";
  const patch = fieldsOf(only(paths.get(path) ?? new Map(), 8));
  const names = (patch.get(8) ?? []).map((parameter) => {
    const query = only(fieldsOf(only(fieldsOf(only(fieldsOf(parameter), 1)), 2)), 3);
    return decoder.decode(only(fieldsOf(query), 4));
  });
  assert.deepEqual(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
});
