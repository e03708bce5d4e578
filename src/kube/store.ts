import type { KubeObject } from "#api/kubernetes.ts";
import { keyOf } from "./client.ts";

/** Called with the object before and after a change: undefined before its creation, after its deletion. */
export type ChangeListener<T> = (before: T | undefined, after: T | undefined) => void;

/** Names of indexes, and the values under which an object is found in each. */
export type Indexers<T> = Readonly<Record<string, (object: T) => readonly string[]>>;

/** What may be read from a cache. The objects are shared: never change one. */
export interface StoreReader<T extends KubeObject> {
  /** By `namespace/name`, or `name` for a cluster-scoped kind. */
  get(key: string): T | undefined;
  list(): T[];
  /** The objects that the index `name` files under `value`. */
  by(name: string, value: string): T[];
  readonly size: number;
  /** Returns what ends the subscription. A listener must not throw. */
  onChange(listener: ChangeListener<T>): () => void;
  /**
   * Takes the answer of one of our own writes, so that it is read back at once. Events that are
   * older than it are ignored when the watch delivers them.
   */
  written(object: T): void;
}

/**
 * A copy of one kind of object, kept up to date by a reflector. For each object it holds the newest
 * version that it was told of, by the watch or by our own writes; listeners hear of each change once.
 */
export class Store<T extends KubeObject> implements StoreReader<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: Indexers<T>;
  readonly #indexes = new Map<string, Map<string, Set<string>>>();
  readonly #listeners = new Set<ChangeListener<T>>();
  /** The last version that the server itself showed us. */
  #seen: string | undefined;

  constructor(indexers: Indexers<T> = {}) {
    this.#indexers = indexers;
    for (const name of Object.keys(indexers)) this.#indexes.set(name, new Map());
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  get size(): number {
    return this.#objects.size;
  }

  by(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new Error(`bug: no index ${name}`);
    const result: T[] = [];
    for (const key of index.get(value) ?? []) {
      const object = this.#objects.get(key);
      if (object !== undefined) result.push(object);
    }
    return result;
  }

  onChange(listener: ChangeListener<T>): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** An ADDED or MODIFIED event. */
  upsert(object: T): void {
    this.#seen = object.metadata.resourceVersion;
    this.#take(object);
  }

  written(object: T): void {
    // The watch was further already, and showed that it is gone.
    const isSeen = compareVersions(object, versioned(this.#seen)) <= 0;
    if (isSeen && !this.#objects.has(keyOf(object))) return;
    this.#take(object);
  }

  /** A DELETED event; `object` is the last state, with the version of the deletion. */
  remove(object: T): void {
    this.#seen = object.metadata.resourceVersion;
    const key = keyOf(object);
    const held = this.#objects.get(key);
    // A deletion that is older than what we hold was of a predecessor with the same name.
    if (held === undefined || compareVersions(object, held) < 0) return;
    this.#set(key, held, undefined);
  }

  /** A complete and current list, as of `resourceVersion`. */
  replace(objects: readonly T[], resourceVersion: string): void {
    const asOf = versioned(resourceVersion);
    // A current list from before what the watch showed us: the server lost its state (restored from
    // a backup, started anew), so nothing that we hold can be compared with it.
    const isOtherHistory = compareVersions(asOf, versioned(this.#seen)) < 0;
    this.#seen = resourceVersion;
    const listed = new Set(objects.map(keyOf));
    for (const [key, held] of [...this.#objects]) {
      // What we wrote after the list was taken cannot be in it.
      const isOutdated = isOtherHistory || compareVersions(asOf, held) >= 0;
      if (isOutdated && !listed.has(key)) this.#set(key, held, undefined);
    }
    for (const object of objects) this.#take(object, isOtherHistory);
  }

  #take(object: T, force = false): void {
    const key = keyOf(object);
    const held = this.#objects.get(key);
    if (held === undefined || force || compareVersions(object, held) > 0) {
      this.#set(key, held, withoutManagers(object));
    }
  }

  #set(key: string, before: T | undefined, after: T | undefined): void {
    if (before !== undefined) this.#index(before, (keys) => keys.delete(key));
    if (after === undefined) this.#objects.delete(key);
    else {
      this.#objects.set(key, after);
      this.#index(after, (keys) => keys.add(key));
    }
    for (const listener of this.#listeners) listener(before, after);
  }

  #index(object: T, change: (keys: Set<string>) => void): void {
    for (const [name, valuesOf] of Object.entries(this.#indexers)) {
      const index = this.#indexes.get(name);
      if (index === undefined) continue;
      for (const value of valuesOf(object)) {
        const keys = index.get(value) ?? new Set();
        change(keys);
        if (keys.size === 0) index.delete(value);
        else index.set(value, keys);
      }
    }
  }
}

/** Who set which field is half of an object's size, and nobody asks a cache for it. */
function withoutManagers<T extends KubeObject>(object: T): T {
  const { managedFields, ...metadata } = object.metadata;
  return managedFields === undefined ? object : { ...object, metadata };
}

interface Versioned {
  metadata: { resourceVersion?: string };
}

const versioned = (resourceVersion: string | undefined): Versioned => ({
  metadata: resourceVersion === undefined ? {} : { resourceVersion },
});

/**
 * Below zero when `a` is older. Versions are decimal numbers in every API server there is (and since
 * Kubernetes 1.35 by contract); for anything else the latest word counts.
 */
function compareVersions(a: Versioned, b: Versioned): number {
  const [left, right] = [a.metadata.resourceVersion ?? "", b.metadata.resourceVersion ?? ""];
  if (left === right) return 0;
  if (!/^\d+$/.test(left) || !/^\d+$/.test(right)) return 1;
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : 1;
}
