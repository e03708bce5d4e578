import assert from "node:assert/strict";
import { test } from "node:test";
import { boundedLabel, createMetrics } from "./metrics.ts";

test("two parts in one process do not share series", async () => {
  const first = createMetrics();
  const second = createMetrics();
  first
    .counter({ name: "requests_total", help: "Requests.", labels: ["code"] })
    .inc({ code: "200" });
  second.counter({ name: "requests_total", help: "Requests.", labels: ["code"] });
  assert.match(await first.text(), /^requests_total\{code="200"\} 1$/m);
  assert.doesNotMatch(await second.text(), /\} 1$/m);
});

test("a gauge can be read at scrape time; a histogram has its buckets", async () => {
  const metrics = createMetrics();
  let depth = 3;
  metrics.gauge({ name: "depth", help: "Depth.", collect: (gauge) => gauge.set(depth) });
  metrics.histogram({ name: "latency_seconds", help: "Latency.", buckets: [0.1, 1] }).observe(0.5);
  assert.match(await metrics.text(), /^depth 3$/m);
  depth = 4;
  const text = await metrics.text();
  assert.match(text, /^depth 4$/m);
  assert.match(text, /^latency_seconds_bucket\{le="0.1"\} 0$/m);
  assert.match(text, /^latency_seconds_bucket\{le="1"\} 1$/m);
});

test("a bounded label lumps late values together", () => {
  const bound = boundedLabel(2);
  assert.deepEqual(["a", "b", "c", "a", "d"].map(bound), ["a", "b", "other", "a", "other"]);
});
