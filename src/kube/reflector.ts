import type { KubeObject } from "#api/kubernetes.ts";
import { abortReason } from "#base/abort.ts";
import { exponentialMs, jitterMs } from "#base/backoff.ts";
import type { Clock } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import type { Log } from "#telemetry/log.ts";
import {
  isGone,
  KubeApiError,
  type KubeClient,
  type ListOptions,
  type Resource,
  type WatchEvent,
} from "./client.ts";
import type { Store } from "./store.ts";

/** Objects per page of a list. */
const PAGE_SIZE = 500;
/** A server ends each watch after this long, spread so that many clients do not come back at once. */
const WATCH_MIN_S = 300;
/**
 * Servers send a bookmark each minute. Silence beyond that means a dead connection, which a new watch
 * from the same version settles at the price of one request.
 */
const SILENCE_MS_MAX = 75_000;
/** How long the first events of a watch may stay away before a plain list is tried instead. */
const INITIAL_SILENCE_MS_MAX = 15_000;
const BACKOFF_BASE_MS = 200;
const BACKOFF_MS_MAX = 10_000;
const BACKOFF_JITTER = 0.3;
/** A watch that ended sooner and brought nothing counts as a failure, or it would be renewed in a tight loop. */
const WATCH_USEFUL_MS = 1_000;
/** A server that refuses a watch again and again may not like its version (one from the future, after a restore). */
const REFUSALS_BEFORE_RELIST = 3;
const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

export interface ReflectorOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly resource: Resource<T>;
  readonly select: Pick<ListOptions, "namespace" | "labelSelector" | "fieldSelector">;
  readonly store: Store<T>;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1; spreads the pauses. */
  readonly random: () => number;
  /** Called whenever the store has become a complete copy. */
  readonly onSynced: () => void;
}

/** What one reflector knows between two watches. */
interface State {
  /** Where the next watch goes on; undefined: everything has to be read again. */
  version: string | undefined;
  /** Failures in a row. */
  failures: number;
  /** How often in a row the version of a watch was called gone. */
  gone: number;
  /** False once the server has refused to send initial events in a watch. */
  canWatchList: boolean;
}

/**
 * Keeps `store` equal to what the server holds until `signal` is aborted; no error ends it before.
 *
 *   read everything (WatchList, else pages) -> watch from there -> on its end: watch from the last version
 *          ^                                                   |-> on 410 Gone: version forgotten
 *          +---------------------------------------------------+
 */
export async function runReflector<T extends KubeObject>(
  options: ReflectorOptions<T>,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log, resource } = options;
  const state: State = { version: undefined, failures: 0, gone: 0, canWatchList: true };
  while (!signal.aborted) {
    const startedMs = clock.now();
    let failure: unknown;
    try {
      if (state.version === undefined && !state.canWatchList) await listAll(options, state, signal);
      const eventCount = await watchOnce(options, state, signal);
      if (eventCount === 0 && clock.now() - startedMs < WATCH_USEFUL_MS) {
        failure = new Error("the watch ended at once and without an event");
      }
    } catch (error) {
      if (signal.aborted) break;
      failure = judge(error, state);
    }
    if (failure === undefined) continue;
    const pauseMs = jitterMs(
      exponentialMs(state.failures++, BACKOFF_BASE_MS, BACKOFF_MS_MAX),
      BACKOFF_JITTER,
      options.random,
    );
    log.warn("Watch failed, will retry", {
      resource: resource.plural,
      error: describeError(failure),
      inMs: pauseMs,
    });
    await clock.sleep(pauseMs, signal).catch(() => {});
  }
}

/** Silence is ended by us: not a failure of the connection that has to be waited out. */
class SilentWatch extends Error {}

/** The failure to wait out; undefined when the next try may follow at once. */
function judge(error: unknown, state: State): unknown {
  if (error instanceof SilentWatch) return undefined;
  if (isGone(error) || (error instanceof KubeApiError && error.reason === "Expired")) {
    const wasWatching = state.version !== undefined;
    state.version = undefined;
    // The first time it is the ordinary end of a version; again and again it must not be a tight loop.
    return wasWatching && state.gone++ === 0 ? undefined : error;
  }
  if (state.version === undefined && state.canWatchList && refusesWatchList(error)) {
    state.canWatchList = false;
    return undefined;
  }
  if (error instanceof KubeApiError && state.failures >= REFUSALS_BEFORE_RELIST) {
    state.version = undefined;
  }
  return error;
}

/** Answers that a plain list would get, too: no word about initial events. */
const NOT_ABOUT_WATCH_LIST = [401, 403, 404, 410, 429, 503];

