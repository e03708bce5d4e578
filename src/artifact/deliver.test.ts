import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { createLog } from "#telemetry/log.ts";
import { adapterFiles, largeAdapter, TINY } from "#test/support/adapters.ts";
import { tarOf, zipOf } from "#test/support/archives.ts";
import { startArtifactServer } from "#test/support/artifact-server.ts";
import { eventually } from "#test/support/eventually.ts";
import { fastClock } from "#test/support/fast-clock.ts";
import { startServer } from "#test/support/http-server.ts";
import { SOURCE_SETTINGS } from "#test/support/source-settings.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { createDelivery } from "./deliver.ts";
import type { DeliveryRequest } from "./fetch-version.ts";
import { createHttpClient } from "./http-client.ts";
import type { SourceSettings } from "./source.ts";

const WEIGHTS = "adapter_model.safetensors";
const never = new AbortController().signal;

async function setUp(
  t: TestContext,
  files: Record<string, Buffer>,
  settings: Partial<SourceSettings> = {},
) {
  const server = await startArtifactServer(files);
  const root = await tempFolder(t);
  const http = createHttpClient();
  const lines: string[] = [];
  const clock = fastClock(50);
  const options = {
    content: "adapter" as const,
    root: join(root, "adapters"),
    cacheBytesMax: 1 << 30,
    credentialsFolder: join(root, "credentials"),
    http,
    clock,
    log: createLog({ format: "text", clock, write: (line) => lines.push(line) }),
    settings: {
      ...SOURCE_SETTINGS,
      huggingFaceEndpoint: server.url,
      allowPrivateAddresses: true,
      ...settings,
    },
  };
  t.after(async () => {
    await http.close();
    await server.close();
  });
  const delivery = createDelivery(options);
  await delivery.open();
  const deliver = (url: string, more: Partial<DeliveryRequest> = {}, signal = never) =>
    delivery.deliver({ name: "sql", artifactUrl: url, ...more }, signal);
  const weights = () => readFile(join(options.root, "sql", WEIGHTS));
  return { server, options, delivery, deliver, lines, weights };
}

/** Everything below the root that is not a published version. */
async function leftovers(root: string): Promise<string[]> {
  const all = await readdir(root, { recursive: true });
  return all.filter((path) => /staging\/.|\.next|\.tmp/.test(path));
}

test("an http folder is published under its name, whole, and not fetched again while it is unchanged", async (t) => {
  const { server, options, deliver, lines, weights } = await setUp(t, adapterFiles("/a/sql"));
  const first = await deliver(`${server.url}/a/sql`);
  assert.equal(first.localPath, join(options.root, "sql"));
  assert.match(first.path, /\/adapters\/\.loradock\/versions\/sql\/[0-9a-f]{16}$/);
  assert.equal(join(options.root, await readlink(first.localPath)), first.path);
  assert.deepEqual((await readdir(first.path)).sort(), ["adapter_config.json", WEIGHTS]);
  assert.deepEqual(await weights(), server.files.get(`/a/sql/${WEIGHTS}`));
  assert.deepEqual(await leftovers(options.root), []);
  const said = lines.join("");
  assert.ok(
    said.includes(`"Downloading artifact from ${server.url}/a/sql to ${options.root}/sql"`),
  );
  assert.ok(said.includes('"Successfully downloaded artifact for sql"'));

  for (const url of ["/a/sql", "/a/sql/", `/a/sql/${WEIGHTS}`, "/a/sql/adapter_config.json"]) {
    const again = await deliver(server.url + url);
    assert.deepEqual([again.fetched, again.path], [false, first.path]);
  }
});

test("a changed source is fetched again, into another version", async (t) => {
  const { server, deliver, weights } = await setUp(t, adapterFiles("/a"));
  const first = await deliver(`${server.url}/a/`);
  for (const [path, bytes] of Object.entries(adapterFiles("/a", "pirate"))) {
    server.files.set(path, bytes);
  }
  const second = await deliver(`${server.url}/a/`);
  assert.equal(second.fetched, true);
  assert.notEqual(second.path, first.path);
  assert.deepEqual(await weights(), server.files.get(`/a/${WEIGHTS}`));
  // The old one may be what an engine serves: whoever knows removes it.
  assert.equal((await readdir(first.path)).length, 2);
});

