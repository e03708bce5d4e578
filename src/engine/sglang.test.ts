import assert from "node:assert/strict";
import { test } from "node:test";
import { answers, modelList } from "#test/support/answers.ts";
import { EngineError } from "./errors.ts";
import { sglangEngine } from "./sglang.ts";

const signal = new AbortController().signal;
const engine = sglangEngine();
const ok = { status: 200, body: { success: true, error_message: "", loaded_adapters: {} } };
const refused = (message: string) => ({
  status: 400,
  body: { success: false, error_message: message, loaded_adapters: {} },
});
const load = { name: "sql", path: "/adapters/sql", replace: false };

test("SGLang is asked on its own routes", async (t) => {
  const { asked, target } = await answers(t, ok, ok, modelList({ sql: "/adapters/sql" }));
  await engine.load(target, load, signal);
  await engine.unload(target, "sql", signal);
  assert.deepEqual(await engine.inventory(target, signal), [
    { name: "sql", root: "/adapters/sql" },
  ]);
  assert.deepEqual(asked, [
    'POST /load_lora_adapter {"lora_name":"sql","lora_path":"/adapters/sql"}',
    'POST /unload_lora_adapter {"lora_name":"sql"}',
    "GET /v1/models",
  ]);
});

test("SGLang: another version is unloaded first, what is there from the wanted path is a success", async (t) => {
  const old = modelList({ sql: "/adapters/old" });
  const taken = refused("LoRA adapter sql is already loaded");
  const { asked, target } = await answers(t, taken, old, ok, ok);
  await engine.load(target, load, signal);
  assert.deepEqual(
    asked.map((line) => line.split(" ")[1]),
    ["/load_lora_adapter", "/v1/models", "/unload_lora_adapter", "/load_lora_adapter"],
  );
  const same = await answers(t, taken, modelList({ sql: "/adapters/sql" }));
  await engine.load(same.target, load, signal);
  assert.equal(same.asked.length, 2);
});

test("SGLang: a version that is refused leaves the earlier one there", async (t) => {
  const old = modelList({ sql: "/adapters/old" });
  const { asked, target } = await answers(t, old, ok, refused("rank 64"), ok);
  await assert.rejects(engine.load(target, { ...load, replace: true }, signal), /rank 64/);
  assert.deepEqual(asked, [
    "GET /v1/models",
    'POST /unload_lora_adapter {"lora_name":"sql"}',
    'POST /load_lora_adapter {"lora_name":"sql","lora_path":"/adapters/sql"}',
    'POST /load_lora_adapter {"lora_name":"sql","lora_path":"/adapters/old"}',
  ]);
});

test("SGLang: a refusal is final in its own words; unloading what it does not hold is a success", async (t) => {
  const { target } = await answers(t, refused("rank 64 exceeds max_lora_rank 16"), modelList({}));
  await assert.rejects(engine.load(target, load, signal), (error) => {
    return error instanceof EngineError && !error.retriable && /rank 64/.test(error.message);
  });
  const gone = await answers(t, refused("LoRA adapter sql does not exist"), modelList({}));
  await engine.unload(gone.target, "sql", signal);
  const stuck = await answers(t, refused("busy"), modelList({ sql: "/adapters/sql" }));
  await assert.rejects(engine.unload(stuck.target, "sql", signal), /busy/);
});
