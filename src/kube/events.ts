import type { KubeEvent, KubeObject } from "#api/kubernetes.ts";
import { exponentialMs } from "#base/backoff.ts";
import { type Clock, timeOfDay, toTimestamp } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import type { Log } from "#telemetry/log.ts";
import { EVENTS, isNotFound, KubeApiError, type KubeClient } from "./client.ts";

export type EventType = "Normal" | "Warning";

export interface EventRecorder {
  /**
   * Says about `object` what `kubectl describe` and `kubectl get events` then show. Returns at once;
   * the same words about the same object again raise the event's count.
   */
  record(object: KubeObject, type: EventType, reason: string, message: string): void;
  /** Resolves when the recorder has stopped, after its signal and a last bounded try to send what waits. */
  readonly done: Promise<void>;
}

export interface EventRecorderDeps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  /** Who reports, e.g. the controller's name: the column From. */
  readonly component: string;
  /** Which of several instances, e.g. the pod's name. */
  readonly instance?: string;
}

/** Distinct events that wait to be sent, a few for each of ten thousand objects that come at once; the oldest make room. */
const QUEUE_MAX = 50_000;
/** Sent events that a repeat is counted on, and for how long: the API server keeps an event for an hour. */
const REMEMBERED_MAX = 4_096;
const REMEMBERED_MS = 50 * 60_000;
/** An object that has more to say than this is cut short: `burst` events, then one every five minutes. */
const SPAM_BURST = 25;
const SPAM_REFILL_MS = 5 * 60_000;
/** Events on their way at once: enough to keep up, too few to delay what the API server has to do besides. */
const SENDERS = 4;
const MESSAGE_LENGTH_MAX = 8 * 1024;
const SEND_TRIES_MAX = 5;
const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 10_000;
const FLUSH_MS_MAX = 2_000;

interface Pending {
  /** Of the object. */
  readonly id: string;
  /** What names the object; the object itself would be held for as long as the event waits. */
  readonly about: KubeEvent["involvedObject"];
  readonly type: EventType;
  readonly reason: string;
  readonly message: string;
  readonly firstMs: number;
  lastMs: number;
  /** How often it happened since it was last sent. */
  count: number;
}

interface Sent {
  readonly name: string;
  readonly namespace: string;
  readonly firstMs: number;
  lastMs: number;
  count: number;
}

/** Starts a recorder that writes core/v1 Events until `signal` is aborted. */
export function startEventRecorder(deps: EventRecorderDeps, signal: AbortSignal): EventRecorder {
  const recorder = new Recorder(deps);
  return {
    record: (object, type, reason, message) => recorder.record(object, type, reason, message),
    done: recorder.run(signal),
  };
}

class Recorder {
  readonly #deps: EventRecorderDeps;
  readonly #pending = new Map<string, Pending>();
  readonly #sent = new Map<string, Sent>();
  readonly #spam = new Map<string, { tokens: number; atMs: number }>();
  /** The objects that an event is being sent of. */
  readonly #sending = new Set<string>();
  #idle: (() => void)[] = [];
  #serial = 0;
  #isStopped = false;

  constructor(deps: EventRecorderDeps) {
    this.#deps = deps;
  }

  record(object: KubeObject, type: EventType, reason: string, text: string): void {
    if (this.#isStopped) return;
    const message = text.slice(0, MESSAGE_LENGTH_MAX);
    const id = object.metadata.uid ?? `${object.kind}/${object.metadata.name}`;
    const key = JSON.stringify([id, type, reason, message]);
    const nowMs = this.#deps.clock.now();
    const waiting = this.#pending.get(key);
    if (waiting !== undefined) {
      waiting.count++;
      waiting.lastMs = nowMs;
      return;
    }
    if (!this.#admits(id, nowMs)) return;
    if (this.#pending.size >= QUEUE_MAX) {
      const [oldest] = this.#pending.keys();
      if (oldest !== undefined) this.#pending.delete(oldest);
    }
    const event = {
      id,
      about: referenceTo(object),
      type,
      reason,
      message,
      firstMs: nowMs,
      lastMs: nowMs,
      count: 1,
    };
    this.#pending.set(key, event);
    this.#wake();
  }

  /** Sends what waits: of one object one at a time, since the order of a story matters more than its speed. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const giveUp = new AbortController();
    let cancel = () => {};
    const stop = () => {
      this.#isStopped = true;
      cancel = clock.after(FLUSH_MS_MAX, () => giveUp.abort());
      this.#wake();
    };
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const send = async () => {
      while (!giveUp.signal.aborted && !(this.#isStopped && this.#pending.size === 0)) {
        const next = this.#next();
        if (next === undefined) await new Promise<void>((resolve) => this.#idle.push(resolve));
        else await this.#deliver(...next, giveUp.signal);
      }
    };
    await Promise.all(Array.from({ length: SENDERS }, send));
    cancel();
  }

  /** The oldest event of an object that none is being sent of. */
  #next(): [string, Pending] | undefined {
    for (const [key, event] of this.#pending) {
      if (this.#sending.has(event.id)) continue;
      this.#pending.delete(key);
      return [key, event];
    }
    return undefined;
  }

  #wake(): void {
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  /** A token bucket per object. */
  #admits(about: string, nowMs: number): boolean {
    const bucket = this.#spam.get(about) ?? { tokens: SPAM_BURST, atMs: nowMs };
    const tokens = Math.min(SPAM_BURST, bucket.tokens + (nowMs - bucket.atMs) / SPAM_REFILL_MS);
    const isAdmitted = tokens >= 1;
    remember(this.#spam, about, { tokens: isAdmitted ? tokens - 1 : tokens, atMs: nowMs });
    return isAdmitted;
  }

  async #deliver(key: string, event: Pending, signal: AbortSignal): Promise<void> {
    this.#sending.add(event.id);
    await this.#sendUntilSure(key, event, signal);
    this.#sending.delete(event.id);
    this.#wake();
  }

