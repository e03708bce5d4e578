import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { openInRanges, RANGE_BYTES, RANGES_MAX, RangeBuffers } from "./read-ahead.ts";
import type { ArtifactSource, ByteRange, RemoteFile } from "./source.ts";

const never = new AbortController().signal;
const SIZE = 12 * RANGE_BYTES + 1234;
const file: RemoteFile = { path: "x", sizeBytes: SIZE, digest: undefined, validator: '"1"' };
const content = randomBytes(SIZE);

/** A store whose answers a test can shorten or hold back. */
function storeOf(
  answer: (range: ByteRange) => { bytes?: number; error?: Error; isWhole?: boolean },
) {
  let open = 0;
  let openMax = 0;
  const source: ArtifactSource = {
    location: "s3://b/x",
    pinned: undefined,
    list: () => assert.fail("listed"),
    read: async (_, range) => {
      const { bytes, error, isWhole } = answer(range);
      if (error !== undefined) throw error;
      const from = isWhole === true ? 0 : range.from;
      const to = isWhole === true ? SIZE : (range.to ?? SIZE);
      openMax = Math.max(openMax, ++open);
      async function* stream() {
        const end = Math.min(to, from + (bytes ?? to - from));
        for (let at = from; at < end; at += 1 << 20) {
          await new Promise(setImmediate);
          yield content.subarray(at, Math.min(at + (1 << 20), end));
        }
        open--;
      }
      const endsAt = isWhole === true ? undefined : range.to;
      return { startsAt: from, endsAt, sizeBytes: SIZE, digest: undefined, stream: stream() };
    },
  };
  return { source, openMax: () => openMax };
}

async function drain(source: ArtifactSource, ranges: RangeBuffers, from = 0): Promise<number> {
  const bytes = await openInRanges({ source, file, ranges }, from, never);
  let position = bytes.startsAt;
  for await (const chunk of bytes.stream) {
    const end = position + chunk.length;
    assert.equal(content.compare(chunk, 0, chunk.length, position, end), 0);
    position = end;
  }
  return position;
}

test("ranges come side by side and out in order, also two files over one memory", async () => {
  const { source, openMax } = storeOf(() => ({}));
  const ranges = new RangeBuffers();
  const ends = await Promise.all([drain(source, ranges), drain(source, ranges, 77)]);
  assert.deepEqual(ends, [SIZE, SIZE]);
  assert.ok(openMax() > 2 && openMax() <= RANGES_MAX + 2, String(openMax()));
});

test("a range that is short or fails ends it there, and leaves the memory to the next", async () => {
  const ranges = new RangeBuffers();
  const third = 3 * RANGE_BYTES;
  for (const fault of [{ bytes: 5 }, { error: new Error("reset") }, { isWhole: true }]) {
    const { source } = storeOf(({ from }) => (from === third ? fault : {}));
    // More often than there are places: one that is not given back would be missed.
    for (let round = 0; round < 3; round++) {
      let end = 0;
      await assert.rejects(async () => {
        const { stream } = await openInRanges({ source, file, ranges }, 0, never);
        for await (const chunk of stream) end += chunk.length;
      });
      assert.equal(end, third);
    }
  }
  const { source } = storeOf(() => ({}));
  assert.equal(await drain(source, ranges), SIZE);
});

test("a store that sends everything is read as it comes", async () => {
  const { source, openMax } = storeOf(() => ({ isWhole: true }));
  assert.equal(await drain(source, new RangeBuffers(), 1000), SIZE);
  assert.equal(openMax(), 1);
});
