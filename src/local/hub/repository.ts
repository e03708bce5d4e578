import { createHash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { isObject } from "#base/json.ts";

/** Who may read a repository: a file of this name in its folder; without one, everybody. */
const ACCESS_FILE = ".access.json";

/** The hub's own line between what git holds and what lies in its large-file store. */
const LARGE_FILE = /\.(safetensors|bin|pt|pth|gguf)$/;
const LARGE_FILE_BYTES_MIN = 10 << 20;

/** What a hub knows of one file. */
export interface RepoFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Git's name for the content. */
  readonly blobId: string;
  readonly isLarge: boolean;
}

export interface Access {
  readonly visibility: "public" | "private" | "gated";
  readonly tokens: readonly string[];
}

/** One state of a repository. */
export interface Snapshot {
  /** Folder that the files lie in. */
  readonly folder: string;
  /** 40 hex digits that change with the content, and only with it. */
  readonly commit: string;
  readonly modifiedAt: Date;
  readonly files: readonly RepoFile[];
}

/**
 * The repositories below one folder: `<org>/<repo>`, and for branches and tags `<org>/<repo>@<revision>`.
 * Looked at anew for each question, so that an edited folder is a new version at once; contents are
 * hashed only when a file's size or times changed.
 */
export class Repositories {
  readonly #root: string;
  readonly #hashes = new Map<string, { stamp: string; sha256: string; blobId: string }>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Undefined when there is no such repository. */
  async access(repo: string): Promise<Access | undefined> {
    const folder = join(this.#root, repo);
    if (!(await isFolder(folder))) return undefined;
    let value: unknown;
    try {
      value = JSON.parse(await readFile(join(folder, ACCESS_FILE), "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return { visibility: "public", tokens: [] };
    }
    const visibility = isObject(value) ? value["visibility"] : undefined;
    const tokens = isObject(value) ? value["tokens"] : undefined;
    return {
      visibility: visibility === "gated" ? "gated" : "private",
      tokens: Array.isArray(tokens) ? tokens.map(String) : [],
    };
  }

  /** The state that `revision` names: a branch, a tag, or the commit that one of them is at. */
  async snapshot(repo: string, revision: string): Promise<Snapshot | undefined> {
    const isDefault = revision === "main" || revision === "HEAD";
    if (isDefault) return this.#read(join(this.#root, repo));
    if (/^[\w.-]+$/.test(revision)) {
      const branch = join(this.#root, `${repo}@${revision}`);
      if (await isFolder(branch)) return this.#read(branch);
    }
    for (const folder of await this.#branches(repo)) {
      const snapshot = await this.#read(folder);
      if (snapshot.commit === revision) return snapshot;
    }
    return undefined;
  }

  async #branches(repo: string): Promise<string[]> {
    const [org = "", name = ""] = repo.split("/");
    const entries = await readdir(join(this.#root, org));
    return entries
      .filter((entry) => entry === name || entry.startsWith(`${name}@`))
      .map((entry) => join(this.#root, org, entry));
  }

  async #read(folder: string): Promise<Snapshot> {
    const files: RepoFile[] = [];
    let modifiedAt = new Date(0);
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const absolute = join(entry.parentPath, entry.name);
      const path = absolute.slice(folder.length + 1);
      if (!entry.isFile() || path.split("/").some((part) => part.startsWith("."))) continue;
      const info = await stat(absolute);
      if (info.mtime > modifiedAt) modifiedAt = info.mtime;
      const sizeBytes = info.size;
      const isLarge = LARGE_FILE.test(path) || sizeBytes >= LARGE_FILE_BYTES_MIN;
      files.push({ path, sizeBytes, isLarge, ...(await this.#hash(absolute, info)) });
    }
    files.sort((a, b) => (a.path < b.path ? -1 : 1));
    const content = JSON.stringify(files.map((file) => [file.path, file.sha256]));
    const commit = createHash("sha1").update(content).digest("hex");
    return { folder, commit, modifiedAt, files };
  }

  async #hash(path: string, info: Stats): Promise<{ sha256: string; blobId: string }> {
    const stamp = `${info.ino}:${info.size}:${info.mtimeMs}:${info.ctimeMs}`;
    const known = this.#hashes.get(path);
    if (known?.stamp === stamp) return known;
    const sha256 = createHash("sha256");
    const blob = createHash("sha1").update(`blob ${info.size}\0`);
    for await (const chunk of createReadStream(path)) {
      sha256.update(chunk);
      blob.update(chunk);
    }
    const hashed = { stamp, sha256: sha256.digest("hex"), blobId: blob.digest("hex") };
    this.#hashes.set(path, hashed);
    return hashed;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
