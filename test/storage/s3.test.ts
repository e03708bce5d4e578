/** s3:// against moto, with faults on the way, through the sidecar's HTTP API into the built-in engine. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { adapterFiles, largeAdapter } from "#test/support/adapters.ts";
import { eventually } from "#test/support/eventually.ts";
import { startFaultProxy } from "#test/support/fault-proxy.ts";
import { SQL, startSidecar } from "#test/support/sidecar-process.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { type Keys, type Moto, startMoto } from "./stores.ts";

const WEIGHTS = "adapter_model.safetensors";
const BIG = 24_000_000;
const big = largeAdapter("loras/big", BIG);
const BAD_KEYS = ["../../evil", "/absolute", "control\u0001", "ADAPTER_CONFIG.JSON"];
const READ = ["s3:ListBucket", "s3:GetObject"];

let moto: Moto;
let reader: Keys;
let lister: Keys;
let nobody: Keys;

before(async () => {
  moto = await startMoto();
  await moto.put("artifacts", {
    ...adapterFiles("loras/sql"),
    ...adapterFiles("loras/sql-old", "shout"),
    ...big,
    "loras/sql/": Buffer.alloc(0),
    "loras/sql/checkpoint-10/optimizer.pt": Buffer.from("x"),
    "loras/sql/README.md": Buffer.from("x"),
  });
  for (const [index, key] of BAD_KEYS.entries()) {
    const prefix = `bad/${index}`;
    const evil = { [`${prefix}/${key}`]: Buffer.from("x") };
    await moto.put("artifacts", { ...adapterFiles(prefix), ...evil });
  }
  reader = await moto.user("reader", READ);
  lister = await moto.user("lister", ["s3:ListBucket"]);
  nobody = await moto.user("nobody", ["ec2:RunInstances"]);
  await moto.enforce();
});

after(() => moto.close());

/** A sidecar behind a proxy that does what a test says. */
async function world(t: Parameters<typeof startSidecar>[0], env: Record<string, string> = {}) {
  const way = await startFaultProxy(moto.url);
  t.after(() => way.close());
  const sidecar = await startSidecar(t, {
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_ENDPOINT_URL_S3: way.url,
    ...env,
  });
  return { way, sidecar };
}

test("the walk: bucket, sidecar, engine, answer; once while unchanged, with and without a slash", async (t) => {
  const { way, sidecar } = await world(t);
  const credentials = { ...reader, aws_region: "us-east-1" };
  const answer = await sidecar.load("sql-lora-s3", "s3://artifacts/loras/sql/", { credentials });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer["local_path"], join(sidecar.root, "sql-lora-s3"));
  assert.deepEqual(await sidecar.models(), ["base", "sql-lora-s3"]);
  assert.equal(await sidecar.complete("sql-lora-s3"), SQL);
  assert.deepEqual((await readdir(join(sidecar.root, "sql-lora-s3"))).sort(), [
    "adapter_config.json",
    WEIGHTS,
  ]);
  const words = [
    `"Downloading artifact from s3://artifacts/loras/sql/ to ${sidecar.root}/sql-lora-s3"`,
    '"Successfully downloaded artifact for sql-lora-s3"',
    '"Forwarding load request to engine with local path"',
  ];
  for (const line of words) assert.ok(sidecar.said().includes(line), sidecar.said());
  assert.ok(!sidecar.said().includes(reader.aws_secret_access_key));

  const before = way.gets(WEIGHTS).length;
  const again = await sidecar.load("sql-lora-s3", "s3://artifacts/loras/sql", { credentials });
  assert.equal(again.status, 200, again.text);
  assert.equal(way.gets(WEIGHTS).length, before);
  const gone = await sidecar.unload("sql-lora-s3");
  assert.equal(gone.status, 200, gone.text);
  assert.deepEqual(await sidecar.models(), ["base"]);
});