test("the URL of a file means its folder, and its query is for that file alone", async (t) => {
  const { server, deliver, lines } = await setUp(t, adapterFiles("/a"));
  await deliver(`${server.url}/a/${WEIGHTS}?X-Signature=s3cr3t-signature`);
  const queries = Object.fromEntries(server.asked.map(({ path, query }) => [path, query]));
  assert.deepEqual(queries, {
    "/a/adapter_config.json": "",
    [`/a/${WEIGHTS}`]: "?X-Signature=s3cr3t-signature",
  });
  assert.ok(!lines.join("").includes("s3cr3t"));
});

test("a presigned URL: GET only, a new signature each day, the same content", async (t) => {
  const archive = zipOf(
    Object.entries(adapterFiles("")).map(([path, content]) => ({ name: path.slice(1), content })),
  );
  const { server, deliver } = await setUp(t, { "/a.zip": archive });
  server.fault = ({ method }) => (method === "HEAD" ? { status: 403 } : undefined);
  const first = await deliver(`${server.url}/a.zip?sig=monday`);
  const second = await deliver(`${server.url}/a.zip?sig=tuesday`);
  assert.deepEqual([first.fetched, second.fetched, second.path], [true, false, first.path]);
});

test("a source that tells nothing is fetched each time, and is the same version while its bytes are", async (t) => {
  const { server, deliver } = await setUp(t, adapterFiles("/a"));
  server.fault = () => ({ isBare: true, noRange: true });
  const first = await deliver(`${server.url}/a`);
  const second = await deliver(`${server.url}/a`);
  assert.equal(second.path, first.path);
  for (const [path, bytes] of Object.entries(adapterFiles("/a", "shout"))) {
    server.files.set(path, bytes);
  }
  assert.notEqual((await deliver(`${server.url}/a`)).path, first.path);
});

