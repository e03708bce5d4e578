import { type JsonObject, jsonEqual } from "#base/json.ts";
import { toCoreEvent, toEventsEvent } from "../builtins/events.ts";
import { stringAt } from "../json-access.ts";
import { type Catalog, resourceOf } from "../kinds/catalog.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import { prune } from "../schema/structural.ts";
import type { ObjectKey } from "../storage/change.ts";
import type { Store } from "../storage/store.ts";
import { notFound } from "./api-error.ts";
import { defaulted } from "./decode.ts";
import { metadataOf } from "./meta.ts";
import type { ObjectName } from "./object-api.ts";

export const keyOf = (kind: Kind, { namespace, name }: ObjectName): ObjectKey => ({
  resource: resourceOf(kind),
  namespace: kind.namespaced ? namespace : "",
  name,
});

/** The name of an object with metadata. */
export function objectName(object: JsonObject): ObjectName {
  const metadata = metadataOf(object);
  return { namespace: stringAt(metadata, "namespace"), name: stringAt(metadata, "name") };
}

/** Stored objects, read and written in whichever version of their kind. */
export class Objects {
  readonly #store: Store;
  readonly #catalog: Catalog;
  /** Stored objects as they were last read. */
  readonly #readings = new WeakMap<JsonObject, { kind: Kind; shown: JsonObject }>();

  constructor(store: Store, catalog: Catalog) {
    this.#store = store;
    this.#catalog = catalog;
  }

  /** The object in the version of `kind`. */
  read(kind: Kind, name: ObjectName): JsonObject | undefined {
    const object = this.#store.get(keyOf(kind, name));
    return object === undefined ? undefined : this.shownAs(kind, object);
  }

  /** @throws ApiError (404) */
  get(kind: Kind, name: ObjectName): JsonObject {
    const object = this.read(kind, name);
    if (object === undefined) throw notFound(kind, name.name);
    return object;
  }

  /** A stored object in the version of `kind`. */
  shownAs(kind: Kind, object: JsonObject): JsonObject {
    if (kind.group === "events.k8s.io" && kind.plural === "events") return toEventsEvent(object);
    if (kind.custom) return this.#readAs(kind, object);
    const apiVersion = groupVersionOf(kind);
    return object["apiVersion"] === apiVersion ? object : { ...object, apiVersion };
  }

  /** What was stored under an earlier schema is read by today's: pruned, and with its defaults. */
  #readAs(kind: Kind, object: JsonObject): JsonObject {
    const known = this.#readings.get(object);
    if (known?.kind === kind) return known.shown;
    const current = { ...object, apiVersion: groupVersionOf(kind) };
    const read = defaulted(kind, prune(kind.schema, current).object);
    // The same object as before where nothing changes, so that a watch's events share it.
    const shown = jsonEqual(read, object) ? object : read;
    this.#readings.set(object, { kind, shown });
    return shown;
  }

  /** An object in the form in which its kind is stored. */
  asStored(kind: Kind, object: JsonObject): JsonObject {
    if (kind.group === "events.k8s.io" && kind.plural === "events") return toCoreEvent(object);
    const apiVersion = groupVersionOf(this.#catalog.storedAs(kind));
    return object["apiVersion"] === apiVersion ? object : { ...object, apiVersion };
  }
}
