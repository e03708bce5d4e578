import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { damaged, fuzzRuns } from "#test/support/fuzz.ts";
import { appendMetrics } from "./open-metrics.ts";
import { METRIC_NAMES } from "./rules.ts";
import { MetricTextError } from "./sample-line.ts";
import { translateMetrics } from "./translate.ts";

const recording = readFileSync(
  join(import.meta.dirname, "../../../fixtures/vllm-recordings/metrics.txt"),
  "utf8",
);
const vllm = METRIC_NAMES["vllm"] ?? {};

test("a real vLLM's metrics: each mapped family twice, everything else untouched and in order", () => {
  const output = translateMetrics(recording, vllm);
  const lines = output.split("\n");
  assert.deepEqual(
    lines.filter((line) => !/^(# (HELP|TYPE) )?aibrix:/.test(line)),
    recording.split("\n"),
  );
  for (const [from, to] of Object.entries(vllm)) {
    const lineOf = (name: string) =>
      lines.filter((line) =>
        new RegExp(`^(# (HELP|TYPE) )?${name}(_bucket|_sum|_count)?[ {]`).test(line),
      );
    const original = lineOf(from);
    assert.deepEqual(
      lineOf(to),
      original.map((line) => line.replace(from, to)),
    );
    assert.equal(original.length > 0, recording.includes(`# TYPE ${from} `), from);
  }
  assert.match(output, /^aibrix:queue_size\{.*\} 0\.0$/m);
  assert.match(output, /^aibrix:prompt_tokens_total\{/m);
  assert.match(output, /^aibrix:time_to_first_token_seconds_bucket\{.*le="\+Inf".*\}/m);
});

test("labels, escapes, timestamps and exemplars are passed on; OpenMetrics counters are known", () => {
  const text = `# HELP vllm:num_requests_waiting Requests "waiting" \\n here
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="a,b=\\"}{\\\\",x=""} 3 1700000000000
# a word between
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{m="x"} 7.0 # {trace_id="a} b"} 1.0 1.7e9
vllm:prompt_tokens_created{m="x"} 1.7e9
# EOF
`;
  assert.equal(
    translateMetrics(text, vllm),
    `# HELP aibrix:queue_size Requests "waiting" \\n here
# TYPE aibrix:queue_size gauge
aibrix:queue_size{model_name="a,b=\\"}{\\\\",x=""} 3 1700000000000
# HELP vllm:num_requests_waiting Requests "waiting" \\n here
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="a,b=\\"}{\\\\",x=""} 3 1700000000000
# a word between
# TYPE aibrix:prompt_tokens counter
aibrix:prompt_tokens_total{m="x"} 7.0 # {trace_id="a} b"} 1.0 1.7e9
aibrix:prompt_tokens_created{m="x"} 1.7e9
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{m="x"} 7.0 # {trace_id="a} b"} 1.0 1.7e9
vllm:prompt_tokens_created{m="x"} 1.7e9
# EOF
`,
  );
});

test("names that only begin like a mapped one are others; a family that is there already is not doubled", () => {
  const text = `vllm:num_requests_waiting_by_reason{reason="capacity"} 1
vllm:num_requests_waiting 2
aibrix:kv_cache_usage_perc 0.5
vllm:kv_cache_usage_perc 0.5`;
  assert.equal(
    translateMetrics(text, vllm),
    text.replace("vllm:num_requests_waiting 2", "aibrix:queue_size 2\n$&"),
  );
});

test("what is not an exposition is refused", () => {
  const bad = [
    "hello world",
    "1abc 2",
    "a{b=c} 1",
    'a{b="c} 1',
    'a{b="c" d="e"} 1',
    "a",
    "a 1 2 3",
    "a one",
    "a{} 1 soon",
    "# TYPE a nonsense",
    "# TYPE",
    "<html><body>Bad gateway</body></html>",
  ];
  for (const text of bad) {
    assert.throws(() => translateMetrics(`ok 1\n${text}\n`, vllm), MetricTextError, text);
  }
  assert.equal(translateMetrics("", vllm), "");
});

test("whatever it is given: a MetricTextError, or all lines of the original in their order", () => {
  const real = fc.constantFrom(...recording.split("\n"));
  const name = fc.constantFrom("vllm:num_requests_waiting", "a", "vllm:prompt_tokens_total");
  const line = fc.oneof(
    real,
    fc.string(),
    name.map((n) => `# TYPE ${n} counter`),
    fc
      .tuple(name, fc.string(), fc.double())
      .map(([n, v, x]) => `${n}{l=${JSON.stringify(v)}} ${x}`),
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      const text = lines.join("\n");
      let output: string;
      try {
        output = translateMetrics(text, vllm);
      } catch (error) {
        return error instanceof MetricTextError;
      }
      const kept = output.split("\n").filter((one) => !/^(# (HELP|TYPE) )?aibrix:/.test(one));
      return kept.join("\n") === text || text.includes("aibrix:");
    }),
    fuzzRuns(500),
  );
});

test("of a damaged exposition nothing is lost, and no family is there twice that was there once", () => {
  const start = recording.slice(0, 4000);
  const types = (text: string) => text.match(/^# TYPE \S+/gm) ?? [];
  fc.assert(
    fc.property(damaged([Buffer.from(start), Buffer.from(recording.slice(-3000))]), (bytes) => {
      const text = bytes.toString("utf8");
      let output: string;
      try {
        output = translateMetrics(text, vllm);
      } catch (error) {
        return error instanceof MetricTextError;
      }
      const kept = output.split("\n").filter((one) => !/^(# (HELP|TYPE) )?aibrix:/.test(one));
      const isWhole = kept.join("\n") === text || text.includes("aibrix:");
      const isOnce =
        new Set(types(text)).size < types(text).length ||
        new Set(types(output)).size === types(output).length;
      return isWhole && isOnce;
    }),
    fuzzRuns(500),
  );
});

test("our own metrics go behind the engine's, in its format", () => {
  const own = "# HELP x_total X.\n# TYPE x_total counter\nx_total 1\n\n# TYPE y gauge\ny 2\n";
  assert.equal(appendMetrics("a 1", own), `a 1\n${own}`);
  assert.equal(
    appendMetrics("# TYPE a gauge\na 1\n# EOF\n", own),
    "# TYPE a gauge\na 1\n# HELP x X.\n# TYPE x counter\nx_total 1\n# TYPE y gauge\ny 2\n# EOF\n",
  );
});
