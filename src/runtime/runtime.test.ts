import assert from "node:assert/strict";
import { existsSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runtimeEngine } from "#engine/runtime.ts";
import { vllmEngine } from "#engine/vllm.ts";
import { createLog } from "#telemetry/log.ts";
import { adapterFiles, largeAdapter, TINY } from "#test/support/adapters.ts";
import { zipOf } from "#test/support/archives.ts";
import { startArtifactServer } from "#test/support/artifact-server.ts";
import { eventually } from "#test/support/eventually.ts";
import { startFakeEngine } from "#test/support/fake-engine.ts";
import { fastClock } from "#test/support/fast-clock.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { parseRuntimeOptions } from "./options.ts";
import { runRuntime } from "./runtime.ts";

type Answer = Record<string, unknown> & { status: number };

/** A sidecar before a fake vLLM, with a server of artifacts. */
async function setUp(t: TestContext, env: Record<string, string> = {}) {
  const engine = await startFakeEngine();
  const artifacts = await startArtifactServer({
    ...adapterFiles("/sql"),
    ...adapterFiles("/shout", "shout"),
  });
  // Hooks run in this order: the folder goes when nobody writes to it any more.
  t.after(async () => {
    await sidecar.close();
    await engine.close();
    await artifacts.close();
  });
  const folder = await tempFolder(t);
  const root = join(folder, "adapters");
  const lines: string[] = [];
  const clock = fastClock(50);
  const start = async () => {
    const stop = new AbortController();
    const listening = Promise.withResolvers<number>();
    const options = parseRuntimeOptions(
      { host: "127.0.0.1", port: 0, enableFastapiDocs: true },
      {
        INFERENCE_ENGINE_ENDPOINT: engine.url,
        AIBRIX_ADAPTER_DIR: root,
        AIBRIX_CREDENTIALS_DIR: join(folder, "credentials"),
        DOWNLOADER_LOCAL_DIR: join(folder, "models"),
        ARTIFACT_HTTP_ALLOW_PRIVATE: "1",
        ...env,
      },
    );
    const running = runRuntime(
      {
        engine: vllmEngine(),
        clock,
        log: createLog({ format: "text", clock, write: (line) => lines.push(line) }),
        version: "1.2.3",
        onListening: listening.resolve,
      },
      options,
      stop.signal,
    );
    running.catch(listening.reject);
    const url = `http://127.0.0.1:${await listening.promise}`;
    return {
      url,
      close: async () => {
        stop.abort();
        await running;
      },
    };
  };
  let sidecar = await start();
  const ask = (path: string, init?: RequestInit) => fetch(sidecar.url + path, init);
  const post = async (path: string, body: object, init: RequestInit = {}): Promise<Answer> => {
    const text = JSON.stringify(body);
    const response = await ask(path, { ...init, method: "POST", body: text });
    return { ...((await response.json()) as object), status: response.status };
  };
  const load = (name: string, source: string, more: object = {}, init: RequestInit = {}) =>
    post(
      "/v1/lora_adapter/load",
      { lora_name: name, artifact_url: source.replace(/^http:/, artifacts.url), ...more },
      init,
    );
  const unload = (name: string, more: object = {}) =>
    post("/v1/lora_adapter/unload", { lora_name: name, ...more });
  return {
    engine,
    artifacts,
    root,
    folder,
    lines,
    url: () => sidecar.url,
    ask,
    post,
    load,
    unload,
    restart: async () => {
      await sidecar.close();
      sidecar = await start();
    },
  };
}

const versionsOf = (root: string, name: string) => {
  const folder = join(root, ".loradock/versions", name);
  return existsSync(folder) ? readdirSync(folder).filter((entry) => !entry.endsWith(".json")) : [];
};

test("load: fetched, told to the engine by its version, answered in AIBrix's words and ours", async (t) => {
  const { engine, root, load, lines, artifacts } = await setUp(t);
  const answer = await load("sql-lora", "http:/sql", {
    additional_config: { "api-key": "sk-1", other: "x" },
    credentials_secret: "unknown-fields-are-no-error",
  });
  const path = join(root, readlinkSync(join(root, "sql-lora")));
  assert.deepEqual(answer, {
    status: 200,
    message: "Successfully loaded adapter sql-lora",
    local_path: join(root, "sql-lora"),
    loaded_path: path,
    engine_response: { status: "loaded", lora_name: "sql-lora", lora_path: path },
  });
  assert.deepEqual(engine.calls, [`load sql-lora ${path}`]);
  const said = lines.join("");
  for (const words of [
    `"Downloading artifact from ${artifacts.url}/sql to ${root}/sql-lora"`,
    '"Successfully downloaded artifact for sql-lora"',
    '"Forwarding load request to engine with local path"',
  ]) {
    assert.ok(said.includes(words), words);
  }
});

