import assert from "node:assert/strict";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import fc from "fast-check";
import type { Clock } from "#base/clock.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { keepLog, logFilesOf } from "./log-keeper.ts";
import { type LogOptions, readLog } from "./log-reader.ts";
import { offsetSince, timeAt } from "./log-times.ts";

const START = Date.parse("2026-01-02T03:04:05.000Z");

describe("container logs", () => {
  const root = mkdtempSync(join(tmpdir(), "loradock-log-"));
  let folders = 0;
  after(() => rmSync(root, { recursive: true, force: true }));

  /** A log whose chunks came one second apart, noted by a keeper whose clock we turn. */
  function log(chunks: readonly string[], sizeMaxBytes?: number) {
    const folder = join(root, String(folders++));
    mkdirSync(folder);
    const [older, current] = logFilesOf(folder);
    writeFileSync(current.log, "");
    let nowMs = START;
    const still: Clock = { ...systemClock, now: () => nowMs, after: () => () => {} };
    for (const chunk of chunks) {
      const close = keepLog(folder, still, sizeMaxBytes);
      appendFileSync(current.log, chunk);
      close();
      nowMs += 1000;
    }
    return { folder, older, current };
  }

  async function read(folder: string, options: Partial<LogOptions> = {}): Promise<string> {
    const signal = new AbortController().signal;
    const follow = { ended: Promise.resolve(), clock: systemClock, signal };
    let text = "";
    const all: LogOptions = { follow: false, timestamps: false, ...options };
    for await (const data of readLog(folder, all, follow)) text += data.toString("utf8");
    return text;
  }

  it("gives tails, sizes and times as kubectl asks for them", async () => {
    const { folder } = log(["one\ntwo\n", "three\n", "four\nrest"]);
    assert.equal(await read(folder), "one\ntwo\nthree\nfour\nrest");
    assert.equal(await read(folder, { tailLines: 2 }), "four\nrest");
    assert.equal(await read(folder, { tailLines: 0 }), "");
    assert.equal(await read(folder, { tailLines: 99 }), "one\ntwo\nthree\nfour\nrest");
    assert.equal(await read(folder, { limitBytes: 5 }), "one\nt");
    assert.equal(await read(folder, { sinceMs: START + 500 }), "three\nfour\nrest");
    assert.equal(await read(folder, { sinceMs: START + 60_000 }), "");
    assert.equal(
      await read(folder, { timestamps: true, tailLines: 3 }),
      "2026-01-02T03:04:06.000000000Z three\n2026-01-02T03:04:07.000000000Z four\n2026-01-02T03:04:07.000000000Z rest",
    );
  });

  it("keeps at most two files and reads across both", async () => {
    const lines = Array.from({ length: 60 }, (_, index) => `line ${index}\n`);
    const { folder, older, current } = log(lines, 200);
    const kept = readFileSync(older.log, "utf8") + readFileSync(current.log, "utf8");
    assert.ok(lines.join("").endsWith(kept), "the newest lines, none lost, none twice");
    assert.ok(kept.length <= 2 * 210);
    assert.equal(await read(folder), kept);
    assert.equal(await read(folder, { tailLines: 15 }), lines.slice(-15).join(""));
    assert.equal(await read(folder, { sinceMs: START + 30_000 }), lines.slice(30).join(""));
  });

  it("follows until the container has ended, through a rotation", async () => {
    const { folder, current } = log(["begin\n"]);
    const close = keepLog(folder, systemClock, 60);
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const follow = { ended, clock: systemClock, signal: new AbortController().signal };
    let text = "";
    let written = 0;
    for await (const data of readLog(folder, { follow: true, timestamps: false }, follow)) {
      text += data.toString("utf8");
      // Each line is written only after the one before has come through.
      if (written < 12 && text.endsWith("\n")) appendFileSync(current.log, `more ${written++}\n`);
      else if (written === 12) end();
    }
    close();
    const expected = Array.from({ length: 12 }, (_, index) => `more ${index}\n`).join("");
    assert.equal(text, `begin\n${expected}`);
  });

  it("stops following when the reader leaves", async () => {
    const { folder } = log(["begin\n"]);
    const leave = new AbortController();
    const follow = { ended: new Promise(() => {}), clock: systemClock, signal: leave.signal };
    const seen: string[] = [];
    for await (const data of readLog(folder, { follow: true, timestamps: false }, follow)) {
      seen.push(data.toString("utf8"));
      leave.abort();
    }
    assert.deepEqual(seen, ["begin\n"]);
  });

  it("finds for each byte the time of its chunk", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (sizes) => {
        let endOffset = 0;
        const times = sizes.map((size, index) => {
          endOffset += size;
          return { endOffset, atMs: index };
        });
        let start = 0;
        for (const [index, size] of sizes.entries()) {
          assert.equal(timeAt(times, start, -1), index);
          assert.equal(timeAt(times, start + size - 1, -1), index);
          assert.equal(offsetSince(times, index, { size: endOffset, lateMs: 0 }), start);
          start += size;
        }
        assert.equal(timeAt(times, endOffset, -1), -1);
      }),
    );
  });
});
