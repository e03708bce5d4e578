import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { downloadFile, listFiles, modelInfo, snapshotDownload } from "@huggingface/hub";
import { createDelivery } from "#artifact/deliver.ts";
import { createHttpClient } from "#artifact/http-client.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { TINY } from "#test/support/adapters.ts";
import { startArtifactServer } from "#test/support/artifact-server.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { SOURCE_SETTINGS } from "#test/support/source-settings.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { startHub } from "./hub.ts";
import { seedHub } from "./seed.ts";

const REPO = "loradock/tiny-sql-lora";
const WEIGHTS = "adapter_model.safetensors";
const never = new AbortController().signal;

async function seededHub(t: TestContext) {
  const dir = await tempFolder(t);
  await seedHub(dir);
  const stop = new AbortController();
  const hub = await startHub({ dir, host: "127.0.0.1", port: 0, log: silentLog }, stop.signal);
  t.after(async () => {
    stop.abort();
    await hub.closed;
  });
  return { dir, hubUrl: hub.url };
}

async function delivering(t: TestContext, endpoint: string, token?: string) {
  const root = await tempFolder(t);
  const http = createHttpClient();
  t.after(() => http.close());
  const delivery = createDelivery({
    content: "adapter",
    root,
    cacheBytesMax: 1 << 30,
    credentialsFolder: join(root, "none"),
    http,
    clock: systemClock,
    log: silentLog,
    settings: {
      ...SOURCE_SETTINGS,
      huggingFaceEndpoint: endpoint,
      huggingFaceToken: token,
    },
  });
  await delivery.open();
  return (artifactUrl: string, credentials?: Record<string, string>) =>
    delivery.deliver({ name: "n", artifactUrl, credentials }, never);
}

test("the official client finds, lists and downloads", async (t) => {
  const { hubUrl } = await seededHub(t);
  const info = await modelInfo({ name: REPO, hubUrl, additionalFields: ["sha", "author"] });
  assert.match(info.sha, /^[0-9a-f]{40}$/);
  assert.deepEqual([info.name, info.author, info.private], [REPO, "loradock", false]);
  const listed = [];
  for await (const file of listFiles({ repo: REPO, hubUrl, revision: info.sha })) listed.push(file);
  assert.deepEqual(
    listed.map(({ path }) => path),
    ["README.md", "adapter_config.json", WEIGHTS],
  );
  const bytes = await readFile(join(TINY, "adapters/sql", WEIGHTS));
  assert.equal(listed[2]?.lfs?.oid, createHash("sha256").update(bytes).digest("hex"));
  const blob = await downloadFile({ repo: REPO, path: WEIGHTS, hubUrl });
  assert.ok(blob !== null);
  assert.deepEqual(Buffer.from(await blob.arrayBuffer()), bytes);
  const part = await blob.slice(100, 200).arrayBuffer();
  assert.deepEqual(Buffer.from(part), bytes.subarray(100, 200));
  assert.equal(await downloadFile({ repo: REPO, path: "nothing", hubUrl }), null);
  const cacheDir = await tempFolder(t);
  t.mock.method(console, "debug", () => {});
  const snapshot = await snapshotDownload({ repo: REPO, hubUrl, cacheDir });
  assert.deepEqual(await readFile(join(snapshot, WEIGHTS)), bytes);
});

test("resolve answers as the hub does: metadata, ranges, conditions, errors by their code", async (t) => {
  const { hubUrl } = await seededHub(t);
  const ask = (path: string, headers = {}, method = "GET") =>
    fetch(`${hubUrl}/${REPO}/${path}`, { headers, method });
  const head = await ask(`resolve/main/${WEIGHTS}`, {}, "HEAD");
  const etag = head.headers.get("etag") ?? "";
  assert.match(etag, /^"[0-9a-f]{64}"$/);
  assert.equal(head.headers.get("x-linked-etag"), etag);
  assert.equal(head.headers.get("x-linked-size"), "238784");
  assert.match(head.headers.get("x-repo-commit") ?? "", /^[0-9a-f]{40}$/);
  const answers = async (range: string) => {
    const response = await ask("resolve/main/adapter_config.json", { range });
    return `${response.status} ${response.headers.get("content-range")} ${(await response.arrayBuffer()).byteLength}`;
  };
  assert.equal(await answers("bytes=10-19"), "206 bytes 10-19/1164 10");
  assert.equal(await answers("bytes=1160-"), "206 bytes 1160-1163/1164 4");
  assert.equal(await answers("bytes=-4"), "206 bytes 1160-1163/1164 4");
  assert.match(await answers("bytes=2000-"), /^416 bytes \*\/1164/);
  assert.equal((await ask(`resolve/main/${WEIGHTS}`, { "if-none-match": etag })).status, 304);
  const changed = await ask(`resolve/main/${WEIGHTS}`, { range: "bytes=1-2", "if-range": '"x"' });
  assert.equal(changed.status, 200);
  await changed.arrayBuffer();
  for (const [path, code] of [
    ["resolve/main/none", "EntryNotFound"],
    ["resolve/other/README.md", "RevisionNotFound"],
    ["resolve/main/..%2f..%2f..%2fetc%2fpasswd", "EntryNotFound"],
  ]) {
    const response = await ask(path ?? "");
    assert.deepEqual([response.status, response.headers.get("x-error-code")], [404, code]);
  }
  const climbing = await fetch(`${hubUrl}/..%2f../etc/resolve/main/passwd`);
  assert.equal(climbing.status, 404);
});

