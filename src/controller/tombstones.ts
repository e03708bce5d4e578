/**
 * Adapters that are gone, but may still be on engines that could not be reached: where they must be unloaded when the engine is back.
 * Kept in one ConfigMap, since the objects that could remember it are gone: docs/decisions/0002-ownership-memory.md.
 */
import type { Pod } from "#api/kubernetes.ts";
import { exponentialMs } from "#base/backoff.ts";
import type { Clock } from "#base/clock.ts";
import { hashHex } from "#base/hash.ts";
import { isObject, jsonEqual } from "#base/json.ts";
import { describeError } from "#base/network-error.ts";
import { CONFIG_MAPS, isNotFound, KubeApiError, type KubeClient } from "#kube/client.ts";
import type { Log } from "#telemetry/log.ts";
import { LATE_LOAD_MS } from "./memory.ts";
import type { Auth } from "./secrets.ts";

/** Name of the ConfigMap, in the controller's namespace. */
export const TOMBSTONES_NAME = "loradock-pending-unloads";
/** Well below the megabyte that an object may have. */
const TOMBSTONES_MAX = 4000;
const WRITE_RETRY_MS = 5000;
const READ_RETRY_MS = 200;
const READ_RETRY_MS_MAX = 5000;

export interface Tombstone {
  readonly namespace: string;
  readonly adapter: string;
  readonly pod: string;
  readonly podUid: string;
  readonly port: number;
  /** Before this moment an engine that does not list the adapter may still come to a load; undefined: none was under way. */
  readonly lateLoadUntilMs: number | undefined;
}

export interface TombstonesDeps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  /** Where the ConfigMap lies. */
  readonly namespace: string;
}

export class Tombstones {
  readonly #deps: TombstonesDeps;
  readonly #entries = new Map<string, Tombstone>();
  /** When entries were added, or found as an earlier controller left them. */
  readonly #addedMs = new Map<string, number>();
  /** Engines' keys of adapters that are gone; never written down. */
  readonly #auths = new Map<string, Auth>();
  /** Keys of entries whose state in the ConfigMap is not the one here. */
  #dirty = new Set<string>();
  #writing: Promise<void> | undefined;

  constructor(deps: TombstonesDeps) {
    this.#deps = deps;
  }

