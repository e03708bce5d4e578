import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TINY } from "#test/support/engine-for-tests.ts";
import { parseSafetensors, SafetensorsError } from "./safetensors.ts";

/** A file with this header, as JSON or as it is, and these data bytes. */
function fileOf(header: unknown, data: Uint8Array = new Uint8Array(0)): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

const refused = (file: Uint8Array, reason: RegExp | string) =>
  assert.throws(
    () => parseSafetensors(file),
    (error) =>
      error instanceof SafetensorsError &&
      (typeof reason === "string"
        ? error.message === `Error while deserializing header: ${reason}`
        : reason.test(error.message)),
  );

describe("safetensors", () => {
  test("reads every floating type", () => {
    const data = Buffer.alloc(40);
    [1.5, -2].forEach((value, i) => {
      data.writeFloatLE(value, 4 * i);
      data.writeDoubleLE(value, 8 + 8 * i);
    });
    // 1.5 and -2 as binary16 and as bfloat16; then the smallest binary16 and its infinity.
    data.set([0x00, 0x3e, 0x00, 0xc0, 0xc0, 0x3f, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x7c], 24);
    const entry = (dtype: string, begin: number, end: number) => ({
      dtype,
      shape: [2],
      data_offsets: [begin, end],
    });
    const file = fileOf(
      {
        __metadata__: { format: "pt" },
        a: entry("F32", 0, 8),
        b: entry("F64", 8, 24),
        c: entry("F16", 24, 28),
        d: entry("BF16", 28, 32),
        e: entry("F16", 32, 36),
        f: { dtype: "F32", shape: [], data_offsets: [36, 40] },
      },
      data,
    );
    const tensors = parseSafetensors(file);
    for (const name of ["a", "b", "c", "d"]) {
      assert.deepEqual([...(tensors.get(name)?.data ?? [])], [1.5, -2], name);
    }
    assert.deepEqual([...(tensors.get("e")?.data ?? [])], [2 ** -24, Number.POSITIVE_INFINITY]);
    assert.deepEqual(tensors.get("f"), { shape: [], data: new Float32Array([0]) });
  });

  test("refuses what is not sound, in the words of the reference implementation", () => {
    const one = (info: object, bytes = 8) => fileOf({ a: info }, new Uint8Array(bytes));
    const sound = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
    refused(new Uint8Array(7), "header too small");
    refused(new Uint8Array(8).fill(255), "header too large");
    refused(fileOf({}).subarray(0, 9), "invalid header length");
    refused(fileOf("[]"), "invalid header start, must be `{`");
    refused(fileOf("{nope"), /invalid JSON in header/);
    refused(
      Buffer.concat([fileOf("x").subarray(0, 8), Buffer.from([0xff])]),
      "invalid UTF-8 in header",
    );
    refused(one(sound, 9), "incomplete metadata, file not fully covered");
    refused(one({ ...sound, shape: [3] }), "invalid shape, data type, or offset for tensor");
    refused(one({ ...sound, data_offsets: [8, 0] }), "invalid offset for tensor `a`");
    refused(one({ ...sound, data_offsets: [1, 9] }, 9), "invalid offset for tensor `a`");
    refused(one({ ...sound, dtype: "F31" }), /unknown dtype/);
    refused(one({ ...sound, shape: [-1, -2] }), /shape/);
    refused(one({ ...sound, shape: [2 ** 40, 2 ** 40] }), /overflow/);
    refused(one({ ...sound, dtype: "I32" }), /not a floating one/);
    refused(fileOf({ __metadata__: { a: 1 } }), /__metadata__/);
  });

  test("any damage to a real file is either harmless or a SafetensorsError", () => {
    const file = readFileSync(join(TINY, "adapters/sql/adapter_model.safetensors"));
    const headerEnd = 8 + Number(file.readBigUInt64LE(0));
    const names = [...parseSafetensors(file).keys()];
    fc.assert(
      fc.property(
        fc.nat(headerEnd - 1),
        fc.integer({ min: 0, max: 255 }),
        fc.option(fc.nat(file.length)),
        (at, byte, cut) => {
          const damaged = Buffer.from(file.subarray(0, cut ?? file.length));
          if (at < damaged.length) damaged[at] = byte;
          try {
            assert.equal(parseSafetensors(damaged).size <= names.length, true);
          } catch (error) {
            assert.ok(error instanceof SafetensorsError, String(error));
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test("any header is either read or refused, never a crash", () => {
    const value = fc.oneof(
      fc.jsonValue(),
      fc.record({
        dtype: fc.constantFrom("F32", "F16", "BF16", "I64", "toString"),
        shape: fc.array(fc.integer({ min: -1, max: 4 }), { maxLength: 3 }),
        data_offsets: fc.tuple(fc.nat(64), fc.nat(64)),
      }),
    );
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), value),
        fc.uint8Array({ maxLength: 64 }),
        (header, data) => {
          try {
            parseSafetensors(fileOf(header, data));
          } catch (error) {
            assert.ok(error instanceof SafetensorsError, String(error));
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
