import {
  appendFileSync,
  closeSync,
  copyFileSync,
  type FSWatcher,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  watch,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { logPathOf } from "./container-process.ts";
import { formatLogTime, type LogTime, parseLogTimes } from "./log-times.ts";

/** A log file grows to this size, then the older half of at most two such files is dropped. */
export const LOG_SIZE_MAX_BYTES = 10 * 1024 * 1024;
/** Growth within this time shares one entry, so that the notes stay small beside the log. */
const TIME_RESOLUTION_MS = 5;
/** Watching may miss a change on some file systems; this often the file is looked at anyway. */
const LOOK_ANYWAY_MS = 1_000;
const COPY_CHUNK_BYTES = 64 * 1024;

/** The files of one log: the current one, the one before it, and the times of each. */
export const logFilesOf = (folder: string) => {
  const current = logPathOf(folder);
  return [
    { log: join(folder, "log.1"), times: join(folder, "log.1.times") },
    { log: current, times: join(folder, "log.times") },
  ] as const;
};

const sizeOf = (path: string): number => {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
};

/** The entries beside a log file; none when there is no such file. */
export function readLogTimes(path: string): LogTime[] {
  try {
    return parseLogTimes(readFileSync(path, "utf8"));
  } catch {
    return [];
  }
}

/**
 * Notes when a container's log grows and keeps it within its size, while the container writes it.
 * Returns what ends the keeping; it takes a last look then.
 */
export function keepLog(
  folder: string,
  clock: Clock,
  sizeMaxBytes: number = LOG_SIZE_MAX_BYTES,
): () => void {
  const [, { log, times }] = logFilesOf(folder);
  let noted: LogTime = readLogTimes(times).at(-1) ?? { endOffset: 0, atMs: 0 };
  let cancelLook = () => {};
  let isClosed = false;

  const look = () => {
    const size = sizeOf(log);
    const atMs = clock.now();
    if (size > noted.endOffset) {
      noted = { endOffset: size, atMs };
      appendFileSync(times, formatLogTime(noted), { mode: 0o600 });
    }
    if (size > sizeMaxBytes) {
      rotate(folder);
      noted = { endOffset: 0, atMs };
    }
  };
  const lookSoon = (ms: number) => {
    cancelLook();
    cancelLook = clock.after(ms, () => {
      look();
      if (!isClosed) lookSoon(LOOK_ANYWAY_MS);
    });
  };

  look();
  lookSoon(LOOK_ANYWAY_MS);
  const watcher: FSWatcher = watch(log, () => {
    if (!isClosed) lookSoon(clock.now() - noted.atMs < TIME_RESOLUTION_MS ? TIME_RESOLUTION_MS : 0);
  });
  watcher.on("error", () => watcher.close());
  return () => {
    if (isClosed) return;
    isClosed = true;
    cancelLook();
    watcher.close();
    look();
  };
}

/**
 * Moves the log's content aside and empties the file in place: the container has it open for
 * appending, so its next line lands at the beginning. Bytes written during the copy are copied
 * until there are none left; only what comes between the last look and the truncation is lost.
 */
function rotate(folder: string): void {
  const [older, current] = logFilesOf(folder);
  copyFileSync(current.log, older.log);
  const from = openSync(current.log, "r");
  const to = openSync(older.log, "r+");
  try {
    const chunk = Buffer.alloc(COPY_CHUNK_BYTES);
    let offset = sizeOf(older.log);
    for (;;) {
      const length = readSync(from, chunk, 0, chunk.length, offset);
      if (length === 0) break;
      writeSync(to, chunk, 0, length, offset);
      offset += length;
    }
    truncateSync(current.log, 0);
  } finally {
    closeSync(from);
    closeSync(to);
  }
  renameSync(current.times, older.times);
  writeFileSync(current.times, "", { mode: 0o600 });
}
