import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { adapterFiles } from "#test/support/adapters.ts";
import { type ArtifactServer, startArtifactServer } from "#test/support/artifact-server.ts";
import { eventually } from "#test/support/eventually.ts";
import { fastClock } from "#test/support/fast-clock.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { SOURCE_SETTINGS } from "#test/support/source-settings.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { createDelivery } from "./deliver.ts";
import { FileCache } from "./file-cache.ts";
import { hashFiles } from "./hash-files.ts";
import { createHttpClient } from "./http-client.ts";

const WEIGHTS = "adapter_model.safetensors";
const never = new AbortController().signal;

async function setUp(t: TestContext, files: Record<string, Buffer>) {
  const server = await startArtifactServer(files);
  const root = join(await tempFolder(t), "adapters");
  const http = createHttpClient();
  t.after(async () => {
    await http.close();
    await server.close();
  });
  const clock = fastClock(50);
  const settings = { ...SOURCE_SETTINGS, allowPrivateAddresses: true };
  const common = {
    content: "adapter",
    credentialsFolder: join(root, "none"),
    cacheBytesMax: 1e9,
  } as const;
  const delivery = createDelivery({ ...common, root, settings, http, clock, log: silentLog });
  await delivery.open();
  const { store } = delivery;
  const deliver = (name: string, path: string, headers?: object) => {
    const credentials = headers === undefined ? {} : { headers: JSON.stringify(headers) };
    return delivery.deliver({ name, artifactUrl: server.url + path, credentials }, never);
  };
  const share = async (name: string) => {
    const version = await store.current(name);
    assert.ok(version);
    await store.share(name, version.id, await hashFiles(version, never), clock.now());
    return version;
  };
  const unload = async (name: string) => {
    const version = await store.current(name);
    await store.unpublish(name);
    await store.removeVersion(name, version?.id ?? "", clock.now());
  };
  const cacheFiles = join(root, ".loradock/cache/files");
  return { server, root, delivery, store, deliver, share, unload, cacheFiles };
}

const wholeGets = ({ asked }: ArtifactServer) =>
  asked.filter(({ method, headers, path }) => {
    return method === "GET" && path.endsWith(WEIGHTS) && headers.range !== "bytes=0-0";
  }).length;

test("two adapters from one source at once: one download, also under other names later", async (t) => {
  const { server, root, deliver, store } = await setUp(t, adapterFiles("/a"));
  const gate = Promise.withResolvers<void>();
  server.fault = ({ method, path }) =>
    method === "GET" && path.endsWith(WEIGHTS) ? { until: gate.promise } : undefined;
  const both = [deliver("one", "/a"), deliver("two", "/a/")];
  await eventually("the first download", () => wholeGets(server) === 1);
  gate.resolve();
  await Promise.all(both);
  await deliver("three", "/a");
  assert.equal(wholeGets(server), 1);
  const inodes = await Promise.all(
    ["one", "two", "three"].map(async (name) => (await stat(join(root, name, WEIGHTS))).ino),
  );
  assert.equal(new Set(inodes).size, 1);
  // None of them needs another.
  await store.unpublish("one");
  await store.removeVersion("one", (await store.current("two"))?.id ?? "", 0);
  assert.deepEqual(await readFile(join(root, "two", WEIGHTS)), server.files.get(`/a/${WEIGHTS}`));
});

test("who may not read it at the source does not get it from here", async (t) => {
  const { server, root, deliver, share, unload } = await setUp(t, adapterFiles("/a"));
  const key = { "X-Key": "right" };
  await deliver("one", "/a", key);
  await share("one");
  // A store that lists for everybody, and hands out for some.
  server.fault = ({ method, headers }) =>
    method === "GET" && headers["x-key"] !== "right" ? { status: 403 } : undefined;
  await assert.rejects(deliver("two", "/a"), { code: "AccessDenied" });
  await unload("one");
  await assert.rejects(deliver("two", "/a"), { code: "AccessDenied" });
  assert.deepEqual(await readdir(join(root, ".loradock/staging")), []);
  await deliver("two", "/a", key);
  assert.equal(wholeGets(server), 1);
});

test("a changed source is fetched although an equal one is kept, and equal files of it are one again", async (t) => {
  const { server, root, deliver, share, unload } = await setUp(t, adapterFiles("/a"));
  await deliver("one", "/a");
  await share("one");
  await unload("one");
  server.files.set(
    "/a/adapter_config.json",
    Buffer.from(`${server.files.get("/a/adapter_config.json")}\n`),
  );
  await deliver("one", "/a");
  assert.equal(wholeGets(server), 2);
  await share("one");
  const { nlink, mode } = await stat(join(root, "one", WEIGHTS));
  assert.deepEqual([nlink, mode & 0o777], [2, 0o444]);
});

test("a damaged file in the cache is noticed, fetched again, and replaced", async (t) => {
  const { server, root, deliver, share, unload, cacheFiles } = await setUp(t, adapterFiles("/a"));
  await deliver("one", "/a");
  await share("one");
  await unload("one");
  for (const name of await readdir(cacheFiles)) await truncate(join(cacheFiles, name), 7);
  await deliver("one", "/a");
  assert.equal(wholeGets(server), 2);
  assert.deepEqual(await readFile(join(root, "one", WEIGHTS)), server.files.get(`/a/${WEIGHTS}`));
  await share("one");
  await unload("one");
  await deliver("one", "/a");
  assert.equal(wholeGets(server), 2);
});

test("what no adapter has makes room for one that is wanted", async (t) => {
  const { server, delivery, store, deliver, share, unload, cacheFiles } = await setUp(t, {
    ...adapterFiles("/a"),
    ...adapterFiles("/b", "shout"),
  });
  await deliver("one", "/a");
  await share("one");
  await unload("one");
  assert.equal((await readdir(cacheFiles)).length, 2);
  const needed = [...server.files]
    .filter(([path]) => path.startsWith("/b/"))
    .reduce((sum, [, bytes]) => sum + bytes.length, 16 << 20);
  t.mock.method(store, "freeBytes", async () => needed - 100_000);
  await delivery.deliver({ name: "two", artifactUrl: `${server.url}/b` }, never);
  assert.ok((await readdir(cacheFiles)).length < 2);
});

test("the least recently used go first, none that an adapter has; leftovers of a crash go at the start", async (t) => {
  const folder = await tempFolder(t);
  const cache = new FileCache(join(folder, "cache"), 250);
  await cache.open();
  await mkdir(join(folder, "adapter"));
  const files = join(folder, "cache/files");
  const name = (n: number) => `${n}`.repeat(64);
  for (let n = 1; n <= 4; n++) {
    const path = join(folder, "adapter", `${n}`);
    await writeFile(path, randomBytes(100));
    await cache.share(path, name(n), n * 1000);
  }
  assert.equal(await cache.evict(), 0, "adapters have all of them");
  await cache.used(join(folder, "adapter/1"), 9000);
  for (const n of [1, 2, 3]) await rm(join(folder, "adapter", `${n}`));
  assert.equal(await cache.evict(), 200);
  assert.deepEqual((await readdir(files)).sort(), [name(1), name(4)]);
  await writeFile(join(files, "temporary-0"), "half");
  await new FileCache(join(folder, "cache"), 150).open();
  assert.deepEqual(await readdir(files), [name(4)]);
});
