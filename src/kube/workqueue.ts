import { exponentialMs } from "#base/backoff.ts";
import type { Clock } from "#base/clock.ts";

/** What a handler may answer: when to look at the key again although nothing failed. */
export interface HandlerResult {
  readonly requeueAfterMs?: number | undefined;
}

/** Hears what happens to keys. */
export interface QueueMeter {
  added(): void;
  /** @param waitedMs since it was added */
  taken(waitedMs: number): void;
  done(workedMs: number): void;
  /** A handler failed, and its key comes back. */
  retried(): void;
}

export interface WorkQueueOptions {
  readonly clock: Clock;
  readonly meter?: QueueMeter;
  /** Pause after the first failure of a key; doubled with each further one. */
  readonly backoffBaseMs?: number;
  readonly backoffMaxMs?: number;
}

const BACKOFF_BASE_MS = 200;
const BACKOFF_MAX_MS = 60_000;

/**
 * Keys waiting to be worked on. A key is in it once however often it is added, and never with two
 * workers at a time: added while it is being worked on, it comes again afterwards.
 *
 *   add -> dirty + queue -> (worker) processing -> done -> if dirty again: queue
 */
export class WorkQueue {
  readonly #clock: Clock;
  readonly #backoffBaseMs: number;
  readonly #backoffMaxMs: number;
  /** Keys that need work; of these the ones nobody works on are also in `#queue`. */
  readonly #dirty = new Set<string>();
  /** With the moment at which the work on each began. */
  readonly #processing = new Map<string, number>();
  /** When each key that waits for a worker was added. */
  readonly #addedMs = new Map<string, number>();
  readonly #meter: QueueMeter | undefined;
  /** In the order of arrival; those of the second only while the first is empty. */
  readonly #queue = new Set<string>();
  readonly #background = new Set<string>();
  readonly #later = new Map<string, { atMs: number; cancel: () => void }>();
  readonly #failures = new Map<string, { count: number; untilMs: number }>();
  #idle: (() => void)[] = [];
  #isShutDown = false;

  constructor(options: WorkQueueOptions) {
    this.#clock = options.clock;
    this.#meter = options.meter;
    this.#backoffBaseMs = options.backoffBaseMs ?? BACKOFF_BASE_MS;
    this.#backoffMaxMs = options.backoffMaxMs ?? BACKOFF_MAX_MS;
  }

  /** Keys that wait for a worker. */
  get length(): number {
    return this.#queue.size + this.#background.size;
  }

  /** For how long each key that is being worked on has been, milliseconds. */
  get workingMs(): number[] {
    const now = this.#clock.now();
    return [...this.#processing.values()].map((sinceMs) => now - sinceMs);
  }

  /** @param isBackground nobody waits for it: it may come after all others. */
  add(key: string, isBackground = false): void {
    if (this.#isShutDown) return;
    if (this.#dirty.has(key)) {
      if (!isBackground && this.#background.delete(key)) this.#queue.add(key);
      return;
    }
    this.#dirty.add(key);
    this.#addedMs.set(key, this.#clock.now());
    this.#meter?.added();
    if (!this.#processing.has(key)) this.#enqueue(key, isBackground);
  }

  /** Adds `key` after `ms`; of several times for one key the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#isShutDown) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const atMs = this.#clock.now() + ms;
    const planned = this.#later.get(key);
    if (planned !== undefined && planned.atMs <= atMs) return;
    planned?.cancel();
    const cancel = this.#clock.after(ms, () => {
      this.#later.delete(key);
      this.add(key);
    });
    this.#later.set(key, { atMs, cancel });
  }

  /**
   * Adds `key` after a pause that doubles with each call until `forget`. A key that came before its pause was over, and failed again,
   * waits for the rest of it: many events in a short trouble do not make a long pause.
   */
  addRateLimited(key: string): void {
    const now = this.#clock.now();
    const { count, untilMs } = this.#failures.get(key) ?? { count: 0, untilMs: 0 };
    if (now < untilMs) {
      this.addAfter(key, untilMs - now);
      return;
    }
    const pauseMs = exponentialMs(count, this.#backoffBaseMs, this.#backoffMaxMs);
    this.#failures.set(key, { count: count + 1, untilMs: now + pauseMs });
    this.addAfter(key, pauseMs);
  }

  /** The next failure of `key` is its first again. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** How many pauses of `key` there were since it was last forgotten. */
  failures(key: string): number {
    return this.#failures.get(key)?.count ?? 0;
  }

  /**
   * Works the keys off with `workers` at a time until `signal` is aborted; resolves when the last
   * handler has returned. A handler that throws has its key come back after a growing pause;
   * `onError` hears of it. A queue runs once.
   */
  async run(
    workers: number,
    handle: (key: string) => Promise<HandlerResult | undefined>,
    onError: (key: string, error: unknown) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const stop = () => this.#shutDown();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const work = async () => {
      for (let key = await this.#take(); key !== undefined; key = await this.#take()) {
        await this.#handleOne(key, handle, onError);
      }
    };
    await Promise.all(Array.from({ length: workers }, work));
    signal.removeEventListener("abort", stop);
  }

  async #handleOne(
    key: string,
    handle: (key: string) => Promise<HandlerResult | undefined>,
    onError: (key: string, error: unknown) => void,
  ): Promise<void> {
    const startedMs = this.#clock.now();
    this.#processing.set(key, startedMs);
    this.#meter?.taken(startedMs - (this.#addedMs.get(key) ?? startedMs));
    this.#addedMs.delete(key);
    try {
      const result = await handle(key);
      this.forget(key);
      if (result?.requeueAfterMs !== undefined) this.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      onError(key, error);
      this.#meter?.retried();
      this.addRateLimited(key);
    } finally {
      this.#processing.delete(key);
      this.#meter?.done(this.#clock.now() - startedMs);
      if (this.#dirty.has(key)) this.#enqueue(key);
    }
  }

  #enqueue(key: string, isBackground = false): void {
    if (this.#isShutDown) return;
    (isBackground ? this.#background : this.#queue).add(key);
    this.#idle.shift()?.();
  }

  /** The next key, waiting for one; undefined after the shutdown. */
  async #take(): Promise<string | undefined> {
    while (this.length === 0) {
      if (this.#isShutDown) return undefined;
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
    if (this.#isShutDown) return undefined;
    const [key] = this.#queue.size > 0 ? this.#queue : this.#background;
    if (key === undefined) return undefined;
    this.#queue.delete(key);
    this.#background.delete(key);
    this.#dirty.delete(key);
    this.#processing.set(key, this.#clock.now());
    return key;
  }

  #shutDown(): void {
    this.#isShutDown = true;
    for (const { cancel } of this.#later.values()) cancel();
    this.#later.clear();
    this.#queue.clear();
    this.#background.clear();
    const waiting = this.#idle;
    this.#idle = [];
    for (const wake of waiting) wake();
  }
}
