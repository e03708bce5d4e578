import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { EngineError, refusal } from "./errors.ts";
import { vllmEngine } from "./vllm.ts";

const folder = join(import.meta.dirname, "..", "..", "fixtures", "vllm-recordings");
const recording = (name: string) => {
  const file = readdirSync(folder).find((entry) => entry.endsWith(`-${name}.json`));
  assert(file !== undefined, name);
  return JSON.parse(readFileSync(join(folder, file), "utf8")) as {
    status: number;
    body: string;
  };
};
const signal = new AbortController().signal;

interface Asked {
  readonly line: string;
  readonly body: string;
  readonly authorization: string | undefined;
}

/** A server that answers with recordings of a real vLLM, in turn; the last one again and again. */
async function replay(t: TestContext, ...names: string[]) {
  const asked: Asked[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    const { method, url, headers } = request;
    asked.push({
      line: `${method} ${url}`,
      body: await text(request),
      authorization: headers.authorization,
    });
    const answer = recording(names[Math.min(asked.length, names.length) - 1] ?? "");
    response.writeHead(answer.status).end(answer.body);
  });
  server.listen(0, "127.0.0.1");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    asked,
    target: { url: `http://127.0.0.1:${port}`, apiKey: undefined as string | undefined },
  };
}

const load = { name: "sql", path: "/models/tiny/adapters/sql", replace: false };

test("a load is sent as vLLM wants it, with the key, and its plain-text success is understood", async (t) => {
  const { asked, target } = await replay(t, "load-ok");
  await vllmEngine().load({ ...target, apiKey: "sk-1" }, load, signal);
  assert.deepEqual(asked, [
    {
      line: "POST /v1/load_lora_adapter",
      body: '{"lora_name":"sql","lora_path":"/models/tiny/adapters/sql"}',
      authorization: "Bearer sk-1",
    },
  ]);
});

test("the inventory has the adapters with their paths, and not the base model", async (t) => {
  const { target } = await replay(t, "models-after-load");
  const held = await vllmEngine().inventory(target, signal);
  assert.deepEqual(
    held.map(({ name }) => name),
    ["sql"],
  );
  assert.match(held[0]?.root ?? "", /adapters\/sql$/);
});

test("already loaded from the wanted path is a success", async (t) => {
  const { asked, target } = await replay(t, "load-duplicate", "models-after-load");
  const [held] = await vllmEngine().inventory(
    (await replay(t, "models-after-load")).target,
    signal,
  );
  await vllmEngine().load(target, { ...load, path: held?.root ?? "" }, signal);
  assert.equal(asked.length, 2);
});

test("already loaded from another path is replaced in place", async (t) => {
  const names = ["load-duplicate", "models-after-load", "load-duplicate-inplace"];
  const { asked, target } = await replay(t, ...names);
  await vllmEngine().load(target, { ...load, path: "/models/other" }, signal);
  assert.match(asked[2]?.body ?? "", /"load_inplace":true/);
});

test("unloading what the engine does not know is a success", async (t) => {
  const { target } = await replay(t, "unload-unknown");
  await vllmEngine().unload(target, "nope", signal);
});

const refusals: [string, EngineError["code"], RegExp][] = [
  ["load-bad-rank-64", "Rejected", /LoRA rank 64 is greater than max_lora_rank 16/],
  ["load-bad-wrong-shape", "Rejected", /size of tensor a \(128\)/],
  ["load-bad-unknown-module", "Rejected", /add_lora/],
  ["load-missing-path", "NotFound", /No adapter found/],
  ["load-bad-no-config", "NotFound", /No adapter found/],
  ["load-nokey", "Unauthorized", /Unauthorized: set additionalConfig.api-key/],
  ["load-not-allowed", "UpdatingDisabled", /set VLLM_ALLOW_RUNTIME_LORA_UPDATING=True/],
];
for (const [name, code, words] of refusals) {
  test(`recorded ${name} is final, in the engine's words with the cure`, async (t) => {
    const { target } = await replay(t, name);
    await assert.rejects(vllmEngine().load(target, load, signal), (error) => {
      assert(error instanceof EngineError);
      assert.deepEqual([error.code, error.retriable], [code, false]);
      assert.match(error.message, words);
      return true;
    });
  });
}

test("statuses that pass by themselves are retriable in the documented words", () => {
  const changing = { changing: true };
  assert.match(refusal(502, "", changing).message, /^bad gateway/);
  assert.match(refusal(503, "starting", changing).message, /^service unavailable: starting/);
  assert.match(refusal(504, "", changing).message, /timeout/);
  for (const status of [502, 503, 504, 500]) assert(refusal(status, "oops", changing).retriable);
});

test("error bodies of vLLM 0.32, vLLM 0.7, FastAPI and SGLang are read", () => {
  const said = (body: string) => refusal(400, body, { changing: true }).message;
  for (const [body, words] of [
    ['{"error":{"message":"nested","code":400}}', "nested"],
    ['{"object":"error","message":"flat","code":400}', "flat"],
    ['{"detail":"wrong"}', "wrong"],
    ['{"success":false,"error_message":"sglang"}', "sglang"],
    [" plain ", "plain"],
  ] as const) {
    assert.equal(said(body), `the engine answered 400: ${words}`);
  }
});
