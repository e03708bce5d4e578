import { createHash } from "node:crypto";
import {
  access,
  link as hardLink,
  lstat,
  mkdir,
  readFile,
  readlink,
  rename,
  stat,
  statfs,
  symlink,
  unlink,
} from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { isObject } from "#base/json.ts";
import { names, remove, syncFolder, syncTree, writeDurably } from "./durable.ts";
import { ArtifactError } from "./errors.ts";
import { FileCache, type FileRecord } from "./file-cache.ts";

/*
 * <root>/N                                -> .loradock/versions/N/<id>, swapped by one rename
 * <root>/.loradock/versions/N/<id>/          the files of one version: never changed once they are here
 * <root>/.loradock/versions/N/<id>.json      where they came from
 * <root>/.loradock/staging/N/<key>/          a download under way, or broken off and to be continued
 * <root>/.loradock/cache/                    the files of all versions by their content: see file-cache.ts
 *
 * A version's folder comes into being by a rename of a complete staging folder, its record after that,
 * the link last: whatever moment a crash chooses, a folder with a record is complete, and a link
 * leads to nothing else.
 */
const BOOKKEEPING = ".loradock";

/** AIBrix's own rule: a name that is one plain path element. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** @throws ArtifactError InvalidRequest for a name that could leave the root, or hide in it. */
export function checkAdapterName(name: string): void {
  if (NAME.test(name)) return;
  throw new ArtifactError(
    "InvalidRequest",
    "lora_name must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or digit",
  );
}

/** Where a version came from. */
export interface VersionRecord {
  readonly location: string;
  /** The source's own name for the content; undefined when it has none. */
  readonly identity: string | undefined;
  /** Of the archive or the weights, when it was computed. */
  readonly sha256?: string;
  readonly files: readonly FileRecord[];
}

export interface Version {
  readonly id: string;
  /** What engines are given: a folder that never changes. */
  readonly path: string;
  readonly record: VersionRecord;
}

/** The id of a version: the same source in the same state, and only that. */
export function versionId(location: string, identity: string): string {
  return createHash("sha256").update(`${location}\n${identity}`).digest("hex").slice(0, 16);
}

/** The adapters' root folder on disk. One process owns it. */
export class VersionStore {
  readonly root: string;
  readonly cache: FileCache;

  /** @param cacheBytesMax of the files by their content, those in use among them. */
  constructor(root: string, cacheBytesMax: number) {
    this.root = resolve(root);
    this.cache = new FileCache(join(this.root, BOOKKEEPING, "cache"), cacheBytesMax);
  }

  /** Where an adapter's files are for people and other programs: the link. */
  linkPath(name: string): string {
    checkAdapterName(name);
    return join(this.root, name);
  }

