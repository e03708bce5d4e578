/**
 * Replays every recorded answer of a real vLLM 0.32.0, in the order and with the settings in which it
 * was recorded, and compares word for word. What is made equal before the comparison, and why:
 *
 * - ids of answers and permissions, `created`, the hash in `system_fingerprint`: new at each run;
 * - paths: the recordings say /models/tiny where the fixtures lie; error messages hide some folders
 *   (vLLM's own rule), so the same rule is applied to the expected message after the paths are put in;
 * - the order of the names in a printed Python set, which is random in Python;
 * - log probabilities: equal to 0.0001, the sums are made in another order;
 * - headers: `date`, `content-length` (a body may contain paths) and the connection's own are left out;
 * - metrics: see `compareMetrics`.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { cp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Clock } from "#base/clock.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import {
  type EngineForTests,
  eventually,
  type Reply,
  startForTests,
  TINY,
  temporaryFolder,
} from "#test/support/engine-for-tests.ts";
import { withoutPaths } from "./http-errors.ts";

const FOLDER = join(import.meta.dirname, "../../../fixtures/vllm-recordings");

type Recording = {
  name: string;
  request: { method: string; path: string; headers: Record<string, string>; body: unknown };
  status: number;
  headers: Record<string, string>;
  body: string;
};
type Facts = {
  argv: string[];
  env: Record<string, string>;
  many_load_statuses: number[];
  many_listed: number;
  evicted_then_used: { model: string; status: number; text: string }[];
};
type Golden = Record<
  string,
  {
    prompt: string;
    text: string;
    finish_reason: string;
    token_ids: number[];
    prompt_token_ids: number[];
    usage: unknown;
  }[]
>;

const readJson = <T>(name: string): T => JSON.parse(readFileSync(join(FOLDER, name), "utf8")) as T;

/** Where the recordings' folders lie in this run. */
type Places = (text: string) => string;

function placesWith(resolverFolder = "/nowhere"): Places {
  return (text) =>
    text.replaceAll("/models/tiny", TINY).replaceAll("/lab/resolver-dir", resolverFolder);
}

/** Python's `json.dumps`, whose length the request size metrics count. */
function pythonDumps(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonDumps).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const items = Object.entries(value).map(
    ([key, item]) => `${JSON.stringify(key)}: ${pythonDumps(item)}`,
  );
  return `{${items.join(", ")}}`;
}

/** Makes equal what differs between two runs of the same engine. */
function normalize(text: string): string {
  return text
    .replace(/\b(cmpl|chatcmpl|modelperm)-[0-9a-f]{16}\b/g, "$1-0")
    .replace(/"created":\d{10}\b/g, '"created":0')
    .replace(/vllm-0\.32\.0-[0-9a-f]{8}/g, "vllm-0.32.0-0")
    .replace(
      /\{('\w+'(?:, '\w+')+)\}/g,
      (_, names: string) => `{${names.split(", ").toSorted().join(", ")}}`,
    );
}

/** An expected body with this run's paths; the message of an error hides them as the engine does. */
function expectedBody(body: string, places: Places): string {
  const placed = places(body);
  if (!placed.startsWith('{"error":{')) return placed;
  const parsed = JSON.parse(placed) as { error: { message: string } };
  parsed.error.message = withoutPaths(parsed.error.message);
  return JSON.stringify(parsed);
}

function compareHeaders(actual: Reply["headers"], expected: Record<string, string>): void {
  for (const name of ["content-type", "allow", "vary", "server", "transfer-encoding"]) {
    assert.equal(actual[name], expected[name], `header ${name}`);
  }
}

/** Numbers that are not whole may differ by 0.0001. */
function assertClose(actual: unknown, expected: unknown): void {
  if (typeof expected === "number" && typeof actual === "number" && !Number.isInteger(expected)) {
    assert.ok(Math.abs(actual - expected) < 1e-4, `${actual} is not close to ${expected}`);
  } else if (
    typeof expected === "object" &&
    expected !== null &&
    typeof actual === "object" &&
    actual !== null
  ) {
    assert.deepEqual(Object.keys(actual), Object.keys(expected));
    for (const [key, value] of Object.entries(expected)) {
      assertClose((actual as Record<string, unknown>)[key], value);
    }
  } else assert.deepEqual(actual, expected);
}

/** Series of the Python runtime, and of the process where Node has no portable figure. */
const NOT_OURS = /^(?:python_|process_virtual_memory|process_open_fds|process_max_fds)/;
/** Its labels describe vLLM's cache; ours has its own. */
const OWN_LABELS = /^vllm:cache_config_info/;
/**
 * Values that depend on time, on the machine, on how tokens fell into steps, on the length of paths,
 * or on the prefix cache that this engine does not have.
 */
