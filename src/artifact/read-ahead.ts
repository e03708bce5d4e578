import { Semaphore } from "#base/semaphore.ts";
import { ArtifactError } from "./errors.ts";
import type { ArtifactSource, ByteRange, FileBytes, RemoteFile } from "./source.ts";

/** Large enough that asking costs little, small enough to be held in memory. */
export const RANGE_BYTES = 3 << 20;
/** Ranges in memory or on their way, over all files: what bounds the memory of downloads. */
export const RANGES_MAX = 8;

/** A place in memory for one range. */
interface RangeBuffer {
  readonly bytes: Buffer;
  release(): void;
}

/**
 * The memory of all downloads: a few buffers that are used again and again, because garbage of this size
 * would be collected late. Given back to the system when nobody downloads.
 */
export class RangeBuffers {
  readonly #places = new Semaphore(RANGES_MAX);
  #free: Buffer[] = [];
  #readers = 0;

  /** Keeps the memory until `leave`, also while none of it is in use. */
  enter(): void {
    this.#readers++;
  }

  leave(): void {
    if (--this.#readers === 0) this.#free = [];
  }

  async acquire(signal: AbortSignal): Promise<RangeBuffer> {
    const leave = await this.#places.acquire(signal);
    const bytes = this.#free.pop() ?? Buffer.allocUnsafeSlow(RANGE_BYTES);
    return {
      bytes,
      release: () => {
        this.#free.push(bytes);
        leave();
      },
    };
  }
}

export interface ReadAheadOptions {
  readonly source: ArtifactSource;
  readonly file: RemoteFile;
  /** Shared by all files that are read at the same time. */
  readonly ranges: RangeBuffers;
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
    file.validator !== undefined && sizeBytes !== undefined && sizeBytes - from > RANGE_BYTES;
  if (!isWorthIt) return source.read(file, { from }, signal);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const first = await source.read(file, { from, to: from + RANGE_BYTES }, either);
  // A store that sends everything all the same is read as it likes.
  if (first.endsAt === undefined) return first;
  const stream = inOrder(options, { first, from, end: sizeBytes }, { stop, signal: either });
  return { ...first, endsAt: undefined, stream };
}

async function* inOrder(
  options: ReadAheadOptions,
  { first, from, end }: { first: FileBytes; from: number; end: number },
  { stop, signal }: { stop: AbortController; signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  const { ranges } = options;
  const ahead: Promise<{ bytes: Uint8Array; release: () => void }>[] = [];
  let next = from;
  const lookAhead = (opened?: FileBytes) => {
    while (ahead.length < RANGES_MAX && next < end) {
      const range = { from: next, to: Math.min(next + RANGE_BYTES, end) };
      const answer = range.from === from ? opened : undefined;
      next = range.to;
      const fetched = ranges.acquire(signal).then((buffer) => {
        return fetchRange(options, { range, answer, buffer }, signal);
      });
      // It is told when its turn comes, or never, when one before it failed.
      fetched.catch(() => {});
      ahead.push(fetched);
    }
  };
  ranges.enter();
  try {
    lookAhead(first);
    for (let head = ahead[0]; head !== undefined; head = ahead[0]) {
      const { bytes, release } = await head;
      // Who asks for the next piece has done with this one.
      yield bytes;
      ahead.shift();
      release();
      lookAhead();
    }
  } finally {
    stop.abort();
    for (const left of await Promise.allSettled(ahead)) {
      if (left.status === "fulfilled") left.value.release();
    }
    ranges.leave();
  }
}

/** Reads a range into memory, from its answer when that is here already. */
async function fetchRange(
  { source, file }: ReadAheadOptions,
  {
    range,
    answer,
    buffer,
  }: { range: ByteRange; answer: FileBytes | undefined; buffer: RangeBuffer },
  signal: AbortSignal,
) {
  const { from, to } = range;
  try {
    const { startsAt, endsAt, stream } = answer ?? (await source.read(file, range, signal));
    if (startsAt !== from || endsAt !== to) {
      throw new ArtifactError("Unreachable", `${file.path}: the server stopped answering ranges`);
    }
    let done = 0;
    for await (const chunk of counted(file, stream, Number(to) - from)) {
      buffer.bytes.set(chunk, done);
      done += chunk.length;
      free(chunk);
    }
    return { bytes: buffer.bytes.subarray(0, done), release: buffer.release };
  } catch (error) {
    buffer.release();
    throw error;
  }
}

/**
 * Gives the memory of a piece back at once: V8 does not count it, and collects it tens of megabytes late.
 * Where a piece ends with its memory, all that lies before has been read, and nobody else has it: Node's
 * pool, which many share, gives away less than half of itself at a time.
 */
function free({ buffer, byteOffset, length }: Uint8Array): void {
  const isLast = byteOffset + length === buffer.byteLength;
  if (isLast && length * 2 >= buffer.byteLength) (buffer as ArrayBuffer).transfer(0);
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