  #versions(name: string): string {
    checkAdapterName(name);
    return join(this.root, BOOKKEEPING, "versions", name);
  }

  #staging(name: string): string {
    checkAdapterName(name);
    return join(this.root, BOOKKEEPING, "staging", name);
  }

  versionPath(name: string, id: string): string {
    return join(this.#versions(name), id);
  }

  /** The published version; undefined when there is none, or it is not whole. */
  async current(name: string): Promise<Version | undefined> {
    const link = await readlink(this.linkPath(name)).catch(() => undefined);
    const id = link?.split("/").at(-1);
    if (id === undefined || link !== this.#linkTarget(name, id)) return undefined;
    return this.find(name, id);
  }

  #linkTarget(name: string, id: string): string {
    return join(BOOKKEEPING, "versions", name, id);
  }

  /** A version that is here and whole, published or not. */
  async find(name: string, id: string): Promise<Version | undefined> {
    const path = this.versionPath(name, id);
    const record = await readRecord(`${path}.json`);
    if (record === undefined) return undefined;
    for (const file of record.files) {
      const info = await stat(join(path, file.path)).catch(() => undefined);
      if (info?.isFile() !== true || info.size !== file.sizeBytes) return undefined;
    }
    return { id, path, record };
  }

  /** An empty or continued folder for a download; other half downloads of this adapter go. */
  async stage(name: string, key: string): Promise<string> {
    const all = this.#staging(name);
    const folder = join(all, key);
    await mkdir(folder, { recursive: true });
    for (const other of await names(all)) {
      if (other !== key) await remove(join(all, other));
    }
    return folder;
  }

  /**
   * Makes a staged folder out of what is here: the same source in the same state under another name, or
   * what the cache has kept of it.
   * @returns what is known of it; undefined when something is missing.
   */
  async stageShared(id: string, staged: string): Promise<VersionRecord | undefined> {
    const kept = recordOf(await this.cache.recall(id).catch(() => undefined));
    const take = ({ sha256 = "", sizeBytes }: FileRecord, into: string) =>
      this.cache.take(sha256, sizeBytes, into);
    if (kept !== undefined && (await fill(staged, kept.files, take))) return kept;
    for (const name of await this.#adapters()) {
      const twin = await this.find(name, id);
      if (twin === undefined) continue;
      const { path, record } = twin;
      const link = (file: FileRecord, into: string) =>
        hardLink(join(path, file.path), into).then(() => true);
      if (await fill(staged, record.files, link)) return record;
    }
    return undefined;
  }

  /**
   * Shares the files of a version with all that have the same content, now and later.
   * @param hashes SHA-256 of its files, in the order of its record.
   */
  async share(name: string, id: string, hashes: readonly string[], nowMs: number): Promise<void> {
    const version = await this.find(name, id);
    if (version === undefined) return;
    const { path, record } = version;
    const files = record.files.map((file, i) => ({ ...file, sha256: hashes[i] as string }));
    for (const file of files) await this.cache.share(join(path, file.path), file.sha256, nowMs);
    const known: VersionRecord = { ...record, files };
    await this.cache.remember(id, known);
    await writeDurably(`${path}.json`, JSON.stringify(known));
    await this.cache.evict();
  }

  async dropStaging(name: string): Promise<void> {
    await remove(this.#staging(name));
  }

  /**
   * Makes a staged folder a version and the version the adapter's: complete and on disk before
   * anyone can see it.
   */
  async publish(name: string, id: string, staged: string, record: VersionRecord): Promise<Version> {
    const path = this.versionPath(name, id);
    await mkdir(this.#versions(name), { recursive: true });
    await syncTree(staged);
    // A folder of this id that is not whole would stand in the way.
    await remove(`${path}.json`);
    await remove(path);
    await rename(staged, path);
    await syncFolder(this.#versions(name));
    // The record says that the folder is whole: it comes last.
    await writeDurably(`${path}.json`, JSON.stringify(record));
    await this.point(name, id);
    return { id, path, record };
  }

  /** Publishes a version that is here: one rename of a link. */
  async point(name: string, id: string): Promise<void> {
    const link = this.linkPath(name);
    const next = join(this.root, BOOKKEEPING, `${name}.next`);
    await remove(next);
    await symlink(this.#linkTarget(name, id), next);
    const isFolder = (await lstat(link).catch(() => undefined))?.isDirectory() === true;
    // Another sidecar kept the files themselves here. A link cannot replace a folder in one step.
    if (isFolder) await rename(link, join(this.#versions(name), `replaced-${id}`));
    // The target is relative to the root, where the link lies from now on.
    await rename(next, link);
    await syncFolder(this.root);
  }

  /** Takes the adapter's name away; the version's files stay until `removeVersion`. */
  async unpublish(name: string): Promise<void> {
    const link = this.linkPath(name);
    const info = await lstat(link).catch(() => undefined);
    if (info === undefined) return;
    if (info.isDirectory()) await remove(link);
    else await unlink(link);
  }

  /** Names of all adapters that have a version, whole or not. */
  async #adapters(): Promise<string[]> {
    const all = await names(join(this.root, BOOKKEEPING, "versions"));
    return all.filter((name) => NAME.test(name));
  }

  /** Every version folder of one or of all adapters, published or not, whole or not. */
  async versions(
    only?: string,
  ): Promise<{ name: string; id: string; path: string; isPublished: boolean }[]> {
    const found = [];
    for (const name of only === undefined ? await this.#adapters() : [only]) {
      const link = await readlink(this.linkPath(name)).catch(() => undefined);
      const ids = (await names(this.#versions(name))).map((entry) =>
        entry.replace(/\.json(\.tmp)?$/, ""),
      );
      for (const id of new Set(ids)) {
        const isPublished = link === this.#linkTarget(name, id);
        found.push({ name, id, path: this.versionPath(name, id), isPublished });
      }
    }
    return found;
  }

  /** The record goes first: from then on the folder does not count as a version. */
  async removeVersion(name: string, id: string, nowMs: number): Promise<void> {
    const path = this.versionPath(name, id);
    const { files = [] } = (await readRecord(`${path}.json`)) ?? {};
    for (const file of files) await this.cache.used(join(path, file.path), nowMs).catch(() => {});
    await remove(`${path}.json`);
    await remove(`${path}.json.tmp`);
    await remove(path);
    if ((await names(this.#versions(name))).length === 0) await remove(this.#versions(name));
    await this.cache.evict();
  }

  /** Makes the root, proves that it can be written to, and removes half downloads older than `ageMs`. */
  async open(nowMs: number, ageMs: number): Promise<void> {
    const staging = join(this.root, BOOKKEEPING, "staging");
    await mkdir(staging, { recursive: true });
    await access(staging, 2);
    for (const name of await names(staging)) {
      const info = await stat(join(staging, name));
      if (nowMs - info.mtimeMs > ageMs) await remove(join(staging, name));
    }
    for (const entry of await names(join(this.root, BOOKKEEPING))) {
      if (entry.endsWith(".next")) await remove(join(this.root, BOOKKEEPING, entry));
    }
    await this.cache.open();
  }

  /** Published adapters by name. */
  async published(): Promise<Version[]> {
    const all = await this.versions();
    const found = await Promise.all(
      all.filter((version) => version.isPublished).map(({ name, id }) => this.find(name, id)),
    );
    return found.filter((version) => version !== undefined);
  }

  /** Bytes that this process may still write. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.root);
    return bavail * bsize;
  }
}

/** Puts all files under `folder`; false when one of them cannot be had, as where there are no hard links. */
async function fill(
  folder: string,
  files: readonly FileRecord[],
  put: (file: FileRecord, into: string) => Promise<boolean>,
): Promise<boolean> {
  try {
    for (const file of files) {
      const into = join(folder, file.path);
      await mkdir(dirname(into), { recursive: true });
      await remove(into);
      if (!(await put(file, into))) return false;
    }
    return true;
  } catch {
    return false;
  }
}

async function readRecord(path: string): Promise<VersionRecord | undefined> {
  try {
    return recordOf(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return undefined;
  }
}

function recordOf(value: unknown): VersionRecord | undefined {
  if (!isObject(value) || typeof value["location"] !== "string" || !Array.isArray(value["files"])) {
    return undefined;
  }
  return value as unknown as VersionRecord;
}
