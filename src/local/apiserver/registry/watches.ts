import type { Clock } from "#base/clock.ts";
import type { JsonObject } from "#base/json.ts";
import { resourceOf } from "../kinds/catalog.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import type { StoredChange } from "../storage/change.ts";
import { ApiError, expired } from "./api-error.ts";
import { type ListQuery, list, listOptionsError, listQuery } from "./lists.ts";
import { withMetadata } from "./meta.ts";
import { isTrue, wholeNumber } from "./options.ts";
import type { Registry } from "./registry.ts";
import { type Selector, selectorOf } from "./selectors.ts";

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: JsonObject;
}

/** metav1.ListOptions of a watch. */
export interface WatchQuery extends ListQuery {
  readonly allowBookmarks: boolean;
  readonly sendInitialEvents: boolean;
  readonly timeoutMs: number;
}

/** A watch that is not given an end ends itself after 30 to 60 minutes. */
const TIMEOUT_MIN_MS = 30 * 60_000;
const BOOKMARK_INTERVAL_MS = 60_000;
const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/** @throws ApiError (400, 422) for a query that cannot be read. */
export function watchQuery(query: URLSearchParams, random: () => number): WatchQuery {
  const sendInitialEvents = query.get("sendInitialEvents");
  const match = query.get("resourceVersionMatch") ?? "";
  if (sendInitialEvents !== null && match !== "NotOlderThan") {
    throw listOptionsError(
      "resourceVersionMatch",
      "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    );
  }
  if (sendInitialEvents === null && match !== "") {
    throw listOptionsError(
      "resourceVersionMatch",
      "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    );
  }
  const allowBookmarks = isTrue(query.get("allowWatchBookmarks"));
  const plain = new URLSearchParams(query);
  plain.delete("resourceVersionMatch");
  plain.delete("sendInitialEvents");
  const seconds = wholeNumber(query, "timeoutSeconds");
  return {
    ...listQuery(plain),
    allowBookmarks,
    sendInitialEvents: isTrue(sendInitialEvents),
    timeoutMs: seconds > 0 ? seconds * 1000 : Math.round(TIMEOUT_MIN_MS * (1 + random())),
  };
}

export interface WatchOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly kind: Kind;
  /** undefined: all. */
  readonly namespace: string | undefined;
  readonly query: WatchQuery;
  /** Called with each event, in order. */
  readonly send: (event: WatchEvent) => void;
  /** Called once when the watch is over by itself: its time is up, or its past is forgotten. */
  readonly end: () => void;
}

/**
 * Watches a kind: first what there is, or what happened since the given revision, then everything that
 * happens. All is sent in the order of the writes, and nothing between the past and the present is missed.
 * @returns what stops the watch.
 * @throws ApiError (400) for a selector or revision that cannot be read.
 */
export function watch(options: WatchOptions): () => void {
  const { registry, clock, kind, namespace, query, send, end } = options;
  const { store } = registry;
  const selector = selectorOf(kind, query);
  const asked = watchRevision(query.resourceVersion);
  const resource = resourceOf(kind);
  let revision = store.revision;

  const show = (object: JsonObject) => registry.shownAs(kind, object);
  const tell = (change: StoredChange) => {
    revision = change.revision;
    if (change.key.resource !== resource) return;
    if (namespace !== undefined && change.key.namespace !== namespace) return;
    const event = eventOf(change, selector, show);
    if (event !== undefined) send(event);
  };
  const bookmark = (annotations?: JsonObject) => {
    const metadata = {
      resourceVersion: String(revision),
      ...(annotations === undefined ? {} : { annotations }),
    };
    send({
      type: "BOOKMARK",
      object: { kind: kind.kind, apiVersion: groupVersionOf(kind), metadata },
    });
  };

  const isFromStart = asked === 0 || query.sendInitialEvents;
  if (isFromStart) {
    const all = {
      ...query,
      limit: 0,
      continueToken: "",
      resourceVersion: "",
      resourceVersionMatch: "",
    };
    for (const object of list(registry, kind, namespace, all).items) {
      send({ type: "ADDED", object });
    }
    if (query.allowBookmarks) bookmark({ [INITIAL_EVENTS_END]: "true" });
  } else {
    const past = store.history.since(resource, asked);
    if (past === undefined) {
      const gone = expired(`too old resource version: ${asked} (${store.history.floor})`);
      send({ type: "ERROR", object: gone.status() });
      end();
      return () => {};
    }
    for (const change of past) tell(change);
    revision = Math.max(asked, store.revision);
  }

  // A revision that is still to come: the client has seen what happens until then.
  const unsubscribe = store.onChange((change) => {
    if (change.revision > asked || isFromStart) tell(change);
  });
  let cancelBookmark = () => {};
  const stop = () => {
    unsubscribe();
    cancelTimeout();
    cancelBookmark();
  };
  const cancelTimeout = clock.after(query.timeoutMs, () => {
    // A last one, so that the next watch begins where this one ends.
    if (query.allowBookmarks) bookmark();
    stop();
    end();
  });
  const scheduleBookmark = () => {
    cancelBookmark = clock.after(BOOKMARK_INTERVAL_MS, () => {
      bookmark();
      scheduleBookmark();
    });
  };
  if (query.allowBookmarks) scheduleBookmark();
  return stop;
}

/** What a watcher hears of a write: objects come and go as they begin and cease to fit its selectors. */
function eventOf(
  { revision, before, after }: StoredChange,
  selector: Selector,
  show: (object: JsonObject) => JsonObject,
): WatchEvent | undefined {
  const was = before === undefined ? undefined : show(before);
  const is = after === undefined ? undefined : show(after);
  const didFit = was !== undefined && selector(was);
  const fits = is !== undefined && selector(is);
  if (fits) return { type: didFit ? "MODIFIED" : "ADDED", object: is };
  if (!didFit || was === undefined) return undefined;
  // The last state that fitted, at the revision at which it ceased to.
  const last = withMetadata(was, { resourceVersion: String(revision) });
  return { type: "DELETED", object: last };
}

/** Of a watch a revision that is none is an error of the server's storage. */
function watchRevision(text: string): number {
  if (text === "" || /^\d{1,15}$/.test(text)) return Number(text);
  throw new ApiError(
    500,
    "",
    `resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
  );
}
