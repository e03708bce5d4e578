/** Delivery from a real hub over HTTP, with the hub's own client library. */
import assert from "node:assert/strict";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { startHub } from "#local/hub/hub.ts";
import { seedHub } from "#local/hub/seed.ts";
import { createLog } from "#telemetry/log.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { SOURCE_SETTINGS } from "#test/support/source-settings.ts";
import { createDelivery } from "./deliver.ts";
import { ArtifactError } from "./errors.ts";
import { createHttpClient } from "./http-client.ts";

const log = createLog({ format: "text", clock: systemClock, write: () => {} });

async function start(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "loradock-delivery-"));
  const stop = new AbortController();
  const hubDir = join(folder, "hub");
  await seedHub(hubDir);
  const hub = await startHub({ dir: hubDir, host: "127.0.0.1", port: 0, log }, stop.signal);
  const http = createHttpClient();
  const root = join(folder, "adapters");
  const delivery = createDelivery({
    content: "adapter",
    root,
    cacheBytesMax: 1 << 30,
    credentialsFolder: join(folder, "credentials"),
    settings: { ...SOURCE_SETTINGS, huggingFaceEndpoint: hub.url },
    http,
    clock: systemClock,
    log,
  });
  await delivery.open();
  t.after(async () => {
    stop.abort();
    await Promise.all([hub.closed, http.close()]);
    rmSync(folder, { recursive: true });
  });
  return { delivery, root, hubDir, signal: stop.signal };
}

test("an adapter is fetched once, whole, and again only when the repository changed", async (t) => {
  const { delivery, root, hubDir, signal } = await start(t);
  const request = { name: "sql", artifactUrl: "huggingface://loradock/tiny-sql-lora" };
  const first = await delivery.deliver(request, signal);
  assert.equal(first.localPath, join(root, "sql"));
  assert(first.fetched);
  const weights = "adapter_model.safetensors";
  const original = join(hubDir, "loradock", "tiny-sql-lora", weights);
  assert.deepEqual(readFileSync(join(first.localPath, weights)), readFileSync(original));
  assert.deepEqual(readFileSync(join(first.path, weights)), readFileSync(original));

  const again = await delivery.deliver(request, signal);
  assert.deepEqual([again.path, again.fetched], [first.path, false]);

  appendFileSync(join(hubDir, "loradock", "tiny-sql-lora", "adapter_config.json"), "\n");
  const changed = await delivery.deliver(request, signal);
  assert(changed.fetched);
  assert.notEqual(changed.path, first.path);
  assert.equal(changed.localPath, first.localPath);
});

test("what is not there is Not found, final, and leaves nothing visible", async (t) => {
  const { delivery, root, signal } = await start(t);
  const request = { name: "nope", artifactUrl: "huggingface://loradock/nope" };
  await assert.rejects(delivery.deliver(request, signal), (error) => {
    assert(error instanceof ArtifactError);
    assert.deepEqual([error.code, error.retriable], ["NotFound", false]);
    assert.match(error.message, /Not found/);
    return true;
  });
  assert(!existsSync(join(root, "nope")));
  assert.deepEqual(
    readdirSync(root).filter((name) => !name.startsWith(".")),
    [],
  );
});

test("a name cannot leave the root", async (t) => {
  const { delivery, signal } = await start(t);
  for (const name of ["../x", "/x", "a/b", "a\n", "", ".", ".."]) {
    const request = { name, artifactUrl: "huggingface://loradock/tiny-sql-lora" };
    await assert.rejects(delivery.deliver(request, signal), JSON.stringify(name));
  }
});
