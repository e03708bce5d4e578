import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { fillIn, parseManifest, readManifests } from "./manifests.ts";

const ROOT = join(import.meta.dirname, "../../..");
const SHIPPED = { gatewayPort: 8888, hubPort: 16480, hubDir: "hub" };

test("the shipped manifests are complete, and unchanged where a run is as they assume", () => {
  const { controlPlane, base, adapters } = readManifests(ROOT, SHIPPED);
  const kinds = (objects: readonly { kind?: string }[]) => objects.map(({ kind }) => kind);
  assert.equal(controlPlane[0]?.kind, "Namespace");
  assert.equal(kinds(controlPlane).filter((kind) => kind === "Deployment").length, 3);
  assert.deepEqual(kinds(base), ["Deployment", "Service"]);
  assert.deepEqual(kinds(adapters), ["ModelAdapter", "ModelAdapter", "ModelAdapter"]);
});

test("this run's ports and folder get to every place that names them, and nowhere else", () => {
  const places = { gatewayPort: 9001, hubPort: 9002, hubDir: "/state/hub" };
  const text = JSON.stringify(readManifests(ROOT, places).controlPlane);
  assert.doesNotMatch(text, /8888|16480/);
  assert.match(text, /"--port=9001"/);
  assert.match(text, /"targetPort":9001/);
  assert.match(text, /"--port=9002"/);
  assert.match(text, /"hostPath":\{"path":"\/state\/hub"\}/);
  assert.match(text, /"port":80\b/);
});

test("a port is a whole number or the whole value of a flag", () => {
  const places = { ...SHIPPED, gatewayPort: 1 };
  const words = ["--port=8888", "--port=88880", "http://x:8888", "8888"];
  assert.deepEqual(fillIn({ words, port: 8888, other: 88 }, places), {
    words: ["--port=1", "--port=88880", "http://x:8888", "8888"],
    port: 1,
    other: 88,
  });
});

test("empty documents of a YAML file are no objects", () => {
  assert.equal(parseManifest("---\n---\nkind: A\n---\n# nothing\n", "x.yaml").length, 1);
  assert.throws(() => parseManifest("a: [", "x.yaml"), /x\.yaml/);
});