test("a folder is seeded once; what a user changes there is theirs, and a new version", async (t) => {
  const { dir, hubUrl } = await seededHub(t);
  const standIn = join(dir, "ai-blond/Qwen-Qwen2.5-Coder-1.5B-Instruct-lora");
  assert.match(await readFile(join(standIn, "README.md"), "utf8"), /stand-in/i);
  const deliver = await delivering(t, hubUrl);
  const first = await deliver(`huggingface://${REPO}`);
  assert.deepEqual((await readdir(first.path)).sort(), ["adapter_config.json", WEIGHTS]);
  assert.equal((await deliver(`hf://${REPO}`)).fetched, false);

  const weights = await readFile(join(TINY, "adapters/shout", WEIGHTS));
  await writeFile(join(dir, REPO, WEIGHTS), weights);
  await seedHub(dir);
  const second = await deliver(`huggingface://${REPO}`);
  assert.equal(second.fetched, true);
  assert.deepEqual(await readFile(join(second.path, WEIGHTS)), weights);
});

test("a revision pins: a branch by its name, a commit without asking again", async (t) => {
  const { dir, hubUrl } = await seededHub(t);
  const branch = join(dir, `${REPO}@v1`);
  await mkdir(branch);
  for (const name of ["adapter_config.json", WEIGHTS]) {
    await writeFile(join(branch, name), await readFile(join(TINY, "adapters/pirate", name)));
  }
  const deliver = await delivering(t, hubUrl);
  const v1 = await deliver(`huggingface://${REPO}@v1`);
  const { sha } = await modelInfo({
    name: REPO,
    hubUrl,
    revision: "v1",
    additionalFields: ["sha"],
  });
  const pinned = await deliver(`huggingface://${REPO}@${sha}`);
  assert.deepEqual([pinned.fetched, pinned.path], [false, v1.path]);
  await assert.rejects(deliver(`huggingface://${REPO}@v2`), {
    code: "NotFound",
    message: /no such revision/,
  });
});

test("private and gated repositories open to their tokens alone", async (t) => {
  const { dir, hubUrl } = await seededHub(t);
  const close = (visibility: string) =>
    writeFile(
      join(dir, REPO, ".access.json"),
      JSON.stringify({ visibility, tokens: ["hf_right"] }),
    );
  const url = `huggingface://${REPO}`;
  const deliver = await delivering(t, hubUrl);
  const right = { huggingface_token: "hf_right" };
  const wrong = { huggingface_token: "hf_wrong" };
  await close("private");
  const hidden = { code: "NotFound", message: /^Not found: .*huggingface_token/ };
  await assert.rejects(deliver(url), hidden);
  await assert.rejects(deliver(url, wrong), hidden);
  await assert.rejects(deliver("huggingface://loradock/none"), hidden);
  assert.equal((await deliver(url, right)).fetched, true);
  await close("gated");
  for (const credentials of [undefined, wrong]) {
    await assert.rejects(deliver(url, credentials), { code: "AccessDenied", message: /gated/ });
  }
  assert.equal((await deliver(url, right)).fetched, false);
  // The environment's token serves where the request brings none.
  const withToken = await delivering(t, hubUrl, "hf_right");
  assert.equal((await withToken(url)).fetched, true);
});

test("a token stays with the hub when the bytes are elsewhere, and its checksum is held against them", async (t) => {
  const { hubUrl } = await seededHub(t);
  const bytes = await readFile(join(TINY, "adapters/sql", WEIGHTS));
  const cdn = await startArtifactServer({ "/blob": bytes });
  const front = await startArtifactServer({});
  t.after(async () => {
    await cdn.close();
    await front.close();
  });
  front.fault = ({ path }) => ({
    location: path.endsWith(WEIGHTS) ? `${cdn.url}/blob?sig=x` : hubUrl + path,
  });
  const url = `huggingface://${REPO}`;
  const deliver = await delivering(t, front.url);
  await deliver(url, { huggingface_token: "hf_secret" });
  assert.ok(front.asked.every(({ headers }) => headers.authorization === "Bearer hf_secret"));
  assert.deepEqual(
    cdn.asked.map(({ headers }) => headers.authorization),
    [undefined],
  );
  // Once damaged on the way: fetched again. Damaged at the source: refused.
  const damaged = Buffer.from(bytes);
  damaged[200_000] = (damaged[200_000] ?? 0) ^ 1;
  cdn.fault = (_, attempt) => (attempt === 1 ? { body: damaged } : undefined);
  assert.equal((await (await delivering(t, front.url))(url)).fetched, true);
  cdn.fault = () => ({ body: damaged });
  await assert.rejects((await delivering(t, front.url))(url), {
    code: "InvalidArtifact",
    message: /does not match its checksum/,
  });
});
