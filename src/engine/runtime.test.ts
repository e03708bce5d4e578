import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Answer, answersBeside, modelList } from "#test/support/answers.ts";
import { eventually } from "#test/support/eventually.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import type { LoadProgress } from "./engine.ts";
import { EngineError } from "./errors.ts";
import { ENGINE_HTTP_DEFAULTS } from "./http.ts";
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
const STATUS = "/v1/lora_adapter/status";
/** Ours tells of loads; AIBrix's knows no such route. */
const OURS = {
  status: 404,
  body: { error: "Not found: no load", code: "NotFound", retriable: false },
};
const AIBRIX = { status: 404, body: { detail: "Not Found" } };
const ours = (t: TestContext, ...script: Answer[]) =>
  answersBeside(t, { [STATUS]: OURS }, ...script);
const aibrix = (t: TestContext, ...script: Answer[]) =>
  answersBeside(t, { [STATUS]: AIBRIX }, ...script);
const done = { status: 200, body: "Success" };
/** How FastAPI, and so AIBrix's sidecars, refuse a body. */
const invalid = (...fields: [string, string][]) => ({
  status: 422,
  body: { detail: fields.map(([name, msg]) => ({ type: "x", loc: ["body", name], msg })) },
});
const error = (matches: (error: EngineError) => boolean) => (thrown: unknown) =>
  thrown instanceof EngineError && matches(thrown);

test("an artifact is delegated with credentials and key, and the sidecar tells the path of this version", async (t) => {
  const paths = { local_path: "/adapters/sql", loaded_path: "/adapters/.versions/sql/1" };
  const loaded = { status: 200, body: { status: "success", ...paths } };
  const { asked, keys, preferences, target } = await ours(t, loaded);
  const keyed = { ...target, apiKey: "sk-1" };
  assert.equal(await runtime.loadArtifact(keyed, artifact, signal), paths.loaded_path);
  assert.deepEqual(asked, [
    'POST /v1/lora_adapter/load {"lora_name":"sql","artifact_url":"s3://bucket/sql","credentials":{"aws_access_key_id":"a"}}',
  ]);
  assert.deepEqual(keys, ["Bearer sk-1"]);
  assert.deepEqual(preferences, ["respond-async, wait=5, follow=30"]);
});

test("AIBrix's sidecar takes what it has for current: that goes before a load", async (t) => {
  const local = { status: 201, body: { status: "success", local_path: "/adapters/sql" } };
  const { asked, target } = await aibrix(t, done, local);
  assert.equal(await runtime.loadArtifact(target, artifact, signal), "/adapters/sql");
  assert.deepEqual(
    asked.map((line) => line.split(" ").slice(1).join(" ")),
    [
      '/v1/lora_adapter/unload {"lora_name":"sql","cleanup_local":true}',
      '/v1/lora_adapter/load {"lora_name":"sql","artifact_url":"s3://bucket/sql","credentials":{"aws_access_key_id":"a"}}',
    ],
  );
});

test("a sidecar of before artifact URLs gets the direct form, where there is one", async (t) => {
  const extra = invalid(["cleanup_local", "Extra inputs are not permitted"]);
  const old = invalid(
    ["lora_path", "Field required"],
    ["artifact_url", "Extra inputs are not permitted"],
  );
  const { asked, target } = await aibrix(t, extra, old, done);
  const public_ = { ...artifact, credentials: undefined, directPath: "org/sql" };
  assert.equal(await runtime.loadArtifact(target, public_, signal), "org/sql");
  assert.match(asked[2] ?? "", /\{"lora_name":"sql","lora_path":"org\/sql"\}/);
  const refused = await aibrix(t, extra, old);
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
  const { asked, target } = await aibrix(t, extra, unknown);
  await runtime.unload(target, "sql", signal);
  assert.deepEqual(asked, [
    'POST /v1/lora_adapter/unload {"lora_name":"sql","cleanup_local":true}',
    'POST /v1/lora_adapter/unload {"lora_name":"sql"}',
  ]);
});

