import assert from "node:assert/strict";
import { test } from "node:test";
import { answers, modelList } from "#test/support/answers.ts";
import { EngineError } from "./errors.ts";
import { runtimeEngine } from "./runtime.ts";

const signal = new AbortController().signal;
const runtime = runtimeEngine();
const artifact = {
  name: "sql",
  artifactUrl: "s3://bucket/sql",
  credentials: { aws_access_key_id: "a" },
  additionalConfig: undefined,
  directPath: undefined,
};
/** How FastAPI, and so AIBrix's sidecars, refuse a body. */
const invalid = (...fields: [string, string][]) => ({
  status: 422,
  body: { detail: fields.map(([name, msg]) => ({ type: "x", loc: ["body", name], msg })) },
});
const error = (matches: (error: EngineError) => boolean) => (thrown: unknown) =>
  thrown instanceof EngineError && matches(thrown);

test("an artifact is delegated with credentials and key, and the sidecar tells the path of this version", async (t) => {
  const paths = { local_path: "/adapters/sql", loaded_path: "/adapters/.versions/sql/1" };
  const { asked, keys, target } = await answers(
    t,
    { status: 200, body: { status: "success", ...paths } },
    { status: 201, body: { status: "success", local_path: "/adapters/sql" } },
  );
  const keyed = { ...target, apiKey: "sk-1" };
  assert.equal(await runtime.loadArtifact(keyed, artifact, signal), paths.loaded_path);
  assert.equal(await runtime.loadArtifact(keyed, artifact, signal), paths.local_path);
  assert.equal(
    asked[0],
    'POST /v1/lora_adapter/load {"lora_name":"sql","artifact_url":"s3://bucket/sql","credentials":{"aws_access_key_id":"a"}}',
  );
  assert.deepEqual(keys, ["Bearer sk-1", "Bearer sk-1"]);
});

test("a sidecar of before artifact URLs gets the direct form, where there is one", async (t) => {
  const old = invalid(
    ["lora_path", "Field required"],
    ["artifact_url", "Extra inputs are not permitted"],
  );
  const { asked, target } = await answers(t, old, { status: 200, body: "Success" });
  const public_ = { ...artifact, credentials: undefined, directPath: "org/sql" };
  assert.equal(await runtime.loadArtifact(target, public_, signal), "org/sql");
  assert.match(asked[1] ?? "", /\{"lora_name":"sql","lora_path":"org\/sql"\}/);
  const refused = await answers(t, old);
  await assert.rejects(
    runtime.loadArtifact(refused.target, artifact, signal),
    error(({ retriable, message }) => !retriable && /too old to fetch/.test(message)),
  );
});

test("unloading asks for a clean-up, an old sidecar is asked without; an unknown adapter is a success", async (t) => {
  const unknown = {
    status: 404,
    body: { object: "error", message: "LoRA adapter 'sql' not found", type: "x", code: 404 },
  };
  const extra = invalid(["cleanup_local", "Extra inputs are not permitted"]);
  const { asked, target } = await answers(t, extra, unknown);
  await runtime.unload(target, "sql", signal);
  assert.deepEqual(asked, [
    'POST /v1/lora_adapter/unload {"lora_name":"sql","cleanup_local":true}',
    'POST /v1/lora_adapter/unload {"lora_name":"sql"}',
  ]);
});

test("direct form: what the engine has from another path makes room first", async (t) => {
  const taken = {
    status: 400,
    body: {
      object: "error",
      message: `Failed to load LoRA adapter 'sql', message: {"error":{"message":"The lora adapter 'sql' has already been loaded."}}`,
      code: 400,
    },
  };
  const done = { status: 200, body: "Success" };
  const { asked, target } = await answers(t, taken, modelList({ sql: "org/old" }), done, done);
  await runtime.load(target, { name: "sql", path: "org/new", replace: false }, signal);
  assert.deepEqual(
    asked.map((line) => line.split(" ")[1]),
    ["/v1/lora_adapter/load", "/v1/models", "/v1/lora_adapter/unload", "/v1/lora_adapter/load"],
  );
});

const refusals: [string, number, unknown, string, boolean, RegExp][] = [
  [
    "our sidecar says itself what kind it is",
    502,
    {
      error: "timeout: https://hub answered 504",
      code: "Unreachable",
      retriable: true,
    },
    "Unreachable",
    true,
    /^timeout/,
  ],
  [
    "our sidecar: a bad artifact",
    422,
    { error: "rank 64 > 16", code: "InvalidArtifact", retriable: false },
    "InvalidArtifact",
    false,
    /^rank 64 > 16$/,
  ],
  [
    "AIBrix 0.8: everything is a 500, the words decide",
    500,
    { error: "Access denied to s3://bucket/sql" },
    "Rejected",
    false,
    /Access denied/,
  ],
  [
    "AIBrix 0.8: the engine is still starting",
    502,
    { object: "error", message: "Cannot connect to inference engine for LoRA adapter 'sql'" },
    "Unavailable",
    true,
    /^bad gateway/,
  ],
  [
    "AIBrix 0.3: the engine asks for a key",
    401,
    {
      object: "error",
      message: `Failed to load LoRA adapter 'sql', message: {"error":"Unauthorized"}`,
    },
    "Unauthorized",
    false,
    /^Unauthorized: set additionalConfig.api-key/,
  ],
  [
    "a name that holds a retriable word is no reason to retry",
    400,
    { error: { message: "The lora adapter 'timeout-lora' conflicts with a served base model." } },
    "Rejected",
    false,
    /conflicts/,
  ],
];
for (const [name, status, body, code, retriable, words] of refusals) {
  test(`refusal: ${name}`, async (t) => {
    const { target } = await answers(t, { status, body });
    await assert.rejects(
      runtime.loadArtifact(target, artifact, signal),
      error((one) => {
        assert.deepEqual([one.code, one.retriable], [code, retriable]);
        return words.test(one.message);
      }),
    );
  });
}
