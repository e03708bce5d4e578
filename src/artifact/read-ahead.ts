import type { Semaphore } from "#base/semaphore.ts";
import { ArtifactError } from "./errors.ts";
import type { ArtifactSource, FileBytes, RemoteFile } from "./source.ts";

/** Large enough that asking costs little, small enough to be held in memory. */
export const RANGE_BYTES = 4 << 20;
/** Ranges in memory or on their way, over all files: what bounds the memory of downloads. */
export const RANGES_MAX = 8;

export interface ReadAheadOptions {
  readonly source: ArtifactSource;
  readonly file: RemoteFile;
  /** Shared by all files that are read at the same time. */
  readonly ranges: Semaphore;
}

/**
 * Opens the rest of a file as ranges that are fetched side by side, because stores limit each connection
 * rather than their sum. What comes out is in order, so the file on disk is whole up to its size and a
 * broken download is continued like any other.
 */
export async function openInRanges(
  options: ReadAheadOptions,
  from: number,
  signal: AbortSignal,
): Promise<FileBytes> {
  const { source, file } = options;
  const { sizeBytes } = file;
  const isWorthIt =
    source.takesParallelRanges &&
    file.validator !== undefined &&
    sizeBytes !== undefined &&
    sizeBytes - from > RANGE_BYTES;
  if (!isWorthIt) return source.read(file, { from }, signal);
  const to = from + RANGE_BYTES;
  const first = await source.read(file, { from, to }, signal);
  // A store that sends everything all the same is read as it likes.
  if (first.endsAt === undefined) return first;
  const stream = inOrder(options, { stream: first.stream, from, to }, sizeBytes, signal);
  return { ...first, endsAt: undefined, stream };
}

async function* inOrder(
  options: ReadAheadOptions,
  first: { stream: AsyncIterable<Uint8Array>; from: number; to: number },
  sizeBytes: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { ranges } = options;
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const ahead: { chunks: Promise<Uint8Array[]>; release: () => void }[] = [];
  let next = first.to;
  const lookAhead = () => {
    while (ahead.length < RANGES_MAX && next < sizeBytes) {
      const range = { from: next, to: Math.min(next + RANGE_BYTES, sizeBytes) };
      next = range.to;
      const place = ranges.acquire(either);
      const chunks = place.then(() => fetchRange(options, range, either));
      // It is told when its turn comes, or never, when one before it failed.
      chunks.catch(() => {});
      ahead.push({ chunks, release: () => void place.then((free) => free()).catch(() => {}) });
    }
  };
  try {
    lookAhead();
    yield* counted(options.file, first.stream, first.to - first.from);
    for (let range = ahead[0]; range !== undefined; range = ahead[0]) {
      yield* await range.chunks;
      ahead.shift();
      range.release();
      lookAhead();
    }
  } finally {
    stop.abort();
    for (const { release } of ahead) release();
    await Promise.allSettled(ahead.map(({ chunks }) => chunks));
  }
}

async function fetchRange(
  { source, file }: ReadAheadOptions,
  { from, to }: { from: number; to: number },
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const bytes = await source.read(file, { from, to }, signal);
  if (bytes.startsAt !== from || bytes.endsAt !== to) {
    throw new ArtifactError("Unreachable", `${file.path}: the server stopped answering ranges`);
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of counted(file, bytes.stream, to - from)) chunks.push(chunk);
  return chunks;
}

/** Passes on exactly so many bytes: one that is missing in a range would shift all that follows. */
async function* counted(
  file: RemoteFile,
  stream: AsyncIterable<Uint8Array>,
  wanted: number,
): AsyncGenerator<Uint8Array> {
  let seen = 0;
  for await (const chunk of stream) {
    seen += chunk.length;
    if (seen > wanted) break;
    yield chunk;
  }
  if (seen === wanted) return;
  throw new ArtifactError(
    "Unreachable",
    seen > wanted
      ? `${file.path}: the server sends more than it was asked for`
      : `${file.path}: connection closed after ${seen} of ${wanted} bytes`,
  );
}