test("load again: nothing happens from the same place; from another it is replaced, and the old files go", async (t) => {
  const { engine, root, load } = await setUp(t);
  const first = await load("a", "http:/sql");
  const again = await load("a", "http:/sql");
  assert.deepEqual([again.status, again["loaded_path"]], [200, first["loaded_path"]]);
  assert.equal(engine.calls.length, 1);
  const next = await load("a", "http:/shout");
  assert.deepEqual(engine.calls.slice(1), [`replace a ${next["loaded_path"]}`]);
  assert.deepEqual(versionsOf(root, "a"), [String(next["loaded_path"]).split("/").at(-1)]);
});

test("an engine that restarted gets its adapter back without a download", async (t) => {
  const { engine, artifacts, load } = await setUp(t);
  const first = await load("a", "http:/sql");
  engine.held.clear();
  await artifacts.close();
  const again = await load("a", "http:/sql");
  assert.deepEqual([again.status, again["loaded_path"]], [200, first["loaded_path"]]);
  assert.equal(engine.calls.length, 2);
});

test("equal files are kept once, and for the next adapter; the cache size says for how long", async (t) => {
  const { artifacts, root, ask, load, unload, restart } = await setUp(t);
  for (const [path, bytes] of Object.entries(adapterFiles("/copy")))
    artifacts.files.set(path, bytes);
  const cached = () => readdirSync(join(root, ".loradock/cache/files"));
  const inode = (name: string) => statSync(join(root, name, "adapter_model.safetensors")).ino;
  await load("a", "http:/sql");
  await load("b", "http:/copy");
  await eventually("shared", () => inode("a") === inode("b") && cached().length === 2);
  assert.deepEqual(readdirSync(root).sort(), [".loradock", "a", "b"]);
  await unload("a");
  await unload("b");
  await restart();
  const before = artifacts.asked.length;
  const again = await load("c", "http:/sql");
  assert.equal(again.status, 200);
  // It is asked whether we may still read it, and no more.
  const asked = artifacts.asked.slice(before).filter(({ method }) => method === "GET");
  assert.deepEqual([...new Set(asked.map(({ headers }) => headers.range))], ["bytes=0-0"]);
  const status = (await (await ask("/v1/lora_adapter/status?lora_name=c")).json()) as Answer;
  assert.deepEqual([status["bytes_done"], status["bytes_total"]], [239_948, 239_948]);

  const none = await setUp(t, { ARTIFACT_CACHE_SIZE: "0" });
  await none.load("a", "http:/sql");
  const files = join(none.root, ".loradock/cache/files");
  await eventually("shared", () => readdirSync(files).length === 2);
  await none.unload("a");
  assert.deepEqual(readdirSync(files), []);
});

test("many callers with one wish share one download and one load; different adapters do not wait", async (t) => {
  const { engine, artifacts, load } = await setUp(t);
  const gate = Promise.withResolvers<void>();
  artifacts.fault = ({ method, path }) =>
    method === "GET" && path === "/sql/adapter_model.safetensors"
      ? { until: gate.promise }
      : undefined;
  const many = Array.from({ length: 20 }, () => load("a", "http:/sql"));
  assert.equal((await load("b", "http:/shout")).status, 200);
  gate.resolve();
  const answers = await Promise.all(many);
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  assert.equal(artifacts.gets("/sql/adapter_model.safetensors"), 1);
  assert.equal(engine.calls.filter((call) => call.startsWith("load a")).length, 1);
});

