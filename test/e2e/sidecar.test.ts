/** The sidecar as a process of its own, between a real hub and a real engine, killed at any moment. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { validateAdapter } from "#artifact/validate.ts";
import { startHub } from "#local/hub/hub.ts";
import { seedHub } from "#local/hub/seed.ts";
import { adapterFiles, largeAdapter } from "#test/support/adapters.ts";
import { startArtifactServer } from "#test/support/artifact-server.ts";
import { type SidecarProcess, SQL, startSidecar } from "#test/support/sidecar-process.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { tempFolder } from "#test/support/temp-folder.ts";

const WEIGHTS = "adapter_model.safetensors";

async function setUp(t: TestContext): Promise<SidecarProcess> {
  const dir = await tempFolder(t);
  const stop = new AbortController();
  await seedHub(dir);
  const hub = await startHub({ dir, host: "127.0.0.1", port: 0, log: silentLog }, stop.signal);
  t.after(async () => {
    stop.abort();
    await hub.closed;
  });
  return startSidecar(t, { HF_ENDPOINT: hub.url });
}

test("the hub's adapter answers; SIGTERM ends the sidecar by itself", async (t) => {
  const { load, complete, kill, child } = await setUp(t);
  const answer = await load("sql-lora", "huggingface://loradock/tiny-sql-lora");
  assert.equal(answer.status, 200, answer.text);
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
  assert.equal(answer.status, 200, answer.text);
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