test("missing, half, wrong and insufficient credentials are told apart; none of them is echoed", async (t) => {
  const { sidecar } = await world(t);
  const wrongSecret = { ...reader, aws_secret_access_key: "wrongwrongwrong" };
  const wrongId = { ...reader, aws_access_key_id: "AKIAWRONGWRONGWRONG1" };
  const { aws_access_key_id } = reader;
  const cases: [object | undefined, number, string, RegExp][] = [
    [undefined, 403, "AccessDenied", /^Access denied to s3:\/\/.* no credentials were given/],
    [{ aws_access_key_id }, 401, "InvalidCredentials", /^Invalid credentials.*both/],
    [{ huggingface_token: "hf_something" }, 401, "InvalidCredentials", /aws_access_key_id/],
    [wrongSecret, 401, "InvalidCredentials", /^Invalid credentials.*SignatureDoesNotMatch/],
    [wrongId, 401, "InvalidCredentials", /^Invalid credentials.*InvalidAccessKeyId/],
    [nobody, 403, "AccessDenied", /^Access denied.*s3:ListBucket.*s3:GetObject/],
    [lister, 403, "AccessDenied", /^Access denied.*s3:GetObject/],
  ];
  for (const [credentials, status, code, words] of cases) {
    const answer = await sidecar.load("a", "s3://artifacts/loras/sql", { credentials });
    assert.deepEqual(
      [answer.status, answer["code"], answer["retriable"]],
      [status, code, false],
      answer.text,
    );
    assert.match(String(answer["error"]), words);
    for (const secret of Object.values(credentials ?? {})) {
      assert.ok(!answer.text.includes(secret), answer.text);
      assert.ok(!sidecar.said().includes(secret));
    }
  }
  for (const [url, words] of [
    ["s3://artifacts/loras/none", /^Not found: nothing lies in s3:\/\/artifacts\/loras\/none/],
    ["s3://nowhere/loras", /^Not found: the bucket of s3:\/\/nowhere\/loras/],
  ] as const) {
    const answer = await sidecar.load("a", url, { credentials: reader });
    assert.deepEqual([answer.status, answer["code"]], [404, "NotFound"], answer.text);
    assert.match(String(answer["error"]), words);
  }
});

test("keys from the environment, and from mounted files before them", async (t) => {
  const folder = await tempFolder(t);
  const { sidecar } = await world(t, {
    AWS_ACCESS_KEY_ID: reader.aws_access_key_id,
    AWS_SECRET_ACCESS_KEY: reader.aws_secret_access_key,
    AIBRIX_CREDENTIALS_DIR: join(folder, "credentials"),
  });
  const first = await sidecar.load("a", "s3://artifacts/loras/sql");
  assert.equal(first.status, 200, first.text);
  await mkdir(join(folder, "credentials"));
  for (const [name, value] of Object.entries(nobody)) {
    await writeFile(join(folder, "credentials", name), `${value}\n`);
  }
  const second = await sidecar.load("b", "s3://artifacts/loras/sql");
  assert.equal(second["code"], "AccessDenied", second.text);
});

test("web identity: the role of the pod's service account, without any key", async (t) => {
  // Once moto asks for signatures it asks also where AWS does not: here it asks nobody.
  const open = await startMoto();
  t.after(() => open.close());
  const role = await open.role("pod", READ);
  const token = join(await tempFolder(t), "token");
  await writeFile(token, "header.claims.signature");
  const { way, sidecar } = await world(t, {
    AWS_ROLE_ARN: role,
    AWS_WEB_IDENTITY_TOKEN_FILE: token,
    AWS_ENDPOINT_URL_STS: open.url,
    AWS_REGION: "us-east-1",
  });
  way.target = open.url;
  await open.put("artifacts", adapterFiles("loras/sql"));
  const answer = await sidecar.load("a", "s3://artifacts/loras/sql");
  assert.equal(answer.status, 200, answer.text);
  assert.ok(way.asked.length > 0);
  for (const { headers } of way.asked) {
    assert.match(String(headers.authorization), /Credential=ASIA/);
    assert.ok(headers["x-amz-security-token"]);
  }
  // A Secret that names only the region leaves the rest to the platform.
  const again = await sidecar.load("b", "s3://artifacts/loras/sql", {
    credentials: { aws_region: "us-east-1" },
  });
  assert.equal(again.status, 200, again.text);
});

