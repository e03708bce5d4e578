/** The walk of a private adapter: ModelAdapter and Secret, controller, sidecar, bucket, engine; status in the store's words. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { RUNTIME_CONTAINER, RUNTIME_PORT } from "#api/names.ts";
import { toTimestamp } from "#base/clock.ts";
import { MODEL_ADAPTERS, PODS, SECRETS } from "#kube/client.ts";
import { adapterFiles } from "#test/support/adapters.ts";
import { startController } from "#test/support/controller-in-process.ts";
import { eventually } from "#test/support/eventually.ts";
import { MemoryKube } from "#test/support/memory-kube.ts";
import { SQL, startSidecar } from "#test/support/sidecar-process.ts";
import { type Keys, type Moto, startMoto } from "./stores.ts";

/** An address of this machine that is this run's own: the sidecar's port is fixed. */
const POD_IP = `127.77.${(process.pid >> 8) & 255}.${(process.pid & 127) + 2}`;
const WAIT_MS = 20_000;

let moto: Moto;
let reader: Keys;
let nobody: Keys;

before(async () => {
  moto = await startMoto();
  await moto.put("my-company-bucket", adapterFiles("lora-adapters/sql-adapter"));
  reader = await moto.user("reader", ["s3:ListBucket", "s3:GetObject"]);
  nobody = await moto.user("nobody", ["ec2:RunInstances"]);
  await moto.enforce();
});

after(() => moto.close());

const volumeMounts = [{ name: "adapter-storage", mountPath: "/tmp/aibrix/adapters" }];
const POD: Pod = {
  metadata: {
    name: "vllm-llama3",
    namespace: "default",
    labels: { "model.aibrix.ai/name": "base", "adapter.model.aibrix.ai/enabled": "true" },
  },
  spec: {
    containers: [
      { name: "vllm", volumeMounts },
      { name: RUNTIME_CONTAINER, volumeMounts },
    ],
    volumes: [{ name: "adapter-storage", emptyDir: {} }],
  },
  status: {
    podIP: POD_IP,
    conditions: [
      {
        type: "Ready",
        status: "True",
        lastTransitionTime: toTimestamp(Date.now() - 60_000),
      },
    ],
  },
};

const adapter = (name: string, artifactURL: string, secret: string): ModelAdapter => ({
  apiVersion: "model.aibrix.ai/v1alpha1",
  kind: "ModelAdapter",
  metadata: { name, namespace: "default" },
  spec: {
    baseModel: "base",
    podSelector: { matchLabels: { "model.aibrix.ai/name": "base" } },
    schedulerName: "default",
    artifactURL,
    credentialsSecretRef: { name: secret },
  },
});

test("a private adapter runs; what the store refuses is told in the adapter's status", async (t) => {
  const at = { host: POD_IP, port: RUNTIME_PORT };
  const env = { AWS_ENDPOINT_URL_S3: moto.url, AWS_EC2_METADATA_DISABLED: "true" };
  const sidecar = await startSidecar(t, env, at);
  const kube = new MemoryKube();
  const { log } = startController(t, kube, { pollMs: 100, enableRuntimeSidecar: true });
  const secret = (name: string, keys: object) =>
    kube.create(SECRETS, {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name, namespace: "default" },
      data: Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, btoa(value)])),
    });
  await kube.create(PODS, POD);
  await secret("s3-credentials", { ...reader, aws_region: "us-west-2" });
  await secret("denied", nobody);
  await secret("wrong", { ...reader, aws_secret_access_key: "wrongwrongwrong" });
  const url = "s3://my-company-bucket/lora-adapters/sql-adapter/";
  await kube.create(MODEL_ADAPTERS, adapter("sql-lora-s3", url, "s3-credentials"));
  const statusOf = async (name: string) =>
    (await kube.get(MODEL_ADAPTERS, { namespace: "default", name })).status;
  await eventually(
    "the adapter runs",
    async () => (await statusOf("sql-lora-s3"))?.phase === "Running",
    WAIT_MS,
  );
  assert.equal(await sidecar.complete("sql-lora-s3"), SQL);
  assert.ok(log().includes('"Using runtime path for artifact delegation"'));
  assert.ok(sidecar.said().includes(`"Downloading artifact from ${url} to ${sidecar.root}/`));

  const refused: [string, string, string, RegExp][] = [
    ["denied", url, "denied", /Access denied to s3:\/\/my-company-bucket/],
    ["wrong", url, "wrong", /Invalid credentials for s3:\/\/my-company-bucket/],
    ["gone", "s3://my-company-bucket/none", "s3-credentials", /Not found: nothing lies in s3:/],
  ];
  for (const [name, from, keys, words] of refused) {
    await kube.create(MODEL_ADAPTERS, adapter(name, from, keys));
    const status = await eventually(
      `${name} failed`,
      async () => {
        const now = await statusOf(name);
        return now?.phase === "Failed" && now;
      },
      WAIT_MS,
    );
    assert.match(JSON.stringify(status.conditions), words);
  }
  const told = log() + JSON.stringify((await kube.list(MODEL_ADAPTERS)).items);
  for (const value of [reader.aws_secret_access_key, "wrongwrongwrong"]) {
    assert.ok(!told.includes(value));
  }
});
