/** tos:// through the S3 protocol, which Volcano Engine speaks and moto stands in for. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { adapterFiles } from "#test/support/adapters.ts";
import { startFaultProxy } from "#test/support/fault-proxy.ts";
import { SQL, startSidecar } from "#test/support/sidecar-process.ts";
import { type Keys, type Moto, startMoto } from "./stores.ts";

/** Both clouds have one of this name; Chinese ones are another world to moto. */
const REGION = "ap-southeast-1";
const WEIGHTS = "adapter_model.safetensors";

let moto: Moto;
let reader: Keys;

before(async () => {
  moto = await startMoto();
  await moto.put("artifacts", adapterFiles("loras/sql"));
  reader = await moto.user("reader", ["s3:ListBucket", "s3:GetObject"]);
  await moto.enforce();
});

after(() => moto.close());

test("the walk: bucket, sidecar, engine, answer; keys from the request or the environment", async (t) => {
  const way = await startFaultProxy(moto.url);
  t.after(() => way.close());
  const pair = {
    TOS_ACCESS_KEY: reader.aws_access_key_id,
    TOS_SECRET_KEY: reader.aws_secret_access_key,
  };
  const sidecar = await startSidecar(t, { TOS_REGION: REGION });
  const credentials = { ...pair, TOS_ENDPOINT: way.url };
  const answer = await sidecar.load("tos-lora", "tos://artifacts/loras/sql/", { credentials });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(await sidecar.complete("tos-lora"), SQL);
  assert.ok(sidecar.said().includes('"Downloading artifact from tos://artifacts/loras/sql/ to '));
  assert.match(
    String(way.asked[0]?.headers.authorization),
    new RegExp(`/${REGION}/s3/aws4_request`),
  );
  const again = await sidecar.load("tos-lora", "tos://artifacts/loras/sql", { credentials });
  assert.equal(again.status, 200, again.text);
  assert.equal(way.gets(WEIGHTS).length, 1);

  const wrong = await sidecar.load("a", "tos://artifacts/loras/sql", {
    credentials: { ...credentials, TOS_SECRET_KEY: "wrongwrong" },
  });
  assert.deepEqual([wrong.status, wrong["code"]], [401, "InvalidCredentials"], wrong.text);
  assert.match(String(wrong["error"]), /TOS_SECRET_KEY/);
  const half = await sidecar.load("a", "tos://artifacts/loras/sql", {
    credentials: { TOS_ACCESS_KEY: pair.TOS_ACCESS_KEY },
  });
  assert.deepEqual([half.status, half["code"]], [401, "InvalidCredentials"], half.text);
  const none = await sidecar.load("a", "tos://artifacts/loras/sql");
  assert.deepEqual([none.status, none["code"]], [403, "AccessDenied"], none.text);
  const gone = await sidecar.load("a", "tos://artifacts/loras/none", { credentials });
  assert.deepEqual([gone.status, gone["code"]], [404, "NotFound"], gone.text);

  const other = await startSidecar(t, {
    ...pair,
    TOS_ENDPOINT: moto.url,
    TOS_REGION: REGION,
  });
  const plain = await other.load("tos-lora", "tos://artifacts/loras/sql");
  assert.equal(plain.status, 200, plain.text);
});
