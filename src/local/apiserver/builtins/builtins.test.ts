import assert from "node:assert/strict";
import { test } from "node:test";
import { isObject, type JsonObject } from "#base/json.ts";
import { applyMergePatch } from "#base/merge-patch.ts";
import { normalAnswer, normalMessage } from "#test/support/normal-answers.ts";
import fixture from "../../../../fixtures/kubernetes/builtins.json" with { type: "json" };
import { objectAt } from "../json-access.ts";
import { builtinKinds } from "../kinds/builtin-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { type FieldError, fieldErrorsText } from "../schema/field-error.ts";
import { nameRuleOf, validateObjectMeta } from "../schema/object-meta.ts";
import { defaultBuiltin } from "./defaults.ts";
import { kindKey } from "./edit.ts";
import { toCoreEvent, toEventsEvent } from "./events.ts";
import { fieldLabelsOf } from "./field-labels.ts";
import { prepareBuiltin } from "./prepare.ts";
import { scaleOf, withScale } from "./scale.ts";
import { allocateService } from "./services.ts";
import { validateBuiltin } from "./validation.ts";

interface Answer {
  result?: JsonObject;
  status?: { code: number; message: string; causes?: FieldError[] };
}
interface Update {
  patch?: JsonObject;
  put?: JsonObject;
  subresource?: "status";
  answer: Answer;
}
interface Case {
  kind: string;
  object: JsonObject;
  answer: Answer;
  twin?: JsonObject;
  updates?: Update[];
}

const cases = fixture.cases as unknown as Case[];
const kinds = new Map(builtinKinds().map((kind) => [kindKey(kind), kind]));
const FREE = { clusterIps: new Set<string>(), nodePorts: new Set<number>() };

type Outcome = { result: JsonObject } | { errors: FieldError[] };

/** What a write goes through, in the order of the API server. */
function write(kind: Kind, object: JsonObject, old?: JsonObject, subresource = ""): Outcome {
  const defaulted = defaultBuiltin(kind, object);
  const separated = old === undefined ? defaulted : withOldPart(kind, defaulted, old, subresource);
  let prepared = prepareBuiltin(kind, separated, old);
  if (kindKey(kind) === "/Service" && subresource === "") {
    const allocated = allocateService(prepared, old, FREE);
    if ("errors" in allocated) return allocated;
    prepared = allocated.service;
  }
  const metadata = objectAt(prepared, "metadata");
  const errors = [
    ...(old === undefined ? validateObjectMeta(metadata, nameRuleOf(kind)) : []),
    ...validateBuiltin(kind, prepared, old, subresource),
  ];
  return errors.length > 0 ? { errors } : { result: normalAnswer(prepared) };
}

/** Who writes the status writes only that; who writes the rest leaves the status as it is. */
function withOldPart(kind: Kind, object: JsonObject, old: JsonObject, subresource: string) {
  if (!kind.subresources.includes("status")) return object;
  const kept = subresource === "status" ? "spec" : "status";
  return { ...object, [kept]: old[kept] ?? {} };
}

/** The server goes through maps in any order. */
const sorted = (list: readonly FieldError[]) =>
  list.toSorted((a, b) => `${a.field}${a.message}`.localeCompare(`${b.field}${b.message}`));

/** Behind a line break comes a picture of what was changed, in the server's own field names. */
const firstLine = ({ field, reason, message }: FieldError): FieldError => ({
  field,
  reason,
  message: normalMessage(message.split("\n")[0] ?? ""),
});

/** Errors about the keys of a map, which the server goes through in any order, do not count here. */
const inOrder = (list: readonly FieldError[]) =>
  list.filter((error) => !/\[[^\]]*[^\]\d][^\]]*\]/.test(error.field));

function compare(outcome: Outcome, answer: Answer, label: string): void {
  const { result, status } = answer;
  if (result !== undefined) {
    const text = "errors" in outcome ? fieldErrorsText(outcome.errors) : "";
    assert("result" in outcome, `${label}: refused: ${text}`);
    assert.deepEqual(outcome.result, result, label);
    return;
  }
  assert("errors" in outcome, `${label}: not refused: ${status?.message}`);
  const actual = outcome.errors.map(firstLine);
  const expected = (status?.causes ?? []).map(firstLine);
  assert.deepEqual(sorted(actual), sorted(expected), label);
  assert.deepEqual(inOrder(actual), inOrder(expected), label);
}

const inNamespace = (kind: Kind, object: JsonObject): JsonObject => ({
  apiVersion: kind.group === "" ? "v1" : `${kind.group}/v1`,
  kind: kind.kind,
  ...object,
  metadata: {
    ...objectAt(object, "metadata"),
    ...(kind.namespaced ? { namespace: "builtins" } : {}),
  },
});

test("objects become, or are refused, what kube-apiserver 1.34 makes of them", () => {
  for (const { kind: key, object, answer, updates = [] } of cases) {
    const kind = kinds.get(key);
    assert(kind !== undefined, key);
    const label = `${key} ${JSON.stringify(object)}`;
    compare(write(kind, inNamespace(kind, object)), answer, label);
    const old = answer.result;
    if (old === undefined) continue;
    for (const { patch, put, subresource, answer: expected } of updates) {
      const next = patch === undefined ? inNamespace(kind, put ?? {}) : applyMergePatch(old, patch);
      assert(isObject(next));
      const change = `${subresource ?? ""} ${JSON.stringify(patch ?? put)}`;
      compare(write(kind, next, old, subresource), expected, `${label} <- ${change}`);
    }
  }
});

test("what a write made goes through another write as it is", () => {
  for (const { kind: key, answer } of cases) {
    const kind = kinds.get(key);
    const { result } = answer;
    if (kind === undefined || result === undefined) continue;
    assert.deepEqual(normalAnswer(defaultBuiltin(kind, result)), result, key);
    assert.deepEqual(write(kind, result, result), { result }, key);
  }
});

test("events have two forms, workloads a scale", () => {
  for (const { kind: key, answer, twin } of cases) {
    const kind = kinds.get(key);
    if (twin === undefined || answer.result === undefined || kind === undefined) continue;
    if (kind.kind !== "Event") {
      assert.deepEqual(scaleOf(kind, answer.result), twin);
      const scaled = withScale(kind, answer.result, { ...twin, spec: { replicas: 7 } });
      assert.equal(objectAt(scaleOf(kind, scaled), "spec")["replicas"], 7);
      continue;
    }
    const isCore = kind.group === "";
    assert.deepEqual(isCore ? toEventsEvent(answer.result) : toCoreEvent(answer.result), twin);
    assert.deepEqual(isCore ? toCoreEvent(twin) : toEventsEvent(twin), answer.result);
  }
});

test("field selectors know the labels of kube-apiserver 1.34", () => {
  const known: { readonly [key: string]: readonly string[] } = fixture.fieldLabels;
  for (const [key, kind] of kinds) {
    assert.deepEqual([...fieldLabelsOf(kind)].sort(), known[key], key);
  }
});