test("the last caller to leave cancels the download, an unload as well", async (t) => {
  const { engine, artifacts, load, unload, ask } = await setUp(t);
  for (const [path, bytes] of Object.entries(largeAdapter("/big", 500_000))) {
    artifacts.files.set(path, bytes);
  }
  const gate = Promise.withResolvers<void>();
  t.after(() => gate.resolve());
  artifacts.fault = ({ method, path }) =>
    method === "GET" && path.endsWith("safetensors") ? { until: gate.promise } : undefined;
  const state = async () =>
    ((await (await ask("/v1/lora_adapter/status?lora_name=a")).json()) as Answer)["state"];
  const isDownloading = () =>
    eventually("downloading", async () => (await state()) === "downloading");

  const leaving = [new AbortController(), new AbortController()];
  const left = leaving.map(({ signal }) => load("a", "http:/big", {}, { signal }));
  await isDownloading();
  leaving[0]?.abort();
  await assert.rejects(left[0] ?? Promise.resolve(), { name: "AbortError" });
  assert.equal(await state(), "downloading");
  leaving[1]?.abort();
  await assert.rejects(left[1] ?? Promise.resolve(), { name: "AbortError" });
  await eventually("cancelled", async () => (await state()) === "failed");

  const staying = load("a", "http:/big");
  await isDownloading();
  assert.equal((await unload("a")).status, 200);
  const { status, code, retriable } = await staying;
  assert.deepEqual([status, code, retriable], [409, "Cancelled", true]);
  assert.deepEqual(engine.calls, ["unload a"]);
});

test("unload: the engine first, then the files; they stay when the engine cannot be asked", async (t) => {
  const { engine, root, load, unload } = await setUp(t);
  await load("a", "http:/sql");
  engine.down = { status: 503, body: "" };
  const failed = await unload("a");
  assert.deepEqual(
    [failed.status, failed["code"], failed["retriable"]],
    [503, "EngineUnavailable", true],
  );
  assert.match(String(failed["error"]), /service unavailable/);
  assert.equal(versionsOf(root, "a").length, 1);
  engine.down = undefined;
  assert.deepEqual(await unload("a"), { status: 200, message: "Successfully unloaded adapter a" });
  assert.deepEqual([versionsOf(root, "a"), existsSync(join(root, "a"))], [[], false]);
  // What the engine does not know is unloaded, whatever is left of it here.
  assert.equal((await unload("a")).status, 200);
  await load("a", "http:/sql");
  engine.held.clear();
  await unload("a");
  assert.equal(existsSync(join(root, "a")), false);
  await load("a", "http:/sql");
  await unload("a", { cleanup_local: false });
  assert.equal(versionsOf(root, "a").length, 1);
});

const inUse = (name: string, at: number) =>
  `vllm:lora_requests_info{max_lora="2",running_lora_adapters="${name}",waiting_lora_adapters=""} ${at}\n`;

test("files stay while the engine has requests for the adapter, at most for half a minute", async (t) => {
  const { engine, root, load, unload } = await setUp(t);
  await load("a", "http:/sql");
  engine.metrics = inUse("", 1) + inUse("b,a", 2);
  const unloading = unload("a");
  await eventually("unloaded", () => engine.calls.includes("unload a"));
  assert.equal(versionsOf(root, "a").length, 1);
  engine.metrics = inUse("b,a", 2) + inUse("b", 3);
  assert.equal((await unloading).status, 200);
  assert.equal(versionsOf(root, "a").length, 0);

  await load("a", "http:/sql");
  engine.metrics = inUse("a", 4);
  assert.equal((await unload("a")).status, 200);
  assert.equal(versionsOf(root, "a").length, 1, "an engine that lost them would die");
});

test("old versions that an engine still holds wait for a better day, also over a restart", async (t) => {
  const { engine, root, load, restart, ask } = await setUp(t);
  const first = await load("a", "http:/sql");
  engine.refusal = "main-13-load-bad-corrupt";
  const refused = await load("a", "http:/shout");
  assert.deepEqual([refused.status, refused["code"]], [400, "EngineRejected"]);
  assert.equal(engine.held.get("a"), first["loaded_path"]);
  engine.refusal = undefined;
  engine.metrics = inUse("a", 1);
  await load("a", "http:/shout");
  assert.equal(versionsOf(root, "a").length, 2);
  await restart();
  engine.metrics = inUse("a", 1) + inUse("", 2);
  // The controller's next look at the models is an occasion.
  await ask("/v1/models");
  await eventually("tidied", () => versionsOf(root, "a").length === 1);
});