test("an unload that AIBrix's sidecar calls a success is one when the engine's list says so, too", async (t) => {
  const gone = await aibrix(t, done, modelList({}));
  await runtime.unload(gone.target, "sql", signal);
  const left = await aibrix(t, done, modelList({ sql: "/adapters/sql" }));
  await assert.rejects(
    runtime.unload(left.target, "sql", signal),
    error(({ retriable, message }) => retriable && /the engine still lists it$/.test(message)),
  );
  const trusted = await ours(t, done);
  await runtime.unload(trusted.target, "sql", signal);
  assert.equal(trusted.asked.length, 1);
});

const TAKEN = {
  status: 400,
  body: {
    object: "error",
    message: `Failed to load LoRA adapter 'sql', message: {"error":{"message":"The lora adapter 'sql' has already been loaded."}}`,
    code: 400,
  },
};

test("direct form: what the engine has from another path makes room, and comes back when the new one is refused", async (t) => {
  const old = modelList({ sql: "org/old" });
  const order = { name: "sql", path: "org/new", replace: false };
  const { asked, target } = await ours(t, TAKEN, old, done, done);
  await runtime.load(target, order, signal);
  assert.deepEqual(
    asked.map((line) => line.split(" ")[1]),
    ["/v1/lora_adapter/load", "/v1/models", "/v1/lora_adapter/unload", "/v1/lora_adapter/load"],
  );
  const bad = { status: 400, body: { object: "error", message: "rank 64", code: 400 } };
  const refused = await ours(t, TAKEN, old, done, bad, done);
  await assert.rejects(
    runtime.load(refused.target, order, signal),
    error(({ message }) => /rank 64/.test(message)),
  );
  assert.match(refused.asked.at(-1) ?? "", /"lora_path":"org\/old"/);
});

const ACCEPTED = {
  status: 202,
  body: { status: "accepted", status_url: `${STATUS}?lora_name=sql` },
};
const downloading = (done: number) => ({
  status: 200,
  body: { state: "downloading", bytes_done: done, bytes_total: 512 },
});

/** Follows a load whose status goes through `states`; what the load came to, and what was heard of it. */
async function follow(t: TestContext, changeTimeoutMs: number, ...states: Answer[]) {
  const clock = new ManualClock();
  const following = runtimeEngine({ ...ENGINE_HTTP_DEFAULTS, changeTimeoutMs, clock });
  const { asked, target } = await answersBeside(t, {}, OURS, ACCEPTED, ...states);
  const heard: (number | undefined)[] = [];
  const request = { ...artifact, onProgress: (at: LoadProgress) => heard.push(at.bytesDone) };
  let ended = false;
  const load = following.loadArtifact(target, request, signal).finally(() => {
    ended = true;
  });
  load.catch(() => {});
  await eventually("the end", async () => {
    // One question after the other: it waits for its second or for its answer.
    await clock.advance(1000);
    return ended;
  });
  return { load, heard, asked };
}

test("a load that takes longer is followed to its end, and how far it is is told", async (t) => {
  const loaded = { status: 200, body: { state: "loaded", loaded_path: "/versions/sql/1" } };
  const busy = { status: 503, body: "busy" };
  const steps = [downloading(120), busy, downloading(400), loaded];
  const { load, heard, asked } = await follow(t, 900_000, ...steps);
  assert.equal(await load, "/versions/sql/1");
  assert.deepEqual(heard, [120, 400]);
  assert.equal(asked.at(-1), "GET /v1/lora_adapter/status?lora_name=sql");
});

test("a load that is followed fails in the sidecar's words, when the sidecar forgets it, and when it stands still", async (t) => {
  const refused = { error: "Access denied to s3://bucket", code: "AccessDenied", retriable: false };
  const failed = { status: 200, body: { state: "failed", ...refused } };
  await assert.rejects(
    (await follow(t, 900_000, failed)).load,
    error(({ code, retriable }) => code === "AccessDenied" && !retriable),
  );
  await assert.rejects(
    (await follow(t, 900_000, downloading(1), OURS)).load,
    error(({ message, retriable }) => /was restarted during the load/.test(message) && retriable),
  );
  await assert.rejects(
    (await follow(t, 5000, downloading(1))).load,
    error(({ message, retriable }) => /^timeout: no progress/.test(message) && retriable),
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
    const { target } = await ours(t, { status, body });
    await assert.rejects(
      runtime.loadArtifact(target, artifact, signal),
      error((one) => {
        assert.deepEqual([one.code, one.retriable], [code, retriable]);
        return words.test(one.message);
      }),
    );
  });
}