test("archives: tar, tar.gz, tgz, zip; packed as a folder or as its content", async (t) => {
  const members = (folder: string) =>
    Object.entries(adapterFiles(folder)).map(([path, content]) => ({
      name: path.replace(/^\//, ""),
      content,
    }));
  const tar = await tarOf(members("/my-adapter"));
  const { server, deliver, weights } = await setUp(t, {
    "/a.tar": tar,
    "/a.tar.gz": gzipSync(tar),
    "/a.TGZ": gzipSync(await tarOf(members(""))),
    "/a.zip": zipOf(members("/x/y")),
    "/two.zip": zipOf([...members("/a"), ...members("/b")]),
    "/none.zip": zipOf([{ name: "README.md", content: "hello" }]),
    "/evil.zip": zipOf([...members(""), { name: "../evil", content: "x" }]),
    "/cut.tar.gz": gzipSync(tar).subarray(0, 5000),
  });
  for (const name of ["a.tar", "a.tar.gz", "a.TGZ", "a.zip"]) {
    const { path } = await deliver(`${server.url}/${name}`);
    assert.deepEqual((await readdir(path)).sort(), ["adapter_config.json", WEIGHTS]);
  }
  const before = await weights();
  const refused = { two: /2 adapters/, none: /no adapter_config/, evil: /"\.\.\/evil"/ };
  for (const [name, message] of Object.entries(refused)) {
    await assert.rejects(deliver(`${server.url}/${name}.zip`), {
      code: "InvalidArtifact",
      message,
    });
  }
  await assert.rejects(deliver(`${server.url}/cut.tar.gz`), { code: "InvalidArtifact" });
  assert.deepEqual(await weights(), before);
});

test("a broken download is continued where it broke off", async (t) => {
  const files = largeAdapter("/a", 2_000_000);
  const { server, deliver, weights } = await setUp(t, files);
  server.fault = ({ path, method }, attempt) =>
    method === "GET" && path.endsWith(WEIGHTS) && attempt < 3 ? { cutAfter: 500_000 } : undefined;
  const progress: number[] = [];
  await deliver(`${server.url}/a`, { onProgress: ({ bytesDone }) => progress.push(bytesDone) });
  assert.deepEqual(await weights(), files[`/a/${WEIGHTS}`]);
  const ranges = server.asked
    .map(({ headers }) => headers.range)
    .filter((one) => one !== undefined);
  assert.equal(ranges.length, 3);
  assert.match(ranges[2] ?? "", /^bytes=1[0-9]{6}-$/);
  const total = Object.values(files).reduce((sum, file) => sum + file.length, 0);
  assert.equal(progress.at(-1), total);
});

test("without ranges a broken download begins anew; wrong lengths and 503 are retried, then told", async (t) => {
  const files = adapterFiles("/a");
  const { server, options, deliver, weights } = await setUp(t, files);
  server.fault = (_, attempt) =>
    attempt === 0 ? { status: 503 } : attempt === 1 ? { cutAfter: 1000 } : { noRange: true };
  await deliver(`${server.url}/a`);
  assert.deepEqual(await weights(), files[`/a/${WEIGHTS}`]);

  for (const [path, bytes] of Object.entries(adapterFiles("/a", "shout"))) {
    server.files.set(path, bytes);
  }
  server.fault = ({ method }) => (method === "GET" ? { lengthOff: 7 } : undefined);
  await assert.rejects(deliver(`${server.url}/a`), { code: "Unreachable", retriable: true });
  assert.deepEqual(await weights(), files[`/a/${WEIGHTS}`]);
  server.fault = () => undefined;
  await deliver(`${server.url}/a`);
  assert.deepEqual(await leftovers(options.root), []);
});

/** Larger than all ranges that are fetched at once. */
const LARGE = 30_000_000;

test("a large file comes in ranges side by side, also after a cut; without ranges it comes as it likes", async (t) => {
  const files = largeAdapter("/a", LARGE);
  const { server, deliver, weights } = await setUp(t, files);
  const ranges = () =>
    server.asked.filter(({ method, path }) => method === "GET" && path.endsWith(WEIGHTS));
  server.fault = ({ method, path }, attempt) =>
    method === "GET" && path.endsWith(WEIGHTS) && attempt === 5 ? { cutAfter: 1000 } : undefined;
  await deliver(`${server.url}/a`);
  assert.deepEqual(await weights(), files[`/a/${WEIGHTS}`]);
  assert.ok(ranges().every(({ headers }) => /^bytes=\d+-\d+$/.test(headers.range ?? "")));
  assert.ok(ranges().length > 10 && ranges().length < 30, String(ranges().length));

  const before = ranges().length;
  server.fault = () => ({ noRange: true });
  await deliver(`${server.url}/a`, { name: "other" });
  assert.equal(ranges().length, before + 1);
});

test("ranges in HTTP's own chunks, of which many come at once, are whole", async (t) => {
  const files = largeAdapter("/a", LARGE);
  const { deliver, weights } = await setUp(t, {});
  const server = await startServer((request, response) => {
    const body = files[request.url ?? ""] ?? Buffer.alloc(0);
    const [, from = 0, to = body.length - 1] =
      /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    const length = request.method === "HEAD" ? { "content-length": body.length } : {};
    const range = { "content-range": `bytes ${from}-${to}/${body.length}` };
    response.writeHead(request.headers.range === undefined ? 200 : 206, {
      etag: '"1"',
      ...length,
      ...range,
    });
    response.cork();
    for (let at = Number(from); at <= Number(to); at += 40_000) {
      response.write(body.subarray(at, Math.min(at + 40_000, Number(to) + 1)));
    }
    response.uncork();
    response.end();
  });
  t.after(() => server.close());
  await deliver(`${server.url}/a`);
  assert.deepEqual(await weights(), files[`/a/${WEIGHTS}`]);
});

test("a hub is asked once where a file's bytes are, and again when they are no longer there", async (t) => {
  const files = largeAdapter("/o/r/resolve/c0ffee", LARGE);
  const { server, deliver, weights } = await setUp(t, {});
  const cdn = await startArtifactServer(files);
  t.after(() => cdn.close());
  const entries = Object.entries(files).map(([path, { length: size }]) => {
    return { type: "file", path: path.split("/").at(-1), size, oid: "1" };
  });
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  server.files.set("/api/models/o/r/revision/main", json({ id: "o/r", sha: "c0ffee" }));
  server.files.set("/api/models/o/r/tree/c0ffee", json(entries));
  server.fault = ({ path }) =>
    path.startsWith("/o/r/") ? { location: `${cdn.url}${path}` } : undefined;
  cdn.fault = (_, attempt) => (attempt === 4 ? { status: 403 } : undefined);
  await deliver("huggingface://o/r");
  assert.deepEqual(await weights(), files[`/o/r/resolve/c0ffee/${WEIGHTS}`]);
  const asked = server.asked.filter(({ path }) => path.endsWith(WEIGHTS)).length;
  assert.ok(asked >= 2 && asked < 10, String(asked));
  assert.ok(cdn.gets(`/o/r/resolve/c0ffee/${WEIGHTS}`) > 10);
});

test("what the store answers is told in the words of the documentation", async (t) => {
  const { server, deliver } = await setUp(t, adapterFiles("/a"));
  const cases: [number, object | undefined, string, RegExp, boolean][] = [
    [401, undefined, "AccessDenied", /^Access denied to .*\/a.* none were given/, false],
    [401, { Authorization: "Bearer wrong" }, "InvalidCredentials", /^Invalid credentials/, false],
    [403, undefined, "AccessDenied", /^Access denied/, false],
    [404, undefined, "NotFound", /^Not found: .*\/a/, false],
    [500, undefined, "Unreachable", /service unavailable.* 500/, true],
    [503, undefined, "Unreachable", /service unavailable.* 503/, true],
    [429, undefined, "Unreachable", /service unavailable.* 429/, true],
    [504, undefined, "Unreachable", /timeout.* 504/, true],
  ];
  for (const [status, headers, code, message, retriable] of cases) {
    server.fault = () => ({ status });
    const credentials = headers && { headers: JSON.stringify(headers) };
    await assert.rejects(
      deliver(`${server.url}/a?token=s3cr3t`, { credentials }),
      (error: Error) => {
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /s3cr3t|wrong/);
        assert.deepEqual({ ...error, code, retriable }, { ...error });
        return true;
      },
    );
  }
  await server.close();
  await assert.rejects(deliver(`${server.url}/a`), {
    code: "Unreachable",
    message: /connection refused/,
  });
  for (const headers of ["no json", "[]", '{"a b":"c"}', '{"Host":"evil"}', '{"A":"b\\r\\nc"}']) {
    await assert.rejects(deliver(`${server.url}/a`, { credentials: { headers } }), {
      code: "InvalidCredentials",
    });
  }
});