test("a large file comes in ranges side by side, through cuts, 503, SlowDown and wrong lengths", async (t) => {
  const { way, sidecar } = await world(t);
  let answered = 0;
  way.fault = ({ method, path }, attempt) => {
    if (attempt === 0 && path.includes("list-type=2")) return { answer: { status: 503 } };
    if (method !== "GET" || !path.includes(`big/${WEIGHTS}`)) return undefined;
    answered++;
    if (answered === 2) return { cutAfter: 1_000_000 };
    if (answered === 5) {
      const body = "<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>";
      return { answer: { status: 503, headers: { "content-type": "application/xml" }, body } };
    }
    if (answered === 9) return { lengthOff: 7 };
    return undefined;
  };
  // The engine cannot do anything with this adapter; the sidecar can.
  await sidecar.load("big", "s3://artifacts/loras/big", { credentials: reader });
  assert.deepEqual(await readFile(join(sidecar.root, "big", WEIGHTS)), big[`loras/big/${WEIGHTS}`]);
  const ranges = way.gets(`big/${WEIGHTS}`).map(({ headers }) => headers.range);
  assert.ok(ranges.every((range) => /^bytes=\d+-\d+$/.test(range ?? "")));
  assert.ok(answered > 6 && answered < 30, String(answered));
  // The others are signed by ourselves, and the store takes them.
  const bySdk = way.gets(`big/${WEIGHTS}`).filter(({ headers }) => "amz-sdk-request" in headers);
  assert.ok(bySdk.length < answered / 2, `${bySdk.length} of ${answered}`);
});

test("bytes that change on the way are noticed by the store's checksum, and fetched again", async (t) => {
  const { way, sidecar } = await world(t);
  way.fault = ({ method, path }, attempt) =>
    method === "GET" && path.includes(`sql/${WEIGHTS}`) && attempt === 0
      ? { flipAt: 100_000 }
      : undefined;
  const answer = await sidecar.load("a", "s3://artifacts/loras/sql", { credentials: reader });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(await sidecar.complete("a"), SQL);
  assert.equal(way.gets(`sql/${WEIGHTS}`).length, 2);
  way.fault = ({ method, path }) =>
    method === "GET" && path.includes(`sql-old/${WEIGHTS}`) ? { flipAt: 100_000 } : undefined;
  const bad = await sidecar.load("b", "s3://artifacts/loras/sql-old", { credentials: reader });
  assert.deepEqual([bad.status, bad["code"]], [422, "InvalidArtifact"], bad.text);
  assert.match(String(bad["error"]), /does not match its checksum/);
  assert.deepEqual(await sidecar.models(), ["base", "a"]);
});

test("killed in the middle of a download, the next one goes on; nothing half-published is ever there", async (t) => {
  const { way, sidecar } = await world(t);
  const never = Promise.withResolvers<void>();
  t.after(() => never.resolve());
  const object = `big/${WEIGHTS}`;
  way.fault = ({ method, path, headers }) => {
    if (method !== "GET" || !path.includes(object)) return undefined;
    if (!/^bytes=1[2-9]\d{6}-/.test(headers.range ?? "")) return undefined;
    return { until: never.promise };
  };
  const first = sidecar
    .load("big", "s3://artifacts/loras/big", { credentials: reader })
    .catch(() => undefined);
  const staging = join(sidecar.root, ".loradock/staging/big");
  const sizes = async () => {
    const all = await readdir(staging, { recursive: true }).catch(() => []);
    const [part] = all.filter((path) => path.endsWith(WEIGHTS));
    return part === undefined ? 0 : (await readFile(join(staging, part))).length;
  };
  await eventually("half of it is here", async () => (await sizes()) >= 12_000_000, 20_000);
  await sidecar.kill("SIGKILL");
  await first;
  assert.deepEqual((await readdir(sidecar.root)).sort(), [".loradock"]);
  const before = way.gets(object).length;
  way.fault = () => undefined;
  await sidecar.start();
  await sidecar.load("big", "s3://artifacts/loras/big", { credentials: reader });
  assert.deepEqual(await readFile(join(sidecar.root, "big", WEIGHTS)), big[`loras/${object}`]);
  const starts = way
    .gets(object)
    .slice(before)
    .map(({ headers }) => headers.range ?? "");
  assert.ok(
    starts.length > 0 && starts.every((range) => /^bytes=[12]\d{7}-/.test(range)),
    starts.join(),
  );
});

test("keys that would leave the folder, or meet in it, have the artifact refused", async (t) => {
  const { sidecar } = await world(t);
  for (const [index, key] of BAD_KEYS.entries()) {
    const url = `s3://artifacts/bad/${index}`;
    const answer = await sidecar.load("a", url, { credentials: reader });
    assert.deepEqual([answer.status, answer["code"]], [422, "InvalidArtifact"], key + answer.text);
    assert.match(String(answer["error"]), /^The artifact is refused/);
  }
  assert.deepEqual((await readdir(sidecar.root)).sort(), [".loradock"]);
});