const OWN_VALUES =
  /_created\b|_seconds_sum|_seconds_bucket|^process_|iteration_tokens_total_(?:bucket|count)|prefix_cache_queries_total|lora_requests_info|http_response_size_bytes_sum/;

function parseMetrics(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(" ")),
      Number(line.slice(line.lastIndexOf(" "))),
    ]),
  );
}

/** The same families with the same help and type, the same series, and the same values where they can be. */
function compareMetrics(actual: string, expected: string, ignored: RegExp = OWN_VALUES): void {
  const heads = (text: string) =>
    text.split("\n").filter((line) => line.startsWith("# ") && !NOT_OURS.test(line.slice(7)));
  assert.deepEqual(heads(actual).toSorted(), heads(expected).toSorted());
  const ours = parseMetrics(actual);
  const theirs = parseMetrics(expected);
  const comparable = (name: string) => !NOT_OURS.test(name) && !OWN_LABELS.test(name);
  assert.deepEqual(
    [...ours.keys()].filter(comparable).toSorted(),
    [...theirs.keys()].filter(comparable).toSorted(),
  );
  for (const [name, value] of theirs) {
    if (comparable(name) && !ignored.test(name)) assert.equal(ours.get(name), value, name);
  }
}

function files(mode: string): string[] {
  return readdirSync(FOLDER)
    .filter((name) => name.startsWith(`${mode}-`) && /-\d\d-/.test(name))
    .toSorted();
}

function startLike(
  facts: Facts,
  places: Places,
  clock: Clock = systemClock,
): Promise<EngineForTests> {
  const argv = facts.argv.slice(2).map(places);
  const port = argv.indexOf("--port");
  return startForTests(
    argv.with(port + 1, "0"),
    Object.fromEntries(Object.entries(facts.env).map(([name, value]) => [name, places(value)])),
    clock,
  );
}

function ask(engine: EngineForTests, { request }: Recording, places: Places): Promise<Reply> {
  const { method, path, headers, body } = request;
  const text = typeof body === "string" ? body : pythonDumps(body);
  return engine.call({ method, path, headers, ...(body === null ? {} : { body: places(text) }) });
}

async function replay(engine: EngineForTests, file: string, places: Places): Promise<void> {
  const recording = readJson<Recording>(file);
  const reply = await ask(engine, recording, places);
  assert.equal(reply.status, recording.status, `${file}: ${reply.body}`);
  compareHeaders(reply.headers, recording.headers);
  if (recording.request.path === "/metrics") compareMetrics(reply.body, recording.body);
  else if (recording.name === "completion-logprobs") {
    const [actual, expected] = [reply.body, recording.body].map(
      (text) => JSON.parse(normalize(text)) as unknown,
    );
    assertClose(actual, expected);
  } else assert.equal(normalize(reply.body), normalize(expectedBody(recording.body, places)), file);
}

type Completion = {
  choices: {
    text: string;
    finish_reason: string;
    token_ids: number[];
    prompt_token_ids: number[];
  }[];
  usage: unknown;
};

async function complete(engine: EngineForTests, body: unknown): Promise<Completion> {
  const reply = await engine.call({
    method: "POST",
    path: "/v1/completions",
    headers: { "content-type": "application/json" },
    body: pythonDumps(body),
  });
  assert.equal(reply.status, 200, reply.body);
  return JSON.parse(reply.body) as Completion;
}

const PROMPT = { prompt: "San Francisco is a", max_tokens: 24, temperature: 0 };
const ADAPTERS = ["sql", "shout", "pirate"];
const load = (engine: EngineForTests, name: string, path: string) =>
  engine.post("/v1/load_lora_adapter", { lora_name: name, lora_path: path });
const unload = (engine: EngineForTests, name: string) =>
  engine.post("/v1/unload_lora_adapter", { lora_name: name });

async function compareGolden(engine: EngineForTests): Promise<void> {
  for (const [model, list] of Object.entries(readJson<Golden>("golden-texts.json"))) {
    for (const golden of list) {
      const { prompt } = golden;
      const body = { model, prompt, max_tokens: 40, temperature: 0, return_token_ids: true };
      const { choices, usage } = await complete(engine, body);
      const { text, finish_reason, token_ids, prompt_token_ids } = choices[0] ?? {};
      assert.deepEqual({ prompt, text, finish_reason, token_ids, prompt_token_ids, usage }, golden);
    }
  }
}