/**
 * A server may have the feature off (422), not know it, or be unable to serve it with its storage
 * (500 with an old etcd): whatever it objects to, a list is the way that always works.
 */
function refusesWatchList(error: unknown): boolean {
  return error instanceof KubeApiError && !NOT_ABOUT_WATCH_LIST.includes(error.code);
}

async function listAll<T extends KubeObject>(
  options: ReflectorOptions<T>,
  state: State,
  signal: AbortSignal,
): Promise<void> {
  const { client, resource, select } = options;
  const items: T[] = [];
  let next: string | undefined;
  let limit: number | undefined = PAGE_SIZE;
  for (;;) {
    try {
      const page = await client.list(resource, { ...select, limit, continue: next }, signal);
      items.push(...page.items);
      next = page.metadata.continue;
      if (next !== undefined && next !== "") continue;
      const version = page.metadata.resourceVersion ?? "";
      options.store.replace(items, version);
      state.version = version;
      options.onSynced();
      return;
    } catch (error) {
      if (next === undefined || !isGone(error)) throw error;
      // The pages' snapshot was compacted away under us: once more, in one piece.
      items.length = 0;
      next = undefined;
      limit = undefined;
    }
  }
}

/** One watch; how many events it brought. Without a version it begins by reading everything. */
async function watchOnce<T extends KubeObject>(
  options: ReflectorOptions<T>,
  state: State,
  signal: AbortSignal,
): Promise<number> {
  const { client, clock, resource, select, store } = options;
  let initial = state.version === undefined ? new Map<string, T>() : undefined;
  const watching = new AbortController();
  const stop = () => watching.abort(abortReason(signal));
  signal.addEventListener("abort", stop, { once: true });
  const silence = silenceAlarm(
    clock,
    initial === undefined ? SILENCE_MS_MAX : INITIAL_SILENCE_MS_MAX,
    () => {
      watching.abort(new SilentWatch("silent"));
      // A server that knows nothing of initial events sends no end of them either.
      if (initial !== undefined) state.canWatchList = false;
    },
  );
  let eventCount = 0;
  try {
    const events = client.watch(
      resource,
      {
        ...select,
        resourceVersion: state.version,
        allowWatchBookmarks: true,
        sendInitialEvents: initial !== undefined,
        timeoutSeconds: Math.round(WATCH_MIN_S * (1 + options.random())),
      },
      watching.signal,
    );
    for await (const event of events) {
      silence.heard();
      if (initial === undefined) applyEvent(store, event);
      else if (isEndOfInitialEvents(event)) {
        store.replace([...initial.values()], event.object.metadata.resourceVersion ?? "");
        initial = undefined;
        silence.allow(SILENCE_MS_MAX);
        options.onSynced();
      } else {
        collect(initial, event);
        continue;
      }
      eventCount++;
      state.failures = 0;
      state.gone = 0;
      // Only from a complete copy on is a version worth going on from.
      state.version = event.object.metadata.resourceVersion ?? state.version;
    }
    return eventCount;
  } finally {
    silence.stop();
    signal.removeEventListener("abort", stop);
  }
}

function applyEvent<T extends KubeObject>(store: Store<T>, event: WatchEvent<T>): void {
  if (event.type === "DELETED") store.remove(event.object);
  else if (event.type !== "BOOKMARK") store.upsert(event.object);
}

function collect<T extends KubeObject>(initial: Map<string, T>, event: WatchEvent<T>): void {
  const { namespace = "", name } = event.object.metadata;
  if (event.type === "DELETED") initial.delete(`${namespace}/${name}`);
  else if (event.type !== "BOOKMARK") initial.set(`${namespace}/${name}`, event.object);
}

function isEndOfInitialEvents(event: WatchEvent<KubeObject>): boolean {
  return (
    event.type === "BOOKMARK" && event.object.metadata.annotations?.[INITIAL_EVENTS_END] === "true"
  );
}

/** Calls `alarm` when nothing was heard for `maxMs`; one timer, however many events come. */
function silenceAlarm(clock: Clock, maxMs: number, alarm: () => void) {
  let heardMs = clock.now();
  let allowedMs = maxMs;
  let cancel = clock.after(allowedMs, check);
  function check() {
    const leftMs = heardMs + allowedMs - clock.now();
    if (leftMs <= 0) alarm();
    else cancel = clock.after(leftMs, check);
  }
  return {
    heard: () => {
      heardMs = clock.now();
    },
    allow: (ms: number) => {
      allowedMs = ms;
      cancel();
      cancel = clock.after(allowedMs, check);
    },
    stop: () => cancel(),
  };
}
