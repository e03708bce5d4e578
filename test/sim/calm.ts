/**
 * Since when nothing stands in a controller's way. What is promised "within a second" is promised of a controller that runs, leads, hears
 * of changes and can write: a bound begins when all of that is so.
 */
import type { ApiNetwork } from "./api-network.ts";
import type { Controllers } from "./controllers.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** Kinds that a controller watches. */
const WATCHED = 4;
const GOOD_LATENCY_MS = 50;
/** After failures a key waits about as long as they lasted, at most this long. */
const BACKOFF_MS_MAX = 60_000;
const AFTERMATH_MS = 1000;
const HEARD_MS = 100;

export class Calm {
  readonly #time: VirtualTime;
  readonly #network: () => ApiNetwork;
  readonly #controllers: () => Controllers;
  /** When the last trouble began. */
  #brokenMs = 0;
  #wasCalm = false;
  #sinceMs = 0;
  #failedFromMs = 0;
  #failedToMs = Number.NEGATIVE_INFINITY;

  constructor(parts: {
    time: VirtualTime;
    network: () => ApiNetwork;
    controllers: () => Controllers;
  }) {
    this.#time = parts.time;
    this.#network = parts.network;
    this.#controllers = parts.controllers;
  }

  /** A request failed, or will do so `afterMs` for want of an answer: what follows from it is waited out. */
  failed(afterMs: number): void {
    const now = this.#time.now();
    if (now > this.#failedToMs + BACKOFF_MS_MAX) this.#failedFromMs = now;
    this.#failedToMs = Math.max(now + afterMs, this.#failedToMs);
  }

  /** Nothing has stood in the way since then. */
  get sinceMs(): number {
    return this.#wasCalm ? this.#sinceMs : this.#time.now();
  }

  /** Requests have not failed from then on. */
  get lastFailureMs(): number {
    return this.#failedToMs;
  }

  /** Until when failures excuse that something is late. */
  get aftermathMs(): number {
    const lastedMs = this.#failedToMs - this.#failedFromMs;
    return this.#failedToMs + Math.min(BACKOFF_MS_MAX, 2 * lastedMs) + AFTERMATH_MS;
  }

  /** To be called after each event. */
  step(): void {
    const now = this.#time.now();
    const isCalm = this.#isCalm();
    // Trouble lasts until the event that shows its end, and one right after another is the same.
    if (this.#wasCalm && !isCalm && now > this.#sinceMs + AFTERMATH_MS) this.#brokenMs = now;
    if (!isCalm || !this.#wasCalm) this.#sinceMs = now;
    this.#wasCalm = isCalm;
  }

  /** What happened after this moment may have been heard of only after `atMs`. */
  heardSinceMs(atMs: number): number {
    const heardMs = atMs - HEARD_MS;
    return atMs < this.sinceMs + AFTERMATH_MS ? Math.min(this.#brokenMs, heardMs) : heardMs;
  }

  #isCalm(): boolean {
    const now = this.#time.now();
    const { weather, ...network } = {
      weather: this.#network().weather,
      watches: this.#network().watches(),
    };
    if (weather.outage !== "no" || weather.errorShare > 0 || weather.lostShare > 0) return false;
    if (weather.latencyMs > GOOD_LATENCY_MS || weather.lagMs > GOOD_LATENCY_MS) return false;
    if (now < this.aftermathMs) return false;
    const leader = this.#controllers().leader();
    if (leader === undefined || !leader.host.isRunning) return false;
    const own = network.watches.filter((watch) => watch.host === leader.host);
    return own.length >= WATCHED && own.every((watch) => !watch.isDelayed);
  }
}
