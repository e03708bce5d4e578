import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "#base/clock.ts";
import { goQuote } from "./klog.ts";
import { createLog, type LogFields, type LogOptions } from "./log.ts";

/** 30 August, 03:55:42.221 local time, as klog prints local time. */
const AT = new Date(2026, 7, 30, 3, 55, 42, 221).getTime();

function logInto(lines: string[], options: Partial<LogOptions> = {}) {
  const clock: Clock = { now: () => AT, sleep: () => Promise.resolve(), after: () => () => {} };
  return createLog({ format: "text", clock, write: (line) => lines.push(line), ...options });
}

test("the text form is klog's, with the caller's file and line", () => {
  const lines: string[] = [];
  const log = logInto(lines);
  log.info("Selected pods for adapter scheduling", {
    ModelAdapter: "default/my-lora",
    selectedPods: ["pod-1", "pod-2"],
    replicas: 2,
    absent: undefined,
  });
  assert.match(
    lines[0] ?? "",
    /^I0830 03:55:42\.221000 \d+ log\.test\.ts:\d+\] "Selected pods for adapter scheduling" ModelAdapter="default\/my-lora" selectedPods=\["pod-1","pod-2"\] replicas=2\n$/,
  );
});

test("levels: letters, threshold, fields of a child", () => {
  const lines: string[] = [];
  const log = logInto(lines).child({ pod: "pod-1" });
  log.debug("hidden");
  log.warn("w");
  log.error("e", { error: "connection refused" });
  assert.deepEqual(
    lines.map((line) => line.replace(/ \d.*?\]/, "")),
    ['W0830 "w" pod="pod-1"\n', 'E0830 "e" pod="pod-1" error="connection refused"\n'],
  );
  logInto(lines, { level: "debug" }).debug("shown");
  assert.match(lines[2] ?? "", /^I0830 .*"shown"\n$/);
});

test("whatever a text holds, it stays one line, quoted as Go does", () => {
  assert.equal(
    goQuote('a"b\\c\n\td\u0007\u0000é日\u00a0😀'),
    '"a\\"b\\\\c\\n\\td\\a\\x00é日\\u00a0😀"',
  );
});

test("the JSON form carries component, time, caller and fields", () => {
  const lines: string[] = [];
  logInto(lines, { format: "json", component: "gateway" }).info("Started", {
    port: 80,
    pods: ["a"],
  });
  const line = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  assert.deepEqual(
    { ...line, pid: 0, caller: "" },
    {
      level: "info",
      pid: 0,
      component: "gateway",
      time: new Date(AT).toISOString(),
      caller: "",
      port: 80,
      pods: ["a"],
      msg: "Started",
    },
  );
  assert.match(String(line["caller"]), /^log\.test\.ts:\d+$/);
});

test("secrets are masked in both forms", () => {
  const secret = "sk-kFJ12nKsFake";
  const fields: LogFields = {
    "api-key": secret,
    apiKey: secret,
    Authorization: `Bearer ${secret}`,
    huggingface_token: secret,
    awsSecretAccessKey: secret,
    credentials: [secret],
    error: `401 for Authorization: Bearer ${secret} at https://me:${secret}@host/x`,
    promptTokens: 12,
    secretName: "s3-credentials",
  };
  for (const format of ["text", "json"] as const) {
    const lines: string[] = [];
    logInto(lines, { format }).info("m", fields);
    assert.ok(!(lines[0] ?? "").includes(secret), lines[0]);
    assert.match(lines[0] ?? "", /12/);
    assert.match(lines[0] ?? "", /s3-credentials/);
  }
});
