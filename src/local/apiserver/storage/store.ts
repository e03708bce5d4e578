import { chmodSync, closeSync, openSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { messageOf, UserError } from "#base/errors.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { objectAt } from "../json-access.ts";
import type { ObjectKey, StoredChange } from "./change.ts";
import { History } from "./history.ts";

/** Where a new store begins to count: clients that write down a small number mean another cluster. */
const FIRST_REVISION = 100;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (resource, namespace, name)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS revision (only INTEGER PRIMARY KEY CHECK (only = 1), value INTEGER NOT NULL);
`;
/** Raised when what is in the file changes its shape. */
const FORMAT = 1;

/**
 * All objects of the API: in memory for reading, in SQLite for keeping. A write is in the file before
 * `put` or `remove` returns: killing the process at any moment loses nothing that was acknowledged.
 * (After a power cut the file is sound; the last moments may be missing, as the disk's cache is not
 * flushed at each write.) Everything is synchronous, so that nothing can come between looking and writing.
 */
export class Store {
  readonly #database: DatabaseSync;
  readonly #putObject: StatementSync;
  readonly #removeObject: StatementSync;
  readonly #setRevision: StatementSync;
  readonly #resources = new Map<string, Map<string, JsonObject>>();
  readonly #listeners = new Set<(change: StoredChange) => void>();
  readonly history: History;
  #revision: number;

  /**
   * @param path a file, or `:memory:` for a store that ends with the process.
   * @throws UserError when the file is no such store, is in use, or cannot be written.
   */
  constructor(path: string) {
    this.#database = openDatabase(path);
    this.#putObject = this.#database.prepare(
      "INSERT INTO objects (resource, namespace, name, body) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    );
    this.#removeObject = this.#database.prepare(
      "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
    );
    this.#setRevision = this.#database.prepare("UPDATE revision SET value = ?");
    this.#revision = this.#load();
    this.history = new History(this.#revision);
  }

  /** The revision of the newest write. */
  get revision(): number {
    return this.#revision;
  }

  get({ resource, namespace, name }: ObjectKey): JsonObject | undefined {
    return this.#resources.get(resource)?.get(`${namespace}/${name}`);
  }

  /** In the order of namespace and name; all namespaces when none is given. */
  list(resource: string, namespace?: string): JsonObject[] {
    const objects = this.#resources.get(resource);
    return objects === undefined ? [] : inOrder(objects, namespace);
  }

  /** The same at an earlier revision; undefined when that is forgotten. */
  listAt(
    resource: string,
    namespace: string | undefined,
    revision: number,
  ): JsonObject[] | undefined {
    const objects = this.#resources.get(resource) ?? new Map<string, JsonObject>();
    const then = this.history.rewind(resource, objects, revision);
    return then === undefined ? undefined : inOrder(then, namespace);
  }

  /** Keeps the object under its key and returns it with its new `metadata.resourceVersion`. */
  put(key: ObjectKey, object: JsonObject): JsonObject {
    const revision = this.#revision + 1;
    const after = withRevision(object, revision);
    this.#transaction(revision, () =>
      this.#putObject.run(key.resource, key.namespace, key.name, JSON.stringify(after)),
    );
    const before = this.get(key);
    this.#objectsOf(key.resource).set(`${key.namespace}/${key.name}`, after);
    this.#tell({ revision, key, before, after });
    return after;
  }

  /** Forgets the object; returns its last state with the revision of the removal. */
  remove(key: ObjectKey): JsonObject | undefined {
    const before = this.get(key);
    if (before === undefined) return undefined;
    const revision = this.#revision + 1;
    this.#transaction(revision, () =>
      this.#removeObject.run(key.resource, key.namespace, key.name),
    );
    this.#objectsOf(key.resource).delete(`${key.namespace}/${key.name}`);
    this.#tell({ revision, key, before, after: undefined });
    return withRevision(before, revision);
  }

  /** Calls `listener` after each write, in order. Returns what ends the subscription. */
  onChange(listener: (change: StoredChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#database.close();
  }

  #objectsOf(resource: string): Map<string, JsonObject> {
    const known = this.#resources.get(resource);
    if (known !== undefined) return known;
    const objects = new Map<string, JsonObject>();
    this.#resources.set(resource, objects);
    return objects;
  }

  #transaction(revision: number, write: () => void): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      write();
      this.#setRevision.run(revision);
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
    this.#revision = revision;
  }

  #tell(change: StoredChange): void {
    this.history.add(change);
    for (const listener of this.#listeners) listener(change);
  }

  #load(): number {
    for (const row of this.#database.prepare("SELECT * FROM objects").iterate()) {
      const { resource, namespace, name, body } = row as Record<string, string>;
      const object: unknown = JSON.parse(body ?? "");
      if (!isObject(object)) continue;
      this.#objectsOf(resource ?? "").set(`${namespace}/${name}`, object);
    }
    const row = this.#database.prepare("SELECT value FROM revision").get();
    return Number(row?.["value"] ?? FIRST_REVISION);
  }
}

function inOrder(
  objects: ReadonlyMap<string, JsonObject>,
  namespace: string | undefined,
): JsonObject[] {
  const entries = [...objects].filter(
    ([path]) => namespace === undefined || path.startsWith(`${namespace}/`),
  );
  return entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
}

function withRevision(object: JsonObject, revision: number): JsonObject {
  const metadata = { ...objectAt(object, "metadata"), resourceVersion: String(revision) };
  return { ...object, metadata };
}

/** Secrets are in it. What SQLite keeps beside the file gets the same mode. */
function keepPrivate(path: string): void {
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
}

function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    if (path !== ":memory:") keepPrivate(path);
    database = new DatabaseSync(path);
    // One process at a time; a second one fails at once instead of sharing half of the memory.
    database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;");
    database.exec("PRAGMA synchronous = NORMAL;");
    const format = Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);
    if (format !== 0 && format !== FORMAT) {
      throw new UserError(
        `${path} was written by another version of Loradock; use that version, or move the file away and begin anew`,
      );
    }
    database.exec(`BEGIN IMMEDIATE; ${SCHEMA} PRAGMA user_version = ${FORMAT};`);
    database.exec(
      `INSERT INTO revision (only, value) VALUES (1, ${FIRST_REVISION}) ON CONFLICT DO NOTHING; COMMIT;`,
    );
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof UserError) throw error;
    throw new UserError(
      `the store ${path} cannot be used (${messageOf(error)}); is another API server using it, is the disk full, may the file be written? If it is damaged, move it away to begin anew`,
      { cause: error },
    );
  }
}
