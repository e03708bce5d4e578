import { chmod, link, mkdir, readFile, rename, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "#base/errors.ts";
import { names, remove, writeDurably } from "./durable.ts";

/*
 * <folder>/files/<sha256>            a hard link to each file of a version, and what is kept for the next one
 * <folder>/sources/<version>.json    of which files a source in some state consisted
 *
 * The file system counts who has a file: one with a second link belongs to a version, and an engine may
 * have it. Only files that the cache has to itself ever go. A file comes here complete and on disk, and
 * nobody writes to it again, so nothing has to be repaired after a crash.
 */

/** A file of a version, as far as it is known. */
export interface FileRecord {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256?: string;
}

/** Files by their content, shared between adapters and kept for a while when no adapter has them. */
export class FileCache {
  readonly #files: string;
  readonly #sources: string;
  readonly #bytesMax: number;
  #temporary = 0;

  /** @param bytesMax of all files, those that adapters have among them. */
  constructor(folder: string, bytesMax: number) {
    this.#files = join(folder, "files");
    this.#sources = join(folder, "sources");
    this.#bytesMax = bytesMax;
  }

  /** Removes what a crash left half-done, and what is too much. */
  async open(): Promise<void> {
    await mkdir(this.#files, { recursive: true });
    await mkdir(this.#sources, { recursive: true });
    for (const name of await names(this.#files)) {
      if (!SHA256.test(name)) await remove(join(this.#files, name));
    }
    await this.evict();
  }

  async has(sha256: string, sizeBytes: number): Promise<boolean> {
    return SHA256.test(sha256) && (await sizeOf(join(this.#files, sha256))) === sizeBytes;
  }

  /** Puts a file that is here under `into`; false when it is not here. */
  async take(sha256: string, sizeBytes: number, into: string): Promise<boolean> {
    if (!(await this.has(sha256, sizeBytes))) return false;
    try {
      await remove(into);
      await link(join(this.#files, sha256), into);
      return true;
    } catch (error) {
      // Evicted meanwhile.
      if (codeOf(error) === "ENOENT") return false;
      throw error;
    }
  }

  /**
   * Makes a file, complete and on disk, one with all of the same content.
   * @throws what file systems say that have no hard links; the file stays as it is.
   */
  async share(path: string, sha256: string, nowMs: number): Promise<void> {
    const shared = join(this.#files, sha256);
    // One that is damaged must not spread.
    if ((await sizeOf(shared)) !== (await sizeOf(path))) await remove(shared);
    try {
      await link(path, shared);
      // Others have it, too.
      await chmod(shared, 0o444);
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
      const temporary = join(this.#files, `temporary-${this.#temporary++}`);
      await link(shared, temporary);
      await rename(temporary, path);
      // Two names of one file: then the rename does nothing, and leaves both.
      await remove(temporary);
    }
    await this.used(path, nowMs);
  }

  /** Says when an adapter had the file last; the least recently used go first. */
  async used(path: string, nowMs: number): Promise<void> {
    const { mtime } = await stat(path);
    await utimes(path, new Date(nowMs), mtime);
  }

  /** Which files a source had when it was in the state that `id` stands for. */
  async remember(id: string, record: object): Promise<void> {
    await writeDurably(join(this.#sources, `${id}.json`), JSON.stringify(record));
  }

  /** What was remembered; whether its files are still here shows when they are taken. */
  async recall(id: string): Promise<unknown> {
    const text = await readFile(join(this.#sources, `${id}.json`), "utf8").catch(() => undefined);
    return text === undefined ? undefined : JSON.parse(text);
  }

  /**
   * Removes files that no adapter has until the cache is small enough, and `bytes` are free.
   * @returns how many bytes became free.
   */
  async evict(bytes = 0): Promise<number> {
    const found = await Promise.all(
      (await names(this.#files)).map(async (name) => {
        const path = join(this.#files, name);
        const info = await stat(path).catch(() => undefined);
        return { path, size: info?.size ?? 0, links: info?.nlink ?? 0, usedMs: info?.atimeMs ?? 0 };
      }),
    );
    const total = found.reduce((sum, { size }) => sum + size, 0);
    const wanted = Math.max(bytes, total - this.#bytesMax);
    let freed = 0;
    for (const { path, size } of found
      .filter(({ links }) => links === 1)
      .sort((a, b) => a.usedMs - b.usedMs)) {
      if (freed >= wanted) break;
      await remove(path);
      freed += size;
    }
    if (freed > 0) await this.#forget();
    return freed;
  }

  /** Sources whose files are not all here any more. */
  async #forget(): Promise<void> {
    const here = new Set(await names(this.#files));
    for (const name of await names(this.#sources)) {
      const id = name.replace(/\.json(\.tmp)?$/, "");
      const record = await this.recall(id).catch(() => undefined);
      const files = (record as { files?: { sha256: string }[] } | undefined)?.files;
      if (files?.every(({ sha256 }) => here.has(sha256)) === true) continue;
      await remove(join(this.#sources, name));
    }
  }
}

const SHA256 = /^[0-9a-f]{64}$/;

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}
