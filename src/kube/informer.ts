import type { KubeObject } from "#api/kubernetes.ts";
import { abortReason } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";
import type { Log } from "#telemetry/log.ts";
import type { KubeClient, ListOptions, Resource } from "./client.ts";
import { runReflector } from "./reflector.ts";
import { type Indexers, Store, type StoreReader } from "./store.ts";

/** A cache of one kind of object that keeps itself up to date. */
export interface Informer<T extends KubeObject> extends StoreReader<T> {
  /** Resolves when the cache has become complete; rejects when the informer is stopped before. */
  readonly synced: Promise<void>;
  readonly hasSynced: boolean;
  /** Resolves when the informer has stopped, after its signal. */
  readonly done: Promise<void>;
}

export interface InformerOptions<T extends KubeObject>
  extends Pick<ListOptions, "namespace" | "labelSelector" | "fieldSelector"> {
  readonly indexes?: Indexers<T>;
  /** Spreads pauses after failures; default Math.random. */
  readonly random?: () => number;
}

/** Starts to mirror `resource`; goes on through every failure until `signal` is aborted. */
export function startInformer<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  options: InformerOptions<T>,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Informer<T> {
  const { indexes, random = Math.random, ...select } = options;
  const store = new Store<T>(indexes);
  const synced = Promise.withResolvers<void>();
  let hasSynced = false;
  const done = runReflector(
    {
      client,
      resource,
      select,
      store,
      clock,
      log,
      random,
      onSynced: () => {
        hasSynced = true;
        synced.resolve();
      },
    },
    signal,
  ).finally(() => synced.reject(abortReason(signal)));
  // Whoever does not wait for it must not be killed by its rejection.
  synced.promise.catch(() => {});
  return {
    get: (key) => store.get(key),
    list: () => store.list(),
    by: (name, value) => store.by(name, value),
    get size() {
      return store.size;
    },
    onChange: (listener) => store.onChange(listener),
    written: (object) => store.written(object),
    synced: synced.promise,
    get hasSynced() {
      return hasSynced;
    },
    done,
  };
}
