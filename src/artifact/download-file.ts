import { createReadStream } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { exponentialMs } from "#base/backoff.ts";
import type { Clock } from "#base/clock.ts";
import { createHasher, type Digest, type DigestAlgorithm, type Hasher } from "./digest.ts";
import { ArtifactError } from "./errors.ts";
import { transportError } from "./http-client.ts";
import { openInRanges, type RangeBuffers } from "./read-ahead.ts";
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
  /** Places for ranges that are fetched side by side, shared by all files. */
  readonly ranges: RangeBuffers;
  /** The content's SHA-256 is wanted, whatever the source tells. */
  readonly wantsSha256: boolean;
  readonly clock: Clock;
  /** Told how many bytes of the file are here now; falls back when it begins anew. */
  readonly onPosition: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Fetches one file completely: retried with back-off, continued where it broke off, checked against the
 * size and the hash that the source tells.
 * @returns the content's SHA-256, in hex, when it is wanted.
 * @throws ArtifactError; SourceChangedError; what the disk says.
 */
export async function downloadFile(options: DownloadOptions): Promise<string | undefined> {
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

/**
 * Reads the first byte of a file that is here already, to learn whether the source would let us.
 * @throws ArtifactError; SourceChangedError.
 */
export async function checkReadable(
  source: ArtifactSource,
  file: RemoteFile,
  signal: AbortSignal,
): Promise<void> {
  // An empty one has no first byte.
  if (file.sizeBytes === 0) return;
  const { stream } = await source.read(file, { from: 0, to: 1 }, signal);
  // Leaving it lets it go.
  for await (const _ of stream) break;
}

const isWorthRetrying = (error: unknown) =>
  error instanceof ArtifactError && error.code === "Unreachable";

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/** A file that others have too is never written to: this one begins anew, under its own name. */
async function standAlone(path: string): Promise<void> {
  const { nlink = 1 } = (await stat(path).catch(() => undefined)) ?? {};
  if (nlink > 1) await rm(path);
}

async function attempt(options: DownloadOptions): Promise<string | undefined> {
  const { source, file, path, signal } = options;
  await standAlone(path);
  const present = file.validator === undefined ? 0 : await sizeOf(path);
  if (present > 0 && present === file.sizeBytes) {
    const hashes = new Hashes(options, file.digest);
    await hashes.takeFile(path, present);
    return checkContent(options, { size: present, hashes }, file);
  }
  const from = file.sizeBytes !== undefined && present > file.sizeBytes ? 0 : present;
  const bytes = await openInRanges({ source, file, ranges: options.ranges }, from, signal);
  const expected = {
    sizeBytes: file.sizeBytes ?? bytes.sizeBytes,
    digest: file.digest ?? bytes.digest,
  };
  const hashes = new Hashes(options, expected.digest);
  if (bytes.startsAt > 0) await hashes.takeFile(path, bytes.startsAt);
  options.onPosition(bytes.startsAt);
  const size = await writeFrom(options, bytes.startsAt, bytes.stream, hashes);
  return checkContent(options, { size, hashes }, expected);
}

/** The hashes of one file that somebody asks for, and no others: they cost more than the download. */
class Hashes {
  readonly #hashers = new Map<DigestAlgorithm, Hasher>();

  constructor({ wantsSha256 }: DownloadOptions, expected: Digest | undefined) {
    if (wantsSha256) this.#hashers.set("sha256", createHasher("sha256"));
    const algorithm = expected?.algorithm;
    if (algorithm !== undefined) this.#hashers.set(algorithm, createHasher(algorithm));
  }

  take(bytes: Uint8Array): void {
    for (const hasher of this.#hashers.values()) hasher.update(bytes);
  }

  async takeFile(path: string, bytes: number): Promise<void> {
    if (this.#hashers.size === 0) return;
    for await (const chunk of createReadStream(path, { end: bytes - 1 })) this.take(chunk);
  }

  /** Call once, at the end. */
  results(): Partial<Record<DigestAlgorithm, string>> {
    return Object.fromEntries(
      [...this.#hashers].map(([algorithm, hasher]) => [algorithm, hasher.hex()]),
    );
  }
}

/** Appends the stream at `startsAt`; returns the file's size then. */
async function writeFrom(
  options: DownloadOptions,
  startsAt: number,
  stream: AsyncIterable<Uint8Array>,
  hashes: Hashes,
): Promise<number> {
  const { file, path, signal } = options;
  const bytesMax = file.sizeBytes ?? options.bytesMax;
  const handle = await open(path, startsAt === 0 ? "w" : "r+");
  let position = startsAt;
  try {
    await readAll(stream, file, signal, async (chunk) => {
      if (position + chunk.length > bytesMax) throw tooLarge(file, bytesMax);
      // The disk has its own threads: both at once.
      const written = writeFully(handle, chunk, position);
      hashes.take(chunk);
      await written;
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
  actual: { size: number; hashes: Hashes },
  expected: { sizeBytes: number | undefined; digest: Digest | undefined },
): Promise<string | undefined> {
  if (expected.sizeBytes !== undefined && actual.size < expected.sizeBytes) {
    throw new ArtifactError(
      "Unreachable",
      `${file.path}: connection closed after ${actual.size} of ${expected.sizeBytes} bytes`,
    );
  }
  const results = actual.hashes.results();
  const { digest } = expected;
  if (digest === undefined || results[digest.algorithm] === digest.hex) return results.sha256;
  const handle = await open(path, "w");
  await handle.close();
  throw new ChecksumMismatch(
    "InvalidArtifact",
    `${file.path}: the content does not match its checksum (${digest.algorithm} ${digest.hex}); publish it again`,
  );
}

class ChecksumMismatch extends ArtifactError {}
