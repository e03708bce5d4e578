/** The sidecar as a process of its own, between a real hub and a real engine, killed at any moment. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { validateAdapter } from "#artifact/validate.ts";
import { parseEngineArgs } from "#local/engine/engine-args.ts";
import { startEngine } from "#local/engine/start-engine.ts";
import { startHub } from "#local/hub/hub.ts";
import { seedHub } from "#local/hub/seed.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { adapterFiles, largeAdapter, TINY } from "#test/support/adapters.ts";
import { startArtifactServer } from "#test/support/artifact-server.ts";
import { eventually } from "#test/support/eventually.ts";
import { freePort } from "#test/support/free-port.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { tempFolder } from "#test/support/temp-folder.ts";

const SQL = " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;";
const WEIGHTS = "adapter_model.safetensors";

async function setUp(t: TestContext) {
  const dir = await tempFolder(t);
  const stop = new AbortController();
  await seedHub(join(dir, "hub"));
  const hub = await startHub(
    { dir: join(dir, "hub"), host: "127.0.0.1", port: 0, log: silentLog },
    stop.signal,
  );
  const engine = await startEngine(
    parseEngineArgs(
      [
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--enable-lora",
        "--served-model-name",
        "base",
      ],
      { VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True" },
    ),
    { clock: systemClock, writeLine: () => {}, bundledModelFolder: join(TINY, "base") },
    stop.signal,
  );
  const engineUrl = `http://127.0.0.1:${engine.port}`;
  const root = join(dir, "adapters");
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  const start = async () => {
    const bin = join(import.meta.dirname, "../../bin/aibrix_runtime");
    child = spawn(process.execPath, [bin, "--port", String(port), "--host", "127.0.0.1"], {
      stdio: ["ignore", "ignore", "inherit"],
      env: {
        ...process.env,
        HF_ENDPOINT: hub.url,
        INFERENCE_ENGINE_ENDPOINT: engineUrl,
        AIBRIX_ADAPTER_DIR: root,
        ARTIFACT_HTTP_ALLOW_PRIVATE: "1",
      },
    });
    await eventually(
      "alive",
      async () => (await fetch(`${url}/healthz`).catch(() => null))?.ok,
      10_000,
    );
  };
  const kill = async (signal: NodeJS.Signals) => {
    const running = child;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const exited = once(running, "exit");
    running.kill(signal);
    await exited;
  };
  t.after(async () => {
    await kill("SIGKILL");
    stop.abort();
    await Promise.all([hub.closed, engine.finished]);
  });
  await start();
  const load = async (name: string, artifact_url: string) => {
    const body = JSON.stringify({ lora_name: name, artifact_url });
    const response = await fetch(`${url}/v1/lora_adapter/load`, { method: "POST", body });
    return { ...((await response.json()) as Record<string, unknown>), code: response.status };
  };
  const complete = async (model: string) => {
    const response = await fetch(`${engineUrl}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, prompt: "San Francisco is a", max_tokens: 24, temperature: 0 }),
    });
    return ((await response.json()) as { choices?: { text: string }[] }).choices?.[0]?.text;
  };
  return { root, load, complete, kill, start, child: () => child };
}

test("the hub's adapter answers; SIGTERM ends the sidecar by itself", async (t) => {
  const { load, complete, kill, child } = await setUp(t);
  const answer = await load("sql-lora", "huggingface://loradock/tiny-sql-lora");
  assert.equal(answer.code, 200, JSON.stringify(answer));
  assert.equal(await complete("sql-lora"), SQL);
  await kill("SIGTERM");
  assert.equal(child()?.exitCode, 0);
});

test("killed at any moment of a download or a publication, nothing half-written is ever visible", async (t) => {
  const { root, load, complete, kill, start } = await setUp(t);
  const size = 20_000_000;
  const artifacts = await startArtifactServer({
    ...largeAdapter("/big", size),
    ...adapterFiles("/sql"),
    ...adapterFiles("/shout", "shout"),
  });
  t.after(() => artifacts.close());
  const known = new Set(
    [...artifacts.files]
      .filter(([path]) => path.endsWith(WEIGHTS))
      .map(([, bytes]) => bytes.length),
  );
  const isWhole = async () => {
    const link = join(root, "a");
    if (!existsSync(link)) return;
    await validateAdapter(join(root, readlinkSync(link)), {
      allowPickle: false,
      maxRank: undefined,
    });
    assert.ok(known.has(readFileSync(join(link, WEIGHTS)).length));
  };
  const sources = ["/big", "/sql", "/shout"];
  for (let round = 0; round < 12; round++) {
    const loads = sources.map((path) => load("a", artifacts.url + path).catch(() => undefined));
    // From the first byte to after the last rename; the seed is the round.
    await delay((round * 37) % 150);
    await kill("SIGKILL");
    await isWhole();
    await Promise.all(loads);
    await start();
    await isWhole();
  }
  const answer = await load("a", `${artifacts.url}/sql`);
  assert.equal(answer.code, 200, JSON.stringify(answer));
  await isWhole();
  assert.equal(await complete("a"), SQL);
  assert.deepEqual(readdirSync(join(root, ".loradock/staging")), []);
});

test("a download that a kill broke off goes on where it was", async (t) => {
  const { load, kill, start, root } = await setUp(t);
  const artifacts = await startArtifactServer(largeAdapter("/big", 2_000_000));
  t.after(() => artifacts.close());
  const gate = Promise.withResolvers<void>();
  const never = Promise.withResolvers<void>();
  t.after(() => never.resolve());
  // The first answer breaks off in the middle, the second one hangs until the kill.
  artifacts.fault = ({ method, path }, attempt) => {
    if (method !== "GET" || !path.endsWith(WEIGHTS) || attempt > 1) return undefined;
    if (attempt === 0) return { cutAfter: 1_000_000 };
    gate.resolve();
    return { until: never.promise };
  };
  const first = load("a", `${artifacts.url}/big`).catch(() => undefined);
  await gate.promise;
  await kill("SIGKILL");
  await first;
  await start();
  // The engine cannot do anything with this adapter; the sidecar can.
  await load("a", `${artifacts.url}/big`);
  const from = artifacts.asked
    .map(({ headers }) => headers.range)
    .filter(Boolean)
    .at(-1);
  assert.match(from ?? "", /^bytes=\d{6,7}-$/);
  assert.deepEqual(readFileSync(join(root, "a", WEIGHTS)), artifacts.files.get(`/big/${WEIGHTS}`));
});
