import fc from "fast-check";

/** How many cases a property is tried with: a few in each run of the tests, FUZZ_RUNS of them on request. */
export function fuzzRuns(few: number): { numRuns: number } {
  return { numRuns: Number(process.env["FUZZ_RUNS"] ?? few) };
}

/** One thing that went wrong with some bytes. */
const damage = fc.record({
  kind: fc.constantFrom("flip", "set", "cut", "drop", "repeat", "zeros"),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.nat(600),
  value: fc.nat(255),
});

/** Bytes out of `originals`, damaged a few times. */
export function damaged(originals: readonly Uint8Array[]): fc.Arbitrary<Buffer> {
  return fc
    .tuple(fc.constantFrom(...originals), fc.array(damage, { maxLength: 4 }))
    .map(([original, damages]) => {
      let bytes: Buffer = Buffer.from(original);
      for (const { kind, at, length, value } of damages) {
        const from = Math.floor(at * bytes.length);
        const part = bytes.subarray(from, from + length);
        const [before, after] = [bytes.subarray(0, from), bytes.subarray(from + length)];
        if (kind === "flip" && from < bytes.length)
          bytes.writeUInt8(bytes.readUInt8(from) ^ (1 << (value & 7)), from);
        else if (kind === "set" && from < bytes.length) bytes.writeUInt8(value, from);
        else if (kind === "cut") bytes = Buffer.from(before);
        else if (kind === "drop") bytes = Buffer.concat([before, after]);
        else if (kind === "repeat") bytes = Buffer.concat([before, part, part, after]);
        else if (kind === "zeros") bytes = Buffer.concat([before, Buffer.alloc(length), after]);
      }
      return bytes;
    });
}
