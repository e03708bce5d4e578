import { statSync, watch } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Clock } from "#base/clock.ts";
import { logFilesOf, readLogTimes } from "./log-keeper.ts";
import { type LogTime, offsetSince, timeAt } from "./log-times.ts";

const CHUNK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
/** Watching may miss a change on some file systems; this often a followed log is looked at anyway. */
const LOOK_ANYWAY_MS = 500;

/** What of a log is wanted, as `kubectl logs` asks. */
export interface LogOptions {
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly tailLines?: number | undefined;
  /** Only lines from this time on, ms since the epoch. */
  readonly sinceMs?: number | undefined;
  readonly limitBytes?: number | undefined;
}

interface Position {
  /** Index into the log's files, the older one first. */
  readonly file: number;
  readonly offset: number;
}

interface OpenLog {
  readonly handle: FileHandle;
  readonly size: number;
  readonly modifiedMs: number;
  readonly times: LogTime[];
}

async function openLog(paths: { log: string; times: string }): Promise<OpenLog | undefined> {
  try {
    const handle = await open(paths.log, "r");
    const { size, mtimeMs } = await handle.stat();
    return { handle, size, modifiedMs: mtimeMs, times: readLogTimes(paths.times) };
  } catch {
    return undefined;
  }
}

/** Offset after the `lines`-th newline before `end`; undefined when there are fewer. */
async function offsetOfTail(log: OpenLog, lines: number, end: number) {
  let left = lines;
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let stop = end; stop > 0; stop -= CHUNK_BYTES) {
    const start = Math.max(0, stop - CHUNK_BYTES);
    const { bytesRead } = await log.handle.read(chunk, 0, stop - start, start);
    for (let at = bytesRead - 1; at >= 0; at--) {
      if (chunk[at] !== NEWLINE) continue;
      left--;
      if (left === 0) return { offset: start + at + 1, left };
    }
  }
  return { offset: undefined, left };
}

/** Where the last `lines` lines begin; the files count as one text. */
async function tailPosition(logs: readonly OpenLog[], lines: number): Promise<Position> {
  const last = logs.length - 1;
  if (lines <= 0) return { file: last, offset: logs[last]?.size ?? 0 };
  let left = lines;
  let isEndOfText = true;
  for (let file = last; file >= 0; file--) {
    const log = logs[file];
    if (log === undefined || log.size === 0) continue;
    // The newline at the very end closes the last line and begins none.
    const found = await offsetOfTail(log, left, isEndOfText ? log.size - 1 : log.size);
    if (found.offset !== undefined) return { file, offset: found.offset };
    left = found.left;
    isEndOfText = false;
  }
  return { file: 0, offset: 0 };
}

function sincePosition(logs: readonly OpenLog[], sinceMs: number): Position {
  for (const [file, log] of logs.entries()) {
    const offset = offsetSince(log.times, sinceMs, { size: log.size, lateMs: log.modifiedMs });
    if (offset < log.size) return { file, offset };
  }
  const last = logs.length - 1;
  return { file: last, offset: logs[last]?.size ?? 0 };
}

const later = (a: Position, b: Position) =>
  a.file > b.file || (a.file === b.file && a.offset > b.offset) ? a : b;

