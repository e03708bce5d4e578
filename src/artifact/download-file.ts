import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { exponentialMs } from "#base/backoff.ts";
import type { Clock } from "#base/clock.ts";
import { ArtifactError } from "./errors.ts";
import { transportError } from "./http-client.ts";
import type { ArtifactSource, RemoteFile } from "./source.ts";

/** Tries without a byte of progress between them, before a source is given up. */
const TRIES_MAX = 5;
const RETRY_BASE_MS = 250;
const RETRY_MAX_MS = 5_000;

export interface DownloadOptions {
  readonly source: ArtifactSource;
  readonly file: RemoteFile;
  /** Where the bytes go; what is there already is continued when the source allows it. */
  readonly path: string;
  readonly bytesMax: number;
  readonly clock: Clock;
  /** Told how many bytes of the file are here now; falls back when it begins anew. */
  readonly onPosition: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Fetches one file completely: retried with back-off, continued where it broke off, checked against the
 * size and the hash that the source tells.
 * @returns the content's SHA-256, in hex.
 * @throws ArtifactError; SourceChangedError; what the disk says.
 */
export async function downloadFile(options: DownloadOptions): Promise<string> {
  const { clock, signal } = options;
  let failures = 0;
  let mismatches = 0;
  for (;;) {
    const before = await sizeOf(options.path);
    try {
      return await attempt(options);
    } catch (error) {
      // Bytes that were damaged on the way come right the second time; damaged ones at the source do not.
      const isMismatch = error instanceof ChecksumMismatch && ++mismatches === 1;
      if (!isMismatch && !isWorthRetrying(error)) throw error;
      failures = (await sizeOf(options.path)) > before ? 1 : failures + 1;
      if (failures >= TRIES_MAX) throw error;
      await clock.sleep(exponentialMs(failures - 1, RETRY_BASE_MS, RETRY_MAX_MS), signal);
    }
  }
}

/** Runs `call` as often as a download would be tried. */
export async function withRetries<T>(
  call: () => Promise<T>,
  options: { tries?: number; clock: Clock; signal: AbortSignal },
): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await call();
    } catch (error) {
      if (!isWorthRetrying(error) || failures >= (options.tries ?? TRIES_MAX)) throw error;
      const waitMs = exponentialMs(failures - 1, RETRY_BASE_MS, RETRY_MAX_MS);
      await options.clock.sleep(waitMs, options.signal);
    }
  }
}

const isWorthRetrying = (error: unknown) =>
  error instanceof ArtifactError && error.code === "Unreachable";

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}

async function attempt(options: DownloadOptions): Promise<string> {
  const { source, file, path, signal } = options;
  const present = file.validator === undefined ? 0 : await sizeOf(path);
  const isWhole = present > 0 && present === file.sizeBytes;
  const expected = { sizeBytes: file.sizeBytes, sha256: file.sha256 };
  const hash = createHash("sha256");
  let size = present;
  if (isWhole) {
    await hashPart(path, hash, present);
  } else {
    const from = file.sizeBytes !== undefined && present > file.sizeBytes ? 0 : present;
    const bytes = await source.read(file, from, signal);
    expected.sizeBytes ??= bytes.sizeBytes;
    expected.sha256 ??= bytes.sha256;
    if (bytes.startsAt > 0) await hashPart(path, hash, bytes.startsAt);
    options.onPosition(bytes.startsAt);
    size = await writeFrom(options, bytes.startsAt, bytes.stream, hash);
  }
  const sha256 = hash.digest("hex");
  await checkContent(options, { size, sha256 }, expected);
  return sha256;
}

async function hashPart(path: string, hash: Hash, bytes: number): Promise<void> {
  for await (const chunk of createReadStream(path, { end: bytes - 1 })) hash.update(chunk);
}

/** Appends the stream at `startsAt`; returns the file's size then. */
async function writeFrom(
  options: DownloadOptions,
  startsAt: number,
  stream: AsyncIterable<Uint8Array>,
  hash: Hash,
): Promise<number> {
  const { file, path, signal } = options;
  const bytesMax = file.sizeBytes ?? options.bytesMax;
  const handle = await open(path, startsAt === 0 ? "w" : "r+");
  let position = startsAt;
  try {
    await readAll(stream, file, signal, async (chunk) => {
      if (position + chunk.length > bytesMax) throw tooLarge(file, bytesMax);
      await writeFully(handle, chunk, position);
      hash.update(chunk);
      position += chunk.length;
      options.onPosition(position);
    });
    await handle.datasync();
    return position;
  } finally {
    await handle.close();
  }
}

/** Tells a broken stream from what the disk says about the bytes that came out of it. */
async function readAll(
  stream: AsyncIterable<Uint8Array>,
  file: RemoteFile,
  signal: AbortSignal,
  take: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  let diskError: unknown;
  try {
    for await (const chunk of stream) {
      if (signal.aborted) throw signal.reason;
      try {
        await take(chunk);
      } catch (error) {
        diskError = error;
        throw error;
      }
    }
  } catch (error) {
    if (error === diskError) throw error;
    throw transportError(error, file.path, signal);
  }
}

async function writeFully(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < chunk.length) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}

function tooLarge(file: RemoteFile, bytesMax: number): ArtifactError {
  return file.sizeBytes === undefined
    ? new ArtifactError("InvalidArtifact", `${file.path} is larger than ${bytesMax} bytes`)
    : new ArtifactError(
        "Unreachable",
        `${file.path}: the server sends more than the ${bytesMax} bytes that it announced`,
      );
}

/** A file that is not what the source promised goes, so that the next try begins anew. */
async function checkContent(
  { path, file }: DownloadOptions,
  actual: { size: number; sha256: string },
  expected: { sizeBytes: number | undefined; sha256: string | undefined },
): Promise<void> {
  if (expected.sizeBytes !== undefined && actual.size < expected.sizeBytes) {
    throw new ArtifactError(
      "Unreachable",
      `${file.path}: connection closed after ${actual.size} of ${expected.sizeBytes} bytes`,
    );
  }
  if (expected.sha256 === undefined || expected.sha256 === actual.sha256) return;
  const handle = await open(path, "w");
  await handle.close();
  throw new ChecksumMismatch(
    "InvalidArtifact",
    `${file.path}: the content does not match its checksum (sha256 ${expected.sha256}); publish it again`,
  );
}

class ChecksumMismatch extends ArtifactError {}