test("the direct form: a path or a hub id goes to the engine as it is, nothing is ever removed", async (t) => {
  const { engine, root, post, unload } = await setUp(t);
  const path = join(TINY, "adapters/sql");
  const direct = (lora_path: string) =>
    post("/v1/lora_adapter/load", { lora_name: "a", lora_path });
  const answer = await direct(path);
  assert.deepEqual([answer["local_path"], answer["loaded_path"]], [path, path]);
  assert.equal((await direct("org/repo")).status, 200);
  assert.equal((await direct("/only/the/engine/sees/this")).status, 200);
  assert.deepEqual(engine.calls, [
    `load a ${path}`,
    "replace a org/repo",
    "replace a /only/the/engine/sees/this",
  ]);
  assert.equal((await direct(join(TINY, "adapters-bad/no-weights")))["code"], "InvalidArtifact");
  await direct(path);
  await unload("a");
  assert.ok(existsSync(join(path, "adapter_config.json")));
  assert.deepEqual(readdirSync(root), [".loradock"]);
});

test("the engine's own refusals and silences keep its words, with a code that fits", async (t) => {
  const { engine, load } = await setUp(t, { INFERENCE_ENGINE_API_KEY: "sk-own" });
  const failure = async () => {
    const { status, code, retriable, error } = await load("a", "http:/sql");
    return [status, code, retriable, String(error)];
  };
  engine.refusal = "main-12-load-bad-wrong-shape";
  const [status, code, retriable, error] = await failure();
  assert.deepEqual([status, code, retriable], [400, "EngineRejected", false]);
  assert.match(String(error), /Call to add_lora method failed/);
  engine.refusal = "main-09-load-missing-path";
  assert.match(
    (await failure())[3] as string,
    /No adapter found.*mount the volume adapter-storage/,
  );
  engine.refusal = undefined;
  engine.apiKey = "sk-other";
  assert.deepEqual((await failure()).slice(0, 3), [401, "EngineRejected", false]);
  engine.apiKey = "sk-own";
  assert.equal((await load("a", "http:/sql")).status, 200);
  engine.apiKey = "sk-request";
  const headers = { authorization: "Bearer sk-request" };
  assert.equal((await load("a", "http:/shout", {}, { headers })).status, 200);
  await engine.close();
  const gone = await failure();
  assert.deepEqual(gone.slice(0, 3), [503, "EngineUnavailable", true]);
  assert.match(gone[3] as string, /connection refused/);
});

test("what cannot be meant, cannot be had, or is no adapter is told apart by status, code and words", async (t) => {
  const { load, post, artifacts, folder, engine, lines } = await setUp(t, {
    INFERENCE_ENGINE_MAX_LORA_RANK: "16",
  });
  for (const name of ["garbage", "rank-64"]) {
    for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
      const bytes = await readFile(join(TINY, "adapters-bad", name, file));
      artifacts.files.set(`/${name}/${file}`, bytes);
    }
  }
  artifacts.fault = ({ path, headers }) => {
    if (path.startsWith("/private")) return { status: headers["x-key"] === undefined ? 401 : 403 };
    return undefined;
  };
  const cases: [Promise<Answer>, number, string, RegExp][] = [
    [load("a", "http:/none"), 404, "NotFound", /^Not found/],
    [load("a", "http:/private"), 403, "AccessDenied", /^Access denied/],
    [
      load("b", "http:/private", { credentials: { headers: '{"X-Key":"k3y-value"}' } }),
      403,
      "AccessDenied",
      /^Access denied/,
    ],
    [
      load("c", "http:/x", { credentials: { headers: "k3y-value" } }),
      401,
      "InvalidCredentials",
      /^Invalid credentials/,
    ],
    [load("d", "http:/garbage"), 422, "InvalidArtifact", /not a safetensors file/],
    [load("e", "http:/rank-64"), 422, "InvalidArtifact", /max_lora_rank 16/],
    [load("f", "tos://bucket/a"), 400, "InvalidRequest", /TOS_ENDPOINT or TOS_REGION/],
    [load("../f", "http:/sql"), 400, "InvalidRequest", /lora_name/],
    [load("f", "nothing"), 400, "InvalidRequest", /no scheme/],
    [post("/v1/lora_adapter/load", { lora_name: "x" }), 400, "InvalidRequest", /artifact_url/],
    [post("/v1/lora_adapter/load", { artifact_url: "/a" }), 400, "InvalidRequest", /lora_name/],
    [load("f", "http:/sql", { credentials: [1] }), 400, "InvalidRequest", /credentials/],
    [post("/v1/lora_adapter/unload", {}), 400, "InvalidRequest", /lora_name/],
    [post("/nowhere", {}), 404, "InvalidRequest", /no POST \/nowhere/],
  ];
  for (const [asked, status, code, words] of cases) {
    const answer = await asked;
    assert.deepEqual([answer.status, answer["code"], answer["retriable"]], [status, code, false]);
    assert.match(String(answer["error"]), words);
  }
  assert.deepEqual(engine.calls, []);
  assert.doesNotMatch(lines.join(""), /k3y-value/);
  const mounted = join(folder, "credentials");
  await mkdir(mounted);
  await writeFile(join(mounted, "headers"), '{"X-Key":"mounted"}\n');
  await load("a", "http:/sql");
  assert.equal(artifacts.asked.at(-1)?.headers["x-key"], "mounted");
});