test("headers stay at home: a redirect to another origin gets none of them", async (t) => {
  const { server, deliver } = await setUp(t, adapterFiles("/a"));
  const cdn = await startArtifactServer(adapterFiles("/a"));
  t.after(() => cdn.close());
  server.fault = ({ path }) => ({ location: `${cdn.url}${path}` });
  const credentials = { headers: '{"Authorization":"Bearer s3cr3t","X-Key":"k3y"}' };
  const withUser = server.url.replace("//", "//user:p4ss@");
  await deliver(`${withUser}/a`, { credentials });
  assert.ok(server.asked.every(({ headers }) => headers.authorization === "Bearer s3cr3t"));
  assert.ok(server.asked.every(({ headers }) => headers["x-key"] === "k3y"));
  assert.ok(cdn.asked.length >= 4);
  for (const { headers } of cdn.asked) {
    assert.deepEqual([headers.authorization, headers["x-key"]], [undefined, undefined]);
  }
});

test("loopback, link-local and metadata addresses are refused, also behind names and redirects", async (t) => {
  const { server, deliver } = await setUp(t, adapterFiles("/a"), {
    allowPrivateAddresses: false,
  });
  const { port } = server;
  for (const host of ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]) {
    await assert.rejects(deliver(`http://${host}:${port}/a`), {
      code: "AccessDenied",
      retriable: false,
      message: /ARTIFACT_HTTP_ALLOW_PRIVATE=1/,
    });
  }
  assert.deepEqual(server.asked, []);
});

