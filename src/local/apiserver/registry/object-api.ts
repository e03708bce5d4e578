import type { JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";

/** Names one object of a kind; `namespace` is empty for cluster-scoped kinds. */
export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

/** Who asks, as authentication found out. */
export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

/** Objects that a write refers to may have moved on meanwhile; see metav1.Preconditions. */
export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

export interface DeleteRequest {
  readonly preconditions?: Preconditions;
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: "Orphan" | "Background" | "Foreground";
}

/** One write that is durable by now. `before` is undefined for a creation, `after` for a removal. */
export interface Change {
  readonly kind: Kind;
  readonly before: JsonObject | undefined;
  readonly after: JsonObject | undefined;
}

/**
 * The objects of the API as its own controllers see them, in the same process: no HTTP, and the same
 * rules as for any client (admission webhooks aside). Objects that come out are shared and never changed.
 */
export interface ObjectApi {
  /** All kinds that are served now; of a kind with several versions the one that is stored. */
  kinds(): readonly Kind[];
  /** The kind that an ownerReference or the like means; undefined when it is not served. */
  kindNamed(apiVersion: string, kind: string): Kind | undefined;
  get(kind: Kind, name: ObjectName): JsonObject | undefined;
  /** In the order of namespace and name; all namespaces when none is given. */
  list(kind: Kind, namespace?: string): readonly JsonObject[];
  /** Tells every write, in order. Returns what ends the subscription. */
  onChange(listener: (change: Change) => void): () => void;
  /** @throws ApiError as a client would get it, e.g. reason AlreadyExists. */
  create(kind: Kind, object: JsonObject): JsonObject;
  /** A JSON merge patch, of the object or of its status. @throws ApiError, e.g. reason NotFound. */
  patch(kind: Kind, name: ObjectName, patch: JsonObject, subresource?: "status"): JsonObject;
  /** What DELETE does. @throws ApiError, e.g. reason NotFound or Conflict. */
  delete(kind: Kind, name: ObjectName, request: DeleteRequest): void;
}