  async #sendUntilSure(key: string, event: Pending, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await this.#send(key, event, signal);
        return;
      } catch (error) {
        if (attempt >= SEND_TRIES_MAX || !canHelpToRetry(error)) {
          if (!signal.aborted) {
            log.warn("Event dropped", { reason: event.reason, error: describeError(error) });
          }
          return;
        }
        const pauseMs = exponentialMs(attempt - 1, RETRY_BASE_MS, RETRY_MAX_MS);
        await clock.sleep(pauseMs, signal).catch(() => {});
      }
    }
  }

  async #send(key: string, event: Pending, signal: AbortSignal): Promise<void> {
    const { client } = this.#deps;
    const sent = this.#sent.get(key);
    if (sent !== undefined && event.lastMs - sent.lastMs < REMEMBERED_MS) {
      const { name, namespace } = sent;
      const count = sent.count + event.count;
      const patch = { count, lastTimestamp: this.#timestamp(event.lastMs) };
      try {
        await client.patch(EVENTS, { name, namespace }, "merge", patch, { signal });
        remember(this.#sent, key, { ...sent, count, lastMs: event.lastMs });
        return;
      } catch (error) {
        // Somebody deleted it: tell it anew.
        if (!isNotFound(error)) throw error;
      }
    }
    const body = this.#eventObject(event);
    const { name, namespace = "" } = body.metadata;
    await client.create(EVENTS, body, { signal });
    const { firstMs, lastMs, count } = event;
    remember(this.#sent, key, { name, namespace, firstMs, lastMs, count });
  }

  #eventObject(event: Pending): KubeEvent {
    const { component, instance } = this.#deps;
    const { about, type, reason, message, count, firstMs, lastMs } = event;
    // Events of cluster-scoped objects live in `default`, where kubectl looks for them.
    const namespace = about.namespace ?? "default";
    return {
      metadata: { name: `${about.name}.${this.#suffix(firstMs)}`, namespace },
      involvedObject: about,
      type,
      reason,
      message,
      count,
      firstTimestamp: this.#timestamp(firstMs),
      lastTimestamp: this.#timestamp(lastMs),
      source: { component, ...(instance === undefined ? {} : { host: instance }) },
      reportingComponent: component,
      reportingInstance: instance ?? "",
    };
  }

  #timestamp(ms: number): string {
    return toTimestamp(timeOfDay(this.#deps.clock, ms));
  }

  /** Unique among this object's events, also after a restart and within one millisecond. */
  #suffix(atMs: number): string {
    this.#serial = (this.#serial + 1) % 0x10000;
    return `${Math.trunc(atMs).toString(16)}${this.#serial.toString(16).padStart(4, "0")}`;
  }
}

function referenceTo({ apiVersion, kind, metadata }: KubeObject): KubeEvent["involvedObject"] {
  const { namespace, name, uid, resourceVersion } = metadata;
  return {
    ...(apiVersion === undefined ? {} : { apiVersion }),
    ...(kind === undefined ? {} : { kind }),
    ...(namespace === undefined ? {} : { namespace }),
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}

/** Puts `key` last in `map` and drops the first ones beyond the limit. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= REMEMBERED_MAX) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}

/** A refusal stays one; a busy or absent server does not. */
function canHelpToRetry(error: unknown): boolean {
  return !(error instanceof KubeApiError) || error.code === 429 || error.code >= 500;
}
