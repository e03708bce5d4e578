import assert from "node:assert/strict";
import { test } from "node:test";
import { answerOf } from "./ask.ts";
import { answerLines, type ModelResult, oneLine, table, tryLines, verdict } from "./report.ts";

const base: ModelResult = {
  ...{ model: "qwen", isBase: true, phase: "Ready", pods: 3, seconds: undefined },
  text: " city in California.",
};
const sql: ModelResult = {
  ...{ model: "sql-lora", isBase: false, phase: "Running", pods: 3, seconds: 0.34 },
  text: " row; SELECT 1;",
};

test("the answers are right when there is one from each model and no adapter repeats the base", () => {
  assert.deepEqual(verdict([base, sql]), []);
  assert.match(verdict([base, { ...sql, text: base.text }])[0] ?? "", /sql-lora answered as/);
  assert.match(verdict([{ ...base, text: " \n" }])[0] ?? "", /qwen gave an empty answer/);
  assert.deepEqual(verdict([]), []);
});

test("the report is in columns", () => {
  assert.deepEqual(answerLines([base, sql]), [
    'base      "San Francisco is a" ->  city in California.',
    'sql-lora  "San Francisco is a" ->  row; SELECT 1;',
  ]);
  assert.deepEqual(table([base, sql]), [
    "MODEL      PHASE     PODS   SECONDS   TEXT",
    "qwen       Ready     3      -         city in California.",
    "sql-lora   Running   3      0.3       row; SELECT 1;",
  ]);
  assert.equal(oneLine("a\n  b "), "a b");
  assert.equal(oneLine("x".repeat(100)).length, 72);
  assert.deepEqual([...answerLines([]), ...table([])], []);
});

test("what to try next can be pasted", () => {
  const place = { stateDir: ".loradock", gateway: "http://127.0.0.1:8888", balancer: undefined };
  const lines = tryLines({ ...place, adapter: "sql-lora" }).join("\n");
  assert.match(lines, /export KUBECONFIG=\.loradock\/kubeconfig\n/);
  assert.match(lines, /curl http:\/\/127\.0\.0\.1:8888\/v1\/completions .*"model": "sql-lora"/);
  const odd = tryLines({ ...place, stateDir: "/it's here", adapter: undefined })[0];
  assert.equal(odd, "Try: export KUBECONFIG='/it'\\''s here/kubeconfig'");
  assert.match(tryLines({ ...place, adapter: undefined }).join("\n"), /kubectl get pods -A/);
});

test("an answer is a completion's text, or the gateway's words", () => {
  assert.deepEqual(answerOf(200, '{"choices":[{"text":" hi"}]}'), { text: " hi" });
  assert.deepEqual(answerOf(503, '{"error":{"message":"still loading"}}'), {
    problem: "HTTP 503: still loading",
  });
  assert.deepEqual(answerOf(502, "<html>"), { problem: "HTTP 502" });
});
