import type { JsonObject } from "#base/json.ts";

/** Where an object is kept: `resource` is the same for all versions of its kind. */
export interface ObjectKey {
  /** `group/plural`, see `resourceOf`. */
  readonly resource: string;
  /** Empty for cluster-scoped objects. */
  readonly namespace: string;
  readonly name: string;
}

/** One durable write. `before` is undefined for a creation, `after` for a removal. */
export interface StoredChange {
  /** Grows by one with each write, over all resources. */
  readonly revision: number;
  readonly key: ObjectKey;
  readonly before: JsonObject | undefined;
  readonly after: JsonObject | undefined;
}
