/** gs:// against fake-gcs-server, with a guard and faults on the way, into the built-in engine. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { adapterFiles, largeAdapter } from "#test/support/adapters.ts";
import { eventually } from "#test/support/eventually.ts";
import { startFaultProxy, type WayFault, type WayRequest } from "#test/support/fault-proxy.ts";
import { SQL, startSidecar } from "#test/support/sidecar-process.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { startTokenServer, type TokenServer } from "#test/support/token-server.ts";
import { type FakeGcs, startFakeGcs } from "./stores.ts";

const WEIGHTS = "adapter_model.safetensors";
const big = largeAdapter("loras/big", 24_000_000);
const BAD_KEYS = ["../../evil", "/absolute", "new\nline", "ADAPTER_CONFIG.JSON"];

let gcs: FakeGcs;
let tokens: TokenServer;

before(async () => {
  [gcs, tokens] = await Promise.all([startFakeGcs(), startTokenServer()]);
  await gcs.put("artifacts", {
    ...adapterFiles("loras/sql"),
    ...adapterFiles("loras/sql-old", "shout"),
    ...big,
    "loras/sql/checkpoint-10/optimizer.pt": Buffer.from("x"),
  });
  for (const [index, key] of BAD_KEYS.entries()) {
    const prefix = `bad/${index}`;
    await gcs.put("artifacts", {
      ...adapterFiles(prefix),
      [`${prefix}/${key}`]: Buffer.from("x"),
    });
  }
});

after(() => Promise.all([gcs.close(), tokens.close()]));

/** A sidecar behind a proxy that lets nobody pass without the token. */
async function world(t: Parameters<typeof startSidecar>[0], env: Record<string, string> = {}) {
  const way = await startFaultProxy(gcs.url);
  t.after(() => way.close());
  const guard = ({ headers }: WayRequest): WayFault | undefined => {
    if (headers.authorization === `Bearer ${tokens.token}`) return undefined;
    return { answer: { status: 401, body: '{"error":{"code":401}}' } };
  };
  way.fault = guard;
  const sidecar = await startSidecar(t, { STORAGE_EMULATOR_HOST: way.url, ...env });
  const faults = (fault: typeof way.fault) => {
    way.fault = (asked, attempt) => guard(asked) ?? fault(asked, attempt);
  };
  const credentials = { gcp_service_account_json: tokens.keyJson() };
  return { way, sidecar, faults, credentials };
}

test("the walk: bucket, sidecar, engine, answer; once while unchanged, by both names of the scheme", async (t) => {
  const { way, sidecar, credentials } = await world(t);
  const answer = await sidecar.load("code-lora-gcs", "gs://artifacts/loras/sql/", { credentials });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(await sidecar.models(), ["base", "code-lora-gcs"]);
  assert.equal(await sidecar.complete("code-lora-gcs"), SQL);
  assert.ok(sidecar.said().includes('"Downloading artifact from gs://artifacts/loras/sql/ to '));
  assert.ok(sidecar.said().includes('"Successfully downloaded artifact for code-lora-gcs"'));
  assert.ok(!sidecar.said().includes(tokens.token));
  assert.ok(!sidecar.said().includes("PRIVATE KEY"));
  const before = way.gets(WEIGHTS).length;
  for (const url of ["gcs://artifacts/loras/sql", "gs://artifacts/loras/sql"]) {
    const again = await sidecar.load("code-lora-gcs", url, { credentials });
    assert.equal(again.status, 200, again.text);
  }
  assert.equal(way.gets(WEIGHTS).length, before);
  // The same bytes once more are another generation, and another content is another version.
  await gcs.put("artifacts", adapterFiles("loras/changing"));
  await sidecar.load("c", "gs://artifacts/loras/changing", { credentials });
  await gcs.put("artifacts", adapterFiles("loras/changing", "shout"));
  await sidecar.load("c", "gs://artifacts/loras/changing", { credentials });
  assert.notEqual(await sidecar.complete("c"), SQL);
});

test("missing, malformed, wrong and insufficient credentials are told apart; none of them is echoed", async (t) => {
  const { way, sidecar, credentials, faults } = await world(t);
  const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const pem = stranger.export({ type: "pkcs8", format: "pem" });
  const key = (gcp_service_account_json: string) => ({ gcp_service_account_json });
  const cases: [object | undefined, number, string, RegExp][] = [
    [undefined, 403, "AccessDenied", /^Access denied to gs:\/\/.* none were given/],
    [{ aws_access_key_id: "AKIA1234" }, 401, "InvalidCredentials", /gcp_service_account_json/],
    [key("{not json at all"), 401, "InvalidCredentials", /^Invalid credentials.*not valid JSON/],
    [key('{"type":"authorized_user"}'), 401, "InvalidCredentials", /another type/],
    [key(tokens.keyJson({ private_key: "none" })), 401, "InvalidCredentials", /not an RSA key/],
    [key(tokens.keyJson({ private_key: pem })), 401, "InvalidCredentials", /invalid_grant/],
  ];
  for (const [given, status, code, words] of cases) {
    const answer = await sidecar.load("a", "gs://artifacts/loras/sql", { credentials: given });
    assert.deepEqual(
      [answer.status, answer["code"], answer["retriable"]],
      [status, code, false],
      answer.text,
    );
    assert.match(String(answer["error"]), words);
    assert.ok(!/PRIVATE KEY|eyJ/.test(answer.text + sidecar.said()), answer.text);
  }
  way.fault = () => ({ answer: { status: 401 } });
  const wrong = await sidecar.load("a", "gs://artifacts/loras/sql", { credentials });
  assert.deepEqual([wrong.status, wrong["code"]], [401, "InvalidCredentials"], wrong.text);
  faults(() => ({ answer: { status: 403 } }));
  const denied = await sidecar.load("a", "gs://artifacts/loras/sql", { credentials });
  assert.deepEqual([denied.status, denied["code"]], [403, "AccessDenied"], denied.text);
  assert.match(String(denied["error"]), /storage\.objects\.get/);
  faults(() => undefined);
  for (const url of ["gs://artifacts/loras/none", "gs://nowhere/loras"]) {
    const answer = await sidecar.load("a", url, { credentials });
    assert.deepEqual([answer.status, answer["code"]], [404, "NotFound"], answer.text);
  }
});