test("the asynchronous form: accepted at once, followed by its status", async (t) => {
  const { artifacts, load, ask } = await setUp(t);
  const gate = Promise.withResolvers<void>();
  artifacts.fault = ({ method }) => (method === "GET" ? { until: gate.promise } : undefined);
  const headers = { prefer: "respond-async" };
  const accepted = await load("a", "http:/sql", {}, { headers });
  assert.equal(accepted.status, 202);
  const status = async (path = String(accepted["status_url"])) =>
    (await (await ask(path)).json()) as Answer;
  const early = await eventually("downloading", async () => {
    const now = await status();
    return now["state"] === "downloading" && now["bytes_total"] !== null && now;
  });
  assert.equal(early["bytes_total"], 239_948);
  gate.resolve();
  const done = await eventually("loaded", async () => {
    const now = await status();
    return now["state"] === "loaded" && now;
  });
  assert.deepEqual([done["bytes_done"], typeof done["finished_at"]], [239_948, "string"]);
  await load("b", "http:/none", {}, { headers });
  const failed = await eventually("failed", async () => {
    const now = await status("/v1/lora_adapter/status?lora_name=b");
    return now["state"] === "failed" && now;
  });
  assert.deepEqual([failed["code"], failed["retriable"]], ["NotFound", false]);
  const all = (await status("/v1/lora_adapter/status"))["adapters"] as Answer[];
  assert.deepEqual(
    all.map((one) => one["lora_name"]),
    ["a", "b"],
  );
  assert.equal((await ask("/v1/lora_adapter/status?lora_name=c")).status, 404);
  assert.equal((await load("../c", "http:/sql", {}, { headers })).status, 400);
});

test("the model list is the engine's, with the caller's key, and never remembered", async (t) => {
  const { engine, load, ask } = await setUp(t);
  await load("a", "http:/sql");
  engine.apiKey = "sk-1";
  const list = async (key?: string) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    const response = await ask("/v1/models", { headers });
    assert.equal(response.headers.get("cache-control"), "no-store");
    return `${response.status} ${await response.text()}`;
  };
  assert.equal(await list(), '401 {"error":"Unauthorized"}');
  assert.match(await list("sk-1"), /^200 .*"id":"a"/);
  engine.held.clear();
  assert.doesNotMatch(await list("sk-1"), /"id":"a"/);
  await engine.close();
  const gone = await ask("/v1/models");
  assert.equal(gone.status, 503);
  assert.match(JSON.stringify(await gone.json()), /connection refused.*EngineUnavailable/);
});

test("alive by itself, ready only with its engine", async (t) => {
  const { engine, ask } = await setUp(t);
  const probe = async (path: string) => {
    const response = await ask(path);
    return [response.status, ((await response.json()) as { status: unknown }).status];
  };
  assert.deepEqual(await probe("/healthz"), [200, "ok"]);
  assert.deepEqual(await probe("/ready"), [200, "ready"]);
  engine.down = { status: 503, body: "" };
  assert.deepEqual(await probe("/ready"), [503, "not ready"]);
  await engine.close();
  assert.deepEqual(await probe("/ready"), [503, "not ready"]);
  assert.deepEqual(await probe("/healthz"), [200, "ok"]);
});