/** Resolves when the log differs from what was read up to `offset`, or `signal` is aborted. */
async function change(
  path: string,
  offset: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const watcher = watch(path, done);
    watcher.on("error", done);
    const cancel = clock.after(LOOK_ANYWAY_MS, done);
    signal.addEventListener("abort", done, { once: true });
    // What came between the last read and the beginning of the watch raises no event.
    if (statSync(path, { throwIfNoEntry: false })?.size !== offset) done();
    function done() {
      watcher.close();
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}

/** Reads on from a file's offset to its present end. */
async function* readFrom(log: OpenLog, from: number): AsyncGenerator<{ at: number; data: Buffer }> {
  let at = from;
  for (;;) {
    const { bytesRead, buffer } = await log.handle.read(
      Buffer.alloc(CHUNK_BYTES),
      0,
      CHUNK_BYTES,
      at,
    );
    if (bytesRead === 0) return;
    yield { at, data: buffer.subarray(0, bytesRead) };
    at += bytesRead;
  }
}

/** Puts the time before each line; keeps the beginning of a line whose end has not come yet. */
class LineStamper {
  #rest: Buffer = Buffer.alloc(0);
  #restMs = 0;

  stamp(data: Buffer, at: number, timeOf: (offset: number) => number): Buffer {
    const parts: Buffer[] = [];
    let bytes = data;
    let start = at;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
      parts.push(this.flush(timeOf(start)), bytes.subarray(0, end + 1));
      start += end + 1;
      bytes = bytes.subarray(end + 1);
    }
    if (this.#rest.length === 0) this.#restMs = timeOf(start);
    this.#rest = Buffer.concat([this.#rest, bytes]);
    return Buffer.concat(parts);
  }

  /** The time and what is kept of a line; `timeMs` is its time when nothing of it is kept. */
  flush(timeMs?: number): Buffer {
    const kept = this.#rest;
    this.#rest = Buffer.alloc(0);
    if (kept.length > 0) return Buffer.concat([stampOf(this.#restMs), kept]);
    return timeMs === undefined ? kept : stampOf(timeMs);
  }
}

const stampOf = (ms: number) => Buffer.from(`${new Date(ms).toISOString().slice(0, -1)}000000Z `);

/**
 * Reads a container's log from where the options say to its end; with `follow` on until the
 * container has ended and everything was read, or `signal` is aborted.
 */
export async function* readLog(
  folder: string,
  options: LogOptions,
  follow: { ended: Promise<unknown>; clock: Clock; signal: AbortSignal },
): AsyncGenerator<Buffer> {
  let left = options.limitBytes ?? Number.POSITIVE_INFINITY;
  for await (const data of readUnlimited(folder, options, follow)) {
    if (data.length >= left) {
      yield data.subarray(0, left);
      return;
    }
    left -= data.length;
    if (data.length > 0) yield data;
  }
}

async function* readUnlimited(
  folder: string,
  options: LogOptions,
  follow: { ended: Promise<unknown>; clock: Clock; signal: AbortSignal },
): AsyncGenerator<Buffer> {
  const files = logFilesOf(folder);
  const opened = await Promise.all(files.map(openLog));
  const logs = opened.filter((log) => log !== undefined);
  const stamper = new LineStamper();
  const pass = (log: OpenLog, at: number, data: Buffer) =>
    options.timestamps
      ? stamper.stamp(data, at, (offset) => timeAt(log.times, offset, follow.clock.now()))
      : data;
  try {
    let from: Position = { file: 0, offset: 0 };
    if (options.sinceMs !== undefined) from = later(from, sincePosition(logs, options.sinceMs));
    if (options.tailLines !== undefined) {
      from = later(from, await tailPosition(logs, options.tailLines));
    }
    let offset = 0;
    for (const [file, log] of logs.entries()) {
      if (file < from.file) continue;
      offset = file === from.file ? from.offset : 0;
      for await (const { at, data } of readFrom(log, offset)) {
        offset = at + data.length;
        yield pass(log, at, data);
      }
    }
    if (options.follow) yield* followFrom(folder, offset, pass, follow);
    yield stamper.flush();
  } finally {
    for (const log of logs) await log.handle.close();
  }
}

async function* followFrom(
  folder: string,
  from: number,
  pass: (log: OpenLog, at: number, data: Buffer) => Buffer,
  follow: { ended: Promise<unknown>; clock: Clock; signal: AbortSignal },
): AsyncGenerator<Buffer> {
  const [older, current] = logFilesOf(folder);
  let offset = from;
  const end = new AbortController();
  void follow.ended.then(() => end.abort());
  const wake = AbortSignal.any([follow.signal, end.signal]);
  while (!follow.signal.aborted) {
    // Looked at before the read: what a container wrote last is there when its end is known.
    await Promise.resolve();
    const isLast = end.signal.aborted;
    const log = await openLog(current);
    if (log === undefined) return;
    try {
      if (log.size < offset) {
        // The log was rotated: what we have not read yet lies at the end of the older file.
        const rotated = await openLog(older);
        if (rotated !== undefined) {
          for await (const { at, data } of readFrom(rotated, offset)) yield pass(rotated, at, data);
          await rotated.handle.close();
        }
        offset = 0;
      }
      for await (const { at, data } of readFrom(log, offset)) {
        offset = at + data.length;
        yield pass(log, at, data);
      }
    } finally {
      await log.handle.close();
    }
    if (isLast) return;
    await change(current.log, offset, follow.clock, wake);
  }
}