test("a redirect to a forbidden address is refused as the address itself is", async (t) => {
  const { server, options } = await setUp(t, adapterFiles("/a"), { allowPrivateAddresses: false });
  // Loopback is all that a test may listen on: here one address of it plays the outside.
  const http = createHttpClient((address) => address !== "127.0.0.1");
  t.after(() => http.close());
  const delivery = createDelivery({ ...options, http });
  const request = { name: "sql", artifactUrl: `${server.url}/a` };
  server.fault = () => ({ location: `http://127.0.0.2:${server.port}/a` });
  await assert.rejects(delivery.deliver(request, never), { code: "AccessDenied" });
  server.fault = () => ({ location: "file:///etc/passwd" });
  await assert.rejects(delivery.deliver(request, never), { message: /not http/ });
  server.fault = ({ path }) => ({ location: path });
  await assert.rejects(delivery.deliver(request, never), { message: /redirects more than/ });
  server.fault = () => undefined;
  assert.equal((await delivery.deliver(request, never)).fetched, true);
});

test("a caller that leaves cancels the download; the next one continues it", async (t) => {
  const files = largeAdapter("/a", 1_000_000);
  const { server, options, deliver, delivery } = await setUp(t, files);
  const stop = new AbortController();
  const sent = Promise.withResolvers<void>();
  server.fault = ({ path, method }, attempt) =>
    method === "GET" && path.endsWith(WEIGHTS) && attempt === 0
      ? { until: sent.promise }
      : undefined;
  const running = deliver(`${server.url}/a`, {}, stop.signal);
  running.catch(() => {});
  await eventually("bytes arrive", async () =>
    (await leftovers(options.root)).some((path) => path.endsWith(WEIGHTS)),
  );
  stop.abort(new Error("left"));
  await assert.rejects(running, /left/);
  sent.resolve();
  assert.equal(await delivery.store.current("sql"), undefined);
  assert.equal((await deliver(`${server.url}/a`)).fetched, true);
  assert.deepEqual(await leftovers(options.root), []);
});

test("a restart finds what is there, and gives it back while the source is away", async (t) => {
  const { server, options, deliver } = await setUp(t, adapterFiles("/a"));
  const { path } = await deliver(`${server.url}/a`);
  const stale = join(options.root, ".loradock/staging/old/part");
  await mkdir(stale, { recursive: true });
  await writeFile(join(options.root, ".loradock/sql.next"), "");
  await server.close();
  const restarted = createDelivery(options);
  await restarted.open();
  assert.deepEqual(await leftovers(options.root), [
    ".loradock/staging/old",
    ".loradock/staging/old/part",
  ]);
  const answer = await restarted.deliver({ name: "sql", artifactUrl: `${server.url}/a` }, never);
  assert.deepEqual([answer.fetched, answer.path], [false, path]);
  // Another source is another matter.
  await assert.rejects(restarted.deliver({ name: "sql", artifactUrl: `${server.url}/b` }, never), {
    code: "Unreachable",
  });
  // Half an hour is no reason to throw a half download away; two are.
  const later = createDelivery({
    ...options,
    clock: { ...options.clock, now: () => Date.now() + 7_200_000 },
  });
  await later.open();
  assert.deepEqual(await leftovers(options.root), []);
});

test("a version that lost a file is fetched again", async (t) => {
  const { server, deliver, weights } = await setUp(t, adapterFiles("/a"));
  const { path } = await deliver(`${server.url}/a`);
  await rm(join(path, WEIGHTS));
  assert.equal((await deliver(`${server.url}/a`)).fetched, true);
  assert.equal((await weights()).length, 238_784);
});

test("a folder that another sidecar left in the place of the link gives way", async (t) => {
  const { server, options, deliver, weights } = await setUp(t, adapterFiles("/a"));
  await mkdir(join(options.root, "sql"));
  await writeFile(join(options.root, "sql", WEIGHTS), "half");
  await deliver(`${server.url}/a`);
  assert.equal((await weights()).length, 238_784);
});

