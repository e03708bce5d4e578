import type { JsonObject } from "#base/json.ts";
import type { StoredChange } from "./change.ts";

/** Writes that are remembered for watches that begin in the past. */
const CHANGES_MAX = 10_000;

/**
 * The recent past of the store, for watches that go on from a revision. It begins when the process
 * does: who asks for more is told to start over, as by etcd after a compaction.
 */
export class History {
  #changes: StoredChange[] = [];
  /** Everything after this revision is remembered. */
  #floor: number;

  constructor(revision: number) {
    this.#floor = revision;
  }

  add(change: StoredChange): void {
    this.#changes.push(change);
    // Cut rarely, a quarter at a time: cutting moves everything that stays.
    if (this.#changes.length <= CHANGES_MAX) return;
    const gone = this.#changes.splice(0, CHANGES_MAX / 4);
    this.#floor = gone.at(-1)?.revision ?? this.#floor;
  }

  /** The oldest revision that a watch may go on from. */
  get floor(): number {
    return this.#floor;
  }

  /** The writes to a resource after a revision; undefined when that is too long ago. */
  since(resource: string, revision: number): StoredChange[] | undefined {
    if (revision < this.#floor) return undefined;
    return this.#changes.filter(
      (change) => change.revision > revision && change.key.resource === resource,
    );
  }

  /**
   * A resource's objects as they were at a revision, by `namespace/name`; undefined when that is too
   * long ago. `now` holds the objects of today.
   */
  rewind(
    resource: string,
    now: ReadonlyMap<string, JsonObject>,
    revision: number,
  ): Map<string, JsonObject> | undefined {
    const changes = this.since(resource, revision);
    if (changes === undefined) return undefined;
    const then = new Map(now);
    for (const { key, before } of changes.toReversed()) {
      const path = `${key.namespace}/${key.name}`;
      if (before === undefined) then.delete(path);
      else then.set(path, before);
    }
    return then;
  }
}