/** Five requests with three adapters, of which two fit into a batch: the fifth waits, as recorded. */
async function loadFiveAtOnce(engine: EngineForTests): Promise<void> {
  const body = { prompt: "Paris is a", max_tokens: 400, ignore_eos: true, temperature: 0 };
  const models = ["sql", "sql", "shout", "pirate", "tiny-llama"];
  const done = Promise.all(models.map((model) => complete(engine, { model, ...body })));
  const recording = readJson<Recording>("main-49-metrics-under-load.json");
  let text = "";
  await eventually(async () => {
    text = (await engine.get("/metrics")).body;
    return (
      parseMetrics(text).get('vllm:num_requests_running{engine="0",model_name="tiny-llama"}') === 4
    );
  });
  // The moment of the recording cannot be met again: only the state of the queue is compared.
  compareMetrics(
    text.replace(/^vllm:lora_requests_info.*\n/gm, ""),
    recording.body.replace(/^vllm:lora_requests_info.*\n/gm, ""),
    /^(?!vllm:num_requests_)/,
  );
  const usage =
    parseMetrics(text).get('vllm:kv_cache_usage_perc{engine="0",model_name="tiny-llama"}') ?? 0;
  assert.ok(usage > 0 && usage < 1);
  await done;
}

async function loadManyAndForget(engine: EngineForTests, facts: Facts): Promise<void> {
  const statuses: number[] = [];
  for (let i = 0; i < 30; i++) {
    statuses.push(
      (await load(engine, `m${i}`, join(TINY, "adapters", ADAPTERS[i % 3] ?? ""))).status,
    );
  }
  assert.deepEqual(statuses, facts.many_load_statuses);
  const listed = JSON.parse((await engine.get("/v1/models")).body) as { data: unknown[] };
  assert.equal(listed.data.length, facts.many_listed);
  for (const { model, text } of facts.evicted_then_used) {
    assert.equal((await complete(engine, { model, ...PROMPT })).choices[0]?.text, text);
  }
  const body = { prompt: "Paris is a", max_tokens: 60, ignore_eos: true, temperature: 0 };
  await Promise.all([0, 1, 2, 3, 4, 5].map((i) => complete(engine, { model: `m${i}`, ...body })));
}

/** A clock whose sleep ends only when the test says so. */
function heldClock(): Clock & { release: () => void; slept: number[] } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const slept: number[] = [];
  const sleep = (ms: number) => {
    slept.push(ms);
    return promise;
  };
  return { ...systemClock, sleep, release: resolve, slept };
}

describe("recordings of vLLM 0.32.0", { concurrency: 2 }, () => {
  test("main: adapters loaded at run time, no key", async (t) => {
    const places = placesWith();
    const facts = readJson<Facts>("main-facts.json");
    const clock = heldClock();
    await using engine = await startLike(facts, places, clock);
    await using folder = await temporaryFolder();
    const replayed = files("main");
    const step = (from: number, to: number) =>
      replayed
        .slice(from - 1, to)
        .reduce(
          (before, file) => before.then(() => t.test(file, () => replay(engine, file, places))),
          Promise.resolve(),
        );
    assert.equal(replayed.length, 54);
    await step(1, 48);
    await t.test("golden texts and token ids", () => compareGolden(engine));
    await t.test(replayed[48], () => loadFiveAtOnce(engine));
    await step(50, 50);
    for (const name of ADAPTERS) assert.equal((await unload(engine, name)).status, 200);
    await t.test("30 adapters with 4 in memory", () => loadManyAndForget(engine, facts));
    const gone = join(folder.path, "gone");
    await cp(join(TINY, "adapters/sql"), gone, { recursive: true });
    assert.equal((await load(engine, "gone", gone)).status, 200);
    await rm(gone, { recursive: true });
    await step(51, 51);
    for (let i = 0; i < 5; i++) await complete(engine, { model: `m${i}`, ...PROMPT });
    await step(52, 54);
    await t.test("a dead engine ends as vLLM's watchdog ends it", async () => {
      await eventually(() => clock.slept.length > 0);
      assert.deepEqual(clock.slept, [5000]);
      clock.release();
      assert.equal(await engine.finished, "died");
    });
  });

  test("auth: API key, static adapter, resolver", async (t) => {
    await using folder = await temporaryFolder();
    for (const name of ["pirate", "shout"]) {
      await cp(join(TINY, "adapters", name), join(folder.path, name), { recursive: true });
    }
    const configFile = join(folder.path, "pirate/adapter_config.json");
    const config = JSON.parse(readFileSync(configFile, "utf8")) as Record<string, unknown>;
    config["base_model_name_or_path"] = join(TINY, "base");
    await writeFile(configFile, JSON.stringify(config));
    const places = placesWith(folder.path);
    await using engine = await startLike(readJson<Facts>("auth-facts.json"), places);
    assert.equal(files("auth").length, 25);
    for (const file of files("auth")) await t.test(file, () => replay(engine, file, places));
  });

  test("plain: no adapters at run time", async (t) => {
    const places = placesWith();
    await using engine = await startLike(readJson<Facts>("plain-facts.json"), places);
    assert.equal(files("plain").length, 3);
    for (const file of files("plain")) await t.test(file, () => replay(engine, file, places));
  });
});