test("a full disk is told as such, and leaves the old version and no garbage", async (t) => {
  const { server, options, deliver, delivery, weights } = await setUp(t, adapterFiles("/a"));
  await deliver(`${server.url}/a`);
  const before = await weights();
  for (const [path, bytes] of Object.entries(adapterFiles("/a", "shout"))) {
    server.files.set(path, bytes);
  }
  // The kernel's own full device stands where the bytes are to go.
  const { stage } = delivery.store;
  t.mock.method(delivery.store, "stage", async (name: string, key: string) => {
    const folder = await stage.call(delivery.store, name, key);
    await symlink("/dev/full", join(folder, WEIGHTS));
    return folder;
  });
  await assert.rejects(deliver(`${server.url}/a`), {
    code: "NoSpace",
    status: 507,
    message: /No space left .*free some/,
  });
  assert.deepEqual(await weights(), before);
  assert.deepEqual(await leftovers(options.root), []);
  // Too much for the whole disk is known before the first byte.
  t.mock.method(delivery.store, "freeBytes", async () => 100_000);
  const asked = server.asked.length;
  await assert.rejects(deliver(`${server.url}/a`), { code: "NoSpace" });
  assert.ok(server.asked.slice(asked).every(({ method }) => method === "HEAD"));
});

test("shared storage is used where it lies; what the sidecar cannot see is not its to judge", async (t) => {
  const { deliver, options } = await setUp(t, {});
  const path = join(TINY, "adapters/sql");
  assert.deepEqual(await deliver(path), { localPath: path, path, fetched: false });
  assert.equal((await deliver("/not/here")).path, "/not/here");
  await assert.rejects(deliver(join(TINY, "adapters-bad/garbage")), { code: "InvalidArtifact" });
  await assert.rejects(deliver(join(path, WEIGHTS)), { message: /is a file/ });
  assert.deepEqual(await readdir(options.root), [".loradock"]);
});

test("names that could leave the root, and bad URLs", async (t) => {
  const { deliver } = await setUp(t, {});
  for (const name of ["..", ".", "a/b", "../a", "a\n", "", ".hidden", "a\0", "x".repeat(129)]) {
    await assert.rejects(deliver("/models/a", { name }), { code: "InvalidRequest", status: 400 });
  }
  for (const url of ["", "aabbcc", "ms://a", "hf://a", "http://", "/a/../b"]) {
    await assert.rejects(deliver(url), { code: "InvalidRequest" });
  }
});

test("a sha256 in additionalConfig is the weights' or the archive's, also of what is here already", async (t) => {
  const files = adapterFiles("/a");
  const hashOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  const weights = hashOf(files[`/a/${WEIGHTS}`] as Buffer);
  const members = Object.entries(files).map(([path, content]) => ({
    name: path.slice(3),
    content,
  }));
  const archive = zipOf(members);
  const { server, options, deliver } = await setUp(t, { ...files, "/a.zip": archive });
  const wrong = { sha256: "0".repeat(64) };
  const refusal = { code: "InvalidArtifact", message: /additionalConfig wants 0{64}/ };
  await assert.rejects(deliver(`${server.url}/a`, wrong), refusal);
  assert.deepEqual(await leftovers(options.root), []);
  assert.equal((await deliver(`${server.url}/a`, { sha256: weights })).fetched, true);
  assert.equal((await deliver(`${server.url}/a`, { sha256: weights })).fetched, false);
  await assert.rejects(deliver(`${server.url}/a`, wrong), refusal);
  await deliver(`${server.url}/a.zip`);
  assert.equal((await deliver(`${server.url}/a.zip`, { sha256: hashOf(archive) })).fetched, false);
  await assert.rejects(deliver(`${server.url}/a.zip`, { sha256: weights }), { code: refusal.code });
  const path = join(TINY, "adapters/sql");
  assert.equal((await deliver(path, { sha256: weights })).path, path);
  await assert.rejects(deliver(path, wrong), refusal);
});

test("a source that changes while it is read is listed again", async (t) => {
  const { server, deliver, weights } = await setUp(t, adapterFiles("/a"));
  const next = adapterFiles("/a", "pirate");
  server.fault = ({ method, path }) => {
    if (method === "GET" && path.endsWith(WEIGHTS)) {
      for (const [name, bytes] of Object.entries(next)) server.files.set(name, bytes);
    }
    return undefined;
  };
  await deliver(`${server.url}/a`);
  assert.deepEqual(await weights(), next[`/a/${WEIGHTS}`]);
});
