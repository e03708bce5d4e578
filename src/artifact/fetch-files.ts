import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "#base/clock.ts";
import type { Semaphore } from "#base/semaphore.ts";
import { checkReadable, downloadFile, withRetries } from "./download-file.ts";
import type { ArtifactError } from "./errors.ts";
import type { FileCache } from "./file-cache.ts";
import type { RangeBuffers } from "./read-ahead.ts";
import type { ArtifactSource, RemoteFile } from "./source.ts";

export interface FetchOptions {
  readonly source: ArtifactSource;
  readonly files: readonly RemoteFile[];
  /** Where they go; half files that are there are continued. */
  readonly folder: string;
  readonly wantsSha256: boolean;
  readonly limits: FetchLimits;
  /** Files of whose content the source tells the SHA-256 may be here already. */
  readonly cache: FileCache;
  readonly clock: Clock;
  readonly onProgress: (progress: {
    bytesDone: number;
    /** Undefined when the source does not tell. */
    bytesTotal: number | undefined;
  }) => void;
}

export interface FetchLimits {
  /** Of all files together. */
  readonly bytesMax: number;
  readonly tooLarge: () => ArtifactError;
  /** Files that are fetched at the same time, over all adapters. */
  readonly slots: Semaphore;
  /** Ranges that are fetched side by side, over all files. */
  readonly ranges: RangeBuffers;
}

/**
 * Fetches all files of a listing. The first that fails stops the others.
 * @returns their SHA-256 where it is wanted, in the listing's order.
 */
export async function fetchFiles(
  options: FetchOptions,
  signal: AbortSignal,
): Promise<(string | undefined)[]> {
  const { files, limits, clock } = options;
  const positions = files.map(() => 0);
  const isKnown = files.every((file) => file.sizeBytes !== undefined);
  const bytesTotal = isKnown
    ? files.reduce((sum, file) => sum + (file.sizeBytes ?? 0), 0)
    : undefined;
  // One file that fails makes the others useless: they stop, and have stopped when we return.
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);

  async function fetchOne(listed: RemoteFile, index: number): Promise<string | undefined> {
    const { source, wantsSha256 } = options;
    const path = join(options.folder, listed.path);
    await mkdir(dirname(path), { recursive: true });
    const onPosition = (bytes: number) => {
      positions[index] = bytes;
      const bytesDone = positions.reduce((sum, n) => sum + n, 0);
      if (bytesDone > limits.bytesMax) failed.abort(limits.tooLarge());
      options.onProgress({ bytesDone, bytesTotal });
    };
    const describe = async () => (await source.describe?.(listed, either)) ?? listed;
    const file = await withRetries(describe, { clock, signal: either });
    const sizeBytes = file.sizeBytes ?? 0;
    const sha256 = file.digest?.algorithm === "sha256" ? file.digest.hex : undefined;
    if (sha256 !== undefined && (await options.cache.has(sha256, sizeBytes))) {
      await checkReadable(source, file, either);
      if (await options.cache.take(sha256, sizeBytes, path)) {
        onPosition(sizeBytes);
        return sha256;
      }
    }
    const { bytesMax, ranges } = limits;
    const common = { source, file, path, bytesMax, ranges, wantsSha256, clock };
    return downloadFile({ ...common, onPosition, signal: either });
  }

  const results = await Promise.allSettled(
    files.map(async (file, index) => {
      try {
        return await limits.slots.run(() => fetchOne(file, index), either);
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    }),
  );
  if (signal.aborted) throw signal.reason;
  if (failed.signal.aborted) throw failed.signal.reason;
  return results.map((result) => (result as PromiseFulfilledResult<string | undefined>).value);
}
