import assert from "node:assert/strict";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { damaged, fuzzRuns } from "#test/support/fuzz.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { checkHeader, headerLength } from "./safetensors-header.ts";
import { validateAdapter } from "./validate.ts";

const tiny = join(import.meta.dirname, "../../fixtures/tiny");
const RULES = { allowPickle: false, maxRank: undefined };

test("the tiny adapters are valid", async () => {
  for (const name of ["sql", "shout", "pirate"]) {
    await validateAdapter(join(tiny, "adapters", name), { ...RULES, maxRank: 8 });
  }
});

test("bad adapters are refused with the file and what is wrong with it; an engine judges the rest", async () => {
  const refused: Record<string, RegExp> = {
    corrupt: /adapter_model\.safetensors is truncated/,
    garbage: /adapter_model\.safetensors is not a safetensors file/,
    "no-config": /no adapter_config\.json/,
    "no-weights": /no adapter_model\.safetensors/,
    "bad-json": /adapter_config\.json is not valid JSON/,
  };
  for (const [name, message] of Object.entries(refused)) {
    await assert.rejects(validateAdapter(join(tiny, "adapters-bad", name), RULES), {
      code: "InvalidArtifact",
      message,
      retriable: false,
      status: 422,
    });
  }
  for (const name of ["wrong-shape", "unknown-module", "rank-64"]) {
    await validateAdapter(join(tiny, "adapters-bad", name), RULES);
  }
  const limited = { ...RULES, maxRank: 16 };
  await assert.rejects(
    validateAdapter(join(tiny, "adapters-bad/rank-64"), limited),
    /LoRA rank 64 is greater than max_lora_rank 16.*--max-lora-rank 64/,
  );
});

async function sqlWith(t: TestContext, config: object): Promise<string> {
  const folder = await tempFolder(t);
  await cp(join(tiny, "adapters/sql"), folder, { recursive: true });
  const path = join(folder, "adapter_config.json");
  const whole = JSON.parse(await readFile(path, "utf8"));
  await rm(path);
  await writeFile(path, JSON.stringify({ ...whole, ...config }));
  return folder;
}

test("adapter_config.json: type, rank and modules", async (t) => {
  const wrong: [object, RegExp][] = [
    [{ peft_type: "IA3" }, /peft_type must be LORA, not "IA3"/],
    [{ peft_type: undefined }, /peft_type must be LORA, not missing/],
    [{ r: 0 }, /r must be a positive integer, not 0/],
    [{ r: 2.5 }, /r must be/],
    [{ r: "8" }, /r must be/],
    [{ target_modules: undefined }, /target_modules/],
    [{ target_modules: null }, /target_modules/],
    [{ target_modules: [] }, /target_modules/],
  ];
  for (const [config, message] of wrong) {
    await assert.rejects(validateAdapter(await sqlWith(t, config), RULES), message);
  }
  await validateAdapter(await sqlWith(t, { target_modules: "all-linear" }), RULES);
  await validateAdapter(await sqlWith(t, { base_model_name_or_path: "another/base" }), RULES);
});

test("weights as pickle are refused unless they are allowed", async (t) => {
  const folder = await sqlWith(t, {});
  await rm(join(folder, "adapter_model.safetensors"));
  await writeFile(join(folder, "adapter_model.bin"), "pickle");
  await assert.rejects(validateAdapter(folder, RULES), /pickle.*ARTIFACT_ALLOW_PICKLE=1/);
  await validateAdapter(folder, { ...RULES, allowPickle: true });
});

test("weights without LoRA tensors are not an adapter", async (t) => {
  const folder = await sqlWith(t, {});
  const header = JSON.stringify({
    "model.weight": { dtype: "F32", shape: [1], data_offsets: [0, 4] },
  });
  const length = Buffer.alloc(8);
  length.writeUInt32LE(header.length);
  const path = join(folder, "adapter_model.safetensors");
  await rm(path);
  await writeFile(path, Buffer.concat([length, Buffer.from(header), Buffer.alloc(4)]));
  await assert.rejects(validateAdapter(folder, RULES), /holds no LoRA tensors/);
});