test("keys from a mounted file and from GOOGLE_APPLICATION_CREDENTIALS", async (t) => {
  const folder = await tempFolder(t);
  await mkdir(join(folder, "credentials"));
  const mounted = await world(t, { AIBRIX_CREDENTIALS_DIR: join(folder, "credentials") });
  await writeFile(join(folder, "credentials/gcp_service_account_json"), tokens.keyJson());
  const first = await mounted.sidecar.load("a", "gs://artifacts/loras/sql");
  assert.equal(first.status, 200, first.text);
  await writeFile(join(folder, "key.json"), tokens.keyJson());
  const named = await world(t, { GOOGLE_APPLICATION_CREDENTIALS: join(folder, "key.json") });
  const second = await named.sidecar.load("a", "gs://artifacts/loras/sql");
  assert.equal(second.status, 200, second.text);
});

test("a large file comes in ranges, through cuts and 503; damaged bytes are noticed", async (t) => {
  const { way, sidecar, credentials, faults } = await world(t);
  let answered = 0;
  faults(({ method, path }) => {
    if (method !== "GET" || !decodeURIComponent(path).includes(`big/${WEIGHTS}`)) return undefined;
    answered++;
    if (answered === 2) return { cutAfter: 1_000_000 };
    if (answered === 5) return { answer: { status: 503 } };
    if (answered === 8) return { flipAt: 1000 };
    return undefined;
  });
  await sidecar.load("big", "gs://artifacts/loras/big", { credentials });
  assert.deepEqual(await readFile(join(sidecar.root, "big", WEIGHTS)), big[`loras/big/${WEIGHTS}`]);
  assert.ok(way.gets(WEIGHTS).every(({ headers }) => /^bytes=\d+-\d+$/.test(headers.range ?? "")));
  faults(({ path }) =>
    decodeURIComponent(path).includes(`sql/${WEIGHTS}`) ? { flipAt: 100_000 } : undefined,
  );
  const bad = await sidecar.load("b", "gs://artifacts/loras/sql", { credentials });
  assert.deepEqual([bad.status, bad["code"]], [422, "InvalidArtifact"], bad.text);
});

test("killed in the middle of a download, the next one goes on; nothing half-published is ever there", async (t) => {
  const { way, sidecar, credentials, faults } = await world(t);
  const never = Promise.withResolvers<void>();
  t.after(() => never.resolve());
  faults(({ headers }) =>
    /^bytes=1[2-9]\d{6}-/.test(headers.range ?? "") ? { until: never.promise } : undefined,
  );
  const first = sidecar
    .load("big", "gs://artifacts/loras/big", { credentials })
    .catch(() => undefined);
  const staging = join(sidecar.root, ".loradock/staging/big");
  await eventually(
    "half of it is here",
    async () => {
      const all = await readdir(staging, { recursive: true }).catch(() => []);
      const part = all.find((path) => path.endsWith(WEIGHTS));
      return part !== undefined && (await readFile(join(staging, part))).length >= 12_000_000;
    },
    20_000,
  );
  await sidecar.kill("SIGKILL");
  await first;
  assert.deepEqual((await readdir(sidecar.root)).sort(), [".loradock"]);
  const before = way.gets(WEIGHTS).length;
  faults(() => undefined);
  await sidecar.start();
  await sidecar.load("big", "gs://artifacts/loras/big", { credentials });
  assert.deepEqual(await readFile(join(sidecar.root, "big", WEIGHTS)), big[`loras/big/${WEIGHTS}`]);
  const starts = way
    .gets(WEIGHTS)
    .slice(before)
    .map(({ headers }) => headers.range ?? "");
  assert.ok(
    starts.length > 0 && starts.every((range) => /^bytes=[12]\d{7}-/.test(range)),
    starts.join(),
  );
});

test("keys that would leave the folder, or meet in it, have the artifact refused", async (t) => {
  const { sidecar, credentials } = await world(t);
  for (const [index, key] of BAD_KEYS.entries()) {
    const answer = await sidecar.load("a", `gs://artifacts/bad/${index}`, { credentials });
    assert.deepEqual([answer.status, answer["code"]], [422, "InvalidArtifact"], key + answer.text);
    assert.match(String(answer["error"]), /^The artifact is refused/);
  }
  assert.deepEqual((await readdir(sidecar.root)).sort(), [".loradock"]);
});