test("metrics: translated beside the originals, with our own; raw on request and on any fault", async (t) => {
  const { engine, ask, load } = await setUp(t);
  await load("a", "http:/sql");
  const scrape = async () => {
    const response = await ask("/metrics");
    return { status: response.status, text: await response.text() };
  };
  const { text } = await scrape();
  assert.match(text, /^aibrix:queue_size\{/m);
  assert.match(text, /^vllm:num_requests_waiting\{/m);
  assert.match(text, /^aibrix:info\{version="1.2.3",engine="vllm",engine_version="unknown"\} 1$/m);
  const labels = 'method="POST",endpoint="/v1/lora_adapter/load",status="200"';
  assert.ok(text.includes(`aibrix:api_request_total{${labels}} 1`), text.slice(-3000));
  assert.ok(text.includes(`aibrix:api_request_latency_count{${labels}} 1`));
  assert.match(text, /^loradock_runtime_load_seconds_count\{result="loaded"\} 1$/m);
  engine.metrics = "vllm:num_requests_waiting 1\nthis is no metric\n";
  assert.equal((await scrape()).text, engine.metrics);
  engine.down = { status: 500, body: "no" };
  assert.deepEqual((await scrape()).status, 502);
  await engine.close();
  const { status, text: why } = await scrape();
  assert.deepEqual([status, /connection refused/.test(why)], [502, true]);

  for (const env of [
    { METRICS_ENABLE_TRANSFORMATION: "0" },
    { METRICS_RAW_PASSTHROUGH_MODE: "true" },
    { METRICS_ENABLE_TRANSFORMATION: "off", METRICS_RAW_PASSTHROUGH_MODE: "0" },
  ]) {
    const raw = await setUp(t, env);
    assert.equal(await (await raw.ask("/metrics")).text(), raw.engine.metrics);
  }
});

test("models are downloaded in the background, whole, and listed", async (t) => {
  const { post, ask, artifacts, folder } = await setUp(t, {});
  const root = join(folder, "models");
  const download = (body: object) => post("/v1/model/download", body);
  artifacts.files.set("/tiny.zip", zipOf([{ name: "a/config.json", content: "{}" }]));
  const card = await download({ model_uri: `${artifacts.url}/tiny.zip` });
  assert.deepEqual(
    [card.status, card["model_name"], card["model_root_path"], card["source"]],
    [200, "tiny", join(root, "tiny"), "http"],
  );
  const listed = await eventually("downloaded", async () => {
    const { data } = (await (await ask("/v1/model/list")).json()) as { data: Answer[] };
    return data[0]?.["model_status"] === "downloaded" && data;
  });
  assert.equal(listed.length, 1);
  assert.ok(existsSync(join(root, "tiny/a/config.json")));
  const refused = [
    { model_uri: "ms://x" },
    { model_uri: "org/repo", local_dir: "/etc" },
    { model_uri: "org/repo", model_name: "../x" },
    { model_uri: "/models/here" },
    {},
  ];
  for (const body of refused) assert.equal((await download(body)).status, 400);
});

test("a token, where the operator sets one, guards what changes something", async (t) => {
  const file = join(await tempFolder(t), "token");
  await writeFile(file, "t0ken\n");
  const { load, ask } = await setUp(t, { LORADOCK_RUNTIME_TOKEN_FILE: file });
  const refused = await load("a", "http:/sql");
  assert.deepEqual([refused.status, refused["code"]], [403, "AccessDenied"]);
  const withToken = { headers: { "x-loradock-token": "t0ken" } };
  assert.equal((await load("a", "http:/sql", {}, withToken)).status, 200);
  assert.equal((await ask("/v1/models")).status, 200);
});

test("the controller's edge understands its answers: the version's path, the inventory, typed errors", async (t) => {
  const { url, artifacts, engine, root } = await setUp(t);
  engine.apiKey = "sk-1";
  const runtime = runtimeEngine();
  const target = { url: url(), apiKey: "sk-1" };
  const signal = new AbortController().signal;
  const request = {
    name: "a",
    artifactUrl: `${artifacts.url}/sql`,
    credentials: undefined,
    additionalConfig: undefined,
    directPath: undefined,
  };
  const path = await runtime.loadArtifact(target, request, signal);
  assert.equal(path, join(root, readlinkSync(join(root, "a"))));
  assert.deepEqual(await runtime.inventory(target, signal), [{ name: "a", root: path }]);
  const missing = { ...request, name: "b", artifactUrl: `${artifacts.url}/none` };
  await assert.rejects(runtime.loadArtifact(target, missing, signal), {
    code: "NotFound",
    retriable: false,
    message: /^Not found: /,
  });
  await runtime.unload(target, "a", signal);
  assert.deepEqual(await runtime.inventory(target, signal), []);
});

test("the API describes itself on request", async (t) => {
  const { ask } = await setUp(t);
  const api = (await (await ask("/openapi.json")).json()) as { paths: object };
  assert.ok("/v1/lora_adapter/load" in api.paths);
  assert.match(await (await ask("/docs")).text(), /POST \/v1\/lora_adapter\/unload/);
});