test("headers: gaps, overlaps, strange sizes and types are unsound", () => {
  const tensor = (begin: number, end: number, more = {}) => ({
    dtype: "F32",
    shape: [(end - begin) / 4],
    data_offsets: [begin, end],
    ...more,
  });
  const check = (header: object, bytes: number) => checkHeader(JSON.stringify(header), bytes);
  assert.deepEqual(check({ __metadata__: {}, b: tensor(4, 8), a: tensor(0, 4) }, 8), ["a", "b"]);
  const unsound: [object, number][] = [
    [{ a: tensor(4, 8) }, 8],
    [{ a: tensor(0, 8), b: tensor(4, 8) }, 8],
    [{ a: tensor(0, 8) }, 4],
    [{ a: tensor(0, 8) }, 12],
    [{ a: tensor(0, 8, { shape: [3] }) }, 8],
    [{ a: tensor(0, 8, { shape: [-1] }) }, 8],
    [{ a: tensor(0, 8, { shape: [2 ** 40, 2 ** 40] }) }, 8],
    [{ a: tensor(0, 8, { dtype: "F33" }) }, 8],
    [{ a: tensor(0, 8, { dtype: "toString" }) }, 8],
    [{ a: tensor(0, 8, { data_offsets: [8, 0] }) }, 8],
    [{ a: tensor(0, 8, { data_offsets: [0] }) }, 8],
    [{ a: null }, 0],
    [[], 0],
  ];
  for (const [header, bytes] of unsound) assert.equal(typeof check(header, bytes), "string");
});

test("a header whose parsing would need all of the sidecar's memory is refused unread", () => {
  const first = Buffer.alloc(8);
  first.writeUInt32LE(90_000_000);
  assert.match(String(headerLength(first, 100_000_000)), /^has a header of 90000000 bytes/);
});

/** What the reference implementation accepts, written down a second time. */
function isSound(header: unknown, dataBytes: number): boolean {
  const bits: Record<string, number> = { F32: 32, U8: 8, F16: 16, BF16: 16, F4: 4 };
  if (typeof header !== "object" || header === null || Array.isArray(header)) return false;
  const spans = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([, tensor]) => {
      const { dtype, shape, data_offsets: offsets } = tensor ?? {};
      const size = (shape as number[]).reduce((product, n) => product * n, bits[dtype] ?? 0) / 8;
      return { begin: offsets[0] as number, end: offsets[1] as number, size };
    })
    .sort((x, y) => x.begin - y.begin || x.end - y.end);
  const ends = [0, ...spans.map(({ end }) => end)];
  return (
    spans.every(({ begin, end, size }, i) => begin === ends[i] && end - begin === size) &&
    ends.at(-1) === dataBytes
  );
}

test("no header makes the reader throw, and what it accepts is sound", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 16 }), fc.nat(), (first, size) => {
      const length = headerLength(first, size);
      return typeof length === "string" || length + 8 <= size;
    }),
    fuzzRuns(300),
  );
  const value = fc.oneof(fc.jsonValue(), fc.array(fc.integer()), fc.string());
  const tensor = fc.record(
    { dtype: fc.oneof(fc.constant("F32"), value), shape: value, data_offsets: value },
    { requiredKeys: [] },
  );
  const wild = fc.oneof(fc.dictionary(fc.string(), fc.oneof(tensor, value)), value);
  const begin = { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] };
  const sound = {
    __metadata__: { format: "pt" },
    "a.lora_A": begin,
    "a.lora_B": { ...begin, data_offsets: [16, 32] },
  };
  const json = fc.oneof(
    wild.map((header) => JSON.stringify(header)),
    damaged([Buffer.from(JSON.stringify(sound))]).map((bytes) => bytes.toString("utf8")),
    fc
      .tuple(fc.array(fc.nat(5), { maxLength: 4 }), fc.nat(40), fc.nat(40))
      .map(([shape, from, to]) =>
        JSON.stringify({ ...sound, "a.lora_A": { dtype: "U8", shape, data_offsets: [from, to] } }),
      ),
  );
  fc.assert(
    fc.property(json, fc.oneof(fc.constant(32), fc.nat(64)), (text, bytes) => {
      const result = checkHeader(text, bytes);
      if (typeof result === "string") return true;
      return isSound(JSON.parse(text), bytes);
    }),
    fuzzRuns(1000),
  );
});