  list(): Tombstone[] {
    return [...this.#entries.values()];
  }

  /** Since when an adapter that is gone may be left on a pod; undefined: it is not. */
  leftMs(namespace: string, adapter: string, podUid: string): number | undefined {
    if (this.#entries.size === 0) return undefined;
    return this.#addedMs.get(idOf({ namespace, adapter, podUid }));
  }

  of(pod: Pod): Tombstone[] {
    if (this.#entries.size === 0) return [];
    return this.list().filter((entry) => entry.podUid === pod.metadata.uid);
  }

  authOf(entry: Tombstone): Auth {
    return this.#auths.get(idOf(entry)) ?? { kind: "none" };
  }

  /** When the entry was added. */
  addedMs(entry: Tombstone): number {
    return this.#addedMs.get(idOf(entry)) ?? Number.NEGATIVE_INFINITY;
  }

  /**
   * Reads what an earlier controller left, as soon as the API server gives it; without the right to, or the namespace, it begins
   * empty and says so.
   */
  async load(signal: AbortSignal): Promise<void> {
    const { client, clock, log, namespace } = this.#deps;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const map = await client.get(CONFIG_MAPS, { namespace, name: TOMBSTONES_NAME }, signal);
        for (const text of Object.values(map.data ?? {})) {
          const entry = parse(text, clock.now() + LATE_LOAD_MS);
          if (entry !== undefined) this.#set(entry);
        }
        return;
      } catch (error) {
        if (signal.aborted || isNotFound(error)) return;
        const about = {
          configMap: `${namespace}/${TOMBSTONES_NAME}`,
          error: describeError(error),
        };
        if (isRefusal(error)) {
          const what =
            "Pending unloads could not be read; adapters deleted earlier may stay loaded";
          log.warn(what, about);
          return;
        }
        log.warn("Pending unloads could not be read, will retry", about);
        const pauseMs = exponentialMs(attempt, READ_RETRY_MS, READ_RETRY_MS_MAX);
        await clock.sleep(pauseMs, signal).catch(() => {});
      }
    }
  }

  /** Remembers; resolves when it is written down, or when that failed, which is logged and tried again. */
  async add(entries: readonly Tombstone[], auth: Auth, signal: AbortSignal): Promise<void> {
    for (const entry of entries) {
      const id = idOf(entry);
      this.#auths.set(id, auth);
      if (jsonEqual(entry, this.#entries.get(id))) continue;
      this.#set(entry);
      this.#dirty.add(id);
    }
    for (const id of this.#entries.keys()) {
      if (this.#entries.size <= TOMBSTONES_MAX) break;
      this.#drop(id);
    }
    await this.#flush(signal);
  }

  /** The engine no longer has it, or the pod is gone. */
  async remove(entry: Tombstone, signal: AbortSignal): Promise<void> {
    this.#drop(idOf(entry));
    await this.#flush(signal);
  }

  #set(entry: Tombstone): void {
    const id = idOf(entry);
    this.#addedMs.set(id, this.#deps.clock.now());
    this.#entries.set(id, entry);
  }

  #drop(id: string): void {
    if (!this.#entries.delete(id)) return;
    this.#auths.delete(id);
    this.#addedMs.delete(id);
    this.#dirty.add(id);
  }

  /** Writes all changes in one request; whoever comes meanwhile shares the next one. */
  async #flush(signal: AbortSignal): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    if (this.#dirty.size === 0) return;
    this.#writing = this.#write(signal).finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { client, clock, log, namespace } = this.#deps;
    const ids = this.#dirty;
    this.#dirty = new Set();
    const data = Object.fromEntries(
      [...ids].map((id) => {
        const entry = this.#entries.get(id);
        return [id, entry === undefined ? null : textOf(entry)];
      }),
    );
    const name = { namespace, name: TOMBSTONES_NAME };
    try {
      await client.patch(CONFIG_MAPS, name, "merge", { data }, { signal }).catch((error) => {
        if (!isNotFound(error)) throw error;
        const present = Object.entries(data).filter(
          (one): one is [string, string] => one[1] !== null,
        );
        const map = { metadata: name, data: Object.fromEntries(present) };
        return client.create(CONFIG_MAPS, map, { signal });
      });
    } catch (error) {
      for (const id of ids) this.#dirty.add(id);
      if (signal.aborted) return;
      log.warn("Pending unloads could not be written down, will retry", {
        configMap: `${namespace}/${TOMBSTONES_NAME}`,
        error: describeError(error),
      });
      clock.sleep(WRITE_RETRY_MS, signal).then(
        () => this.#flush(signal),
        () => {},
      );
    }
  }
}

/** Asking again would not help. */
function isRefusal(error: unknown): boolean {
  return error instanceof KubeApiError && error.code < 500 && error.code !== 429;
}

/** A valid key of a ConfigMap. */
function idOf({
  namespace,
  adapter,
  podUid,
}: Omit<Tombstone, "pod" | "port" | "lateLoadUntilMs">): string {
  return hashHex(`${namespace}/${adapter}/${podUid}`);
}

function textOf({ lateLoadUntilMs, ...entry }: Tombstone): string {
  return JSON.stringify({ ...entry, mayLoadLate: lateLoadUntilMs !== undefined });
}

/** @param lateMs until when a load may come late: an earlier controller's clock was another one */
function parse(text: string, lateMs: number): Tombstone | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { namespace, adapter, pod, podUid, port, mayLoadLate } = value;
  if (typeof namespace !== "string" || typeof adapter !== "string") return undefined;
  if (typeof pod !== "string" || typeof podUid !== "string") return undefined;
  if (typeof port !== "number") return undefined;
  const lateLoadUntilMs = mayLoadLate === true ? lateMs : undefined;
  return { namespace, adapter, pod, podUid, port, lateLoadUntilMs };
}
