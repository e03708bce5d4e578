import assert from "node:assert/strict";
import { test } from "node:test";
import { UserError } from "#base/errors.ts";
import { isTrue, parseRuntimeOptions } from "./options.ts";

test("defaults are AIBrix's", () => {
  const options = parseRuntimeOptions({}, {});
  assert.deepEqual(
    [
      options.port,
      options.engine,
      options.engineUrl,
      options.adapterRoot,
      options.credentialsFolder,
    ],
    [8080, "vllm", "http://localhost:8000", "/tmp/aibrix/adapters", "/var/run/secrets/aibrix"],
  );
  assert.deepEqual(options.metrics, { path: "/metrics", isRaw: false });
  assert.equal(options.sources.huggingFaceEndpoint, "https://huggingface.co");
});

test("flags win over the environment; empty variables are unset; wrong ones are named", () => {
  const env = { HOST: "127.0.0.2", PORT: "9000", INFERENCE_ENGINE: "", HF_ENDPOINT: "http://h/x/" };
  const options = parseRuntimeOptions({ port: 9001 }, env);
  assert.deepEqual([options.host, options.port, options.engine], ["127.0.0.2", 9001, "vllm"]);
  assert.equal(options.sources.huggingFaceEndpoint, "http://h/x");
  const wrong = {
    PORT: "99999",
    INFERENCE_ENGINE: "trtllm",
    INFERENCE_ENGINE_ENDPOINT: "localhost:8000",
    AIBRIX_ADAPTER_DIR: "adapters",
    INFERENCE_ENGINE_MAX_LORA_RANK: "0",
    VLLM_LORA_MODULES_LOADING_TIMEOUT: "soon",
    ARTIFACT_CACHE_SIZE: "10 GB",
  };
  for (const [name, value] of Object.entries(wrong)) {
    assert.throws(
      () => parseRuntimeOptions({}, { [name]: value }),
      (error) => error instanceof UserError && error.message.includes(name),
    );
  }
});

test("switches: 1, on, yes, true in any case; off wins over raw", () => {
  for (const text of ["1", "on", "YES", "True"]) assert.ok(isTrue(text), text);
  for (const text of [undefined, "", "0", "off", "2", "y"]) assert.ok(!isTrue(text), text);
  const isRaw = (METRICS_ENABLE_TRANSFORMATION: string, METRICS_RAW_PASSTHROUGH_MODE: string) =>
    parseRuntimeOptions({}, { METRICS_ENABLE_TRANSFORMATION, METRICS_RAW_PASSTHROUGH_MODE }).metrics
      .isRaw;
  assert.deepEqual(
    [isRaw("1", "0"), isRaw("0", "0"), isRaw("0", "1"), isRaw("1", "1")],
    [false, true, true, true],
  );
});

test("sizes as Kubernetes writes them", () => {
  const sizes = { "0": 0, "123": 123, "5k": 5000, "5Ki": 5120, "2M": 2e6, "10Gi": 10 * 2 ** 30 };
  for (const [text, bytes] of Object.entries(sizes)) {
    const options = parseRuntimeOptions({}, { ARTIFACT_CACHE_SIZE: text });
    assert.equal(options.cacheBytesMax, bytes, text);
  }
  assert.equal(parseRuntimeOptions({}, {}).cacheBytesMax, 10 * 2 ** 30);
});

test("stores, proxies and authorities by the names that other programs know", () => {
  const env = {
    AWS_ENDPOINT_URL: "http://other:9000",
    AWS_ENDPOINT_URL_S3: "http://s3:9000/",
    AWS_DEFAULT_REGION: "eu-north-1",
    STORAGE_EMULATOR_HOST: "gcs:4443",
    TOS_REGION: "cn-beijing",
    HTTPS_PROXY: "proxy:3128",
    https_proxy: "http://small:3128",
    NO_PROXY: "10.0.0.0",
    SSL_CERT_FILE: "/etc/ca.pem",
  };
  const { sources, network } = parseRuntimeOptions({}, env);
  assert.deepEqual(sources.s3, { endpoint: "http://s3:9000", region: "eu-north-1" });
  assert.equal(sources.gcs.endpoint, "http://gcs:4443");
  assert.equal(sources.gcs.metadataUrl, "http://metadata.google.internal");
  assert.equal(sources.tos.region, "cn-beijing");
  assert.deepEqual(network, {
    httpProxy: undefined,
    httpsProxy: "http://small:3128",
    noProxy: "10.0.0.0",
    caFile: "/etc/ca.pem",
  });
  const only = { AWS_ENDPOINT_URL: env.AWS_ENDPOINT_URL, HTTP_PROXY: "proxy:3128" };
  const plain = parseRuntimeOptions({}, only);
  assert.equal(plain.sources.s3.endpoint, "http://other:9000");
  assert.equal(plain.network.httpProxy, "http://proxy:3128");
  assert.throws(() => parseRuntimeOptions({}, { AWS_ENDPOINT_URL: "s3:9000" }), /AWS_ENDPOINT_URL/);
});

test("everywhere is the pod's own address where it has one", () => {
  const env = { LORADOCK_BIND_ADDRESS: "127.20.0.5" };
  assert.equal(parseRuntimeOptions({}, env).host, "127.20.0.5");
  assert.equal(parseRuntimeOptions({ host: "127.0.0.3" }, env).host, "127.0.0.3");
  assert.equal(parseRuntimeOptions({}, env).engineUrl, "http://127.20.0.5:8000");
  assert.equal(parseRuntimeOptions({}, {}).host, "");
});
