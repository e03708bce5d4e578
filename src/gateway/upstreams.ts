import { Pool } from "undici";
import type { Clock } from "#base/clock.ts";
import type { EndpointLoad } from "#core/route/pick.ts";

/** Connections to one engine; more requests wait. An engine batches far fewer at once. */
const CONNECTIONS_MAX = 1024;
/** How long an endpoint is avoided after a failed connection. */
const SUSPECT_MS = 5_000;

export interface UpstreamTimeouts {
  /** Until a connection stands. */
  readonly connectMs: number;
  /** From the request to the first byte of the answer. */
  readonly firstByteMs: number;
  /** Between two pieces of an answer. */
  readonly idleMs: number;
}

interface Upstream {
  readonly pool: Pool;
  inFlight: number;
  suspectUntilMs: number;
}

/** The engines' connections, and how busy each engine is with our requests. */
export class Upstreams {
  readonly #clock: Clock;
  readonly #timeouts: UpstreamTimeouts;
  readonly #upstreams = new Map<string, Upstream>();

  constructor(clock: Clock, timeouts: UpstreamTimeouts) {
    this.#clock = clock;
    this.#timeouts = timeouts;
  }

  /** What is known about `address` right now. */
  readonly loadOf = (address: string): EndpointLoad => {
    const upstream = this.#upstreams.get(address);
    return {
      inFlight: upstream?.inFlight ?? 0,
      isSuspect: (upstream?.suspectUntilMs ?? 0) > this.#clock.now(),
    };
  };

  /** A request goes to `address`; call `release` once when it is over. */
  acquire(address: string): { pool: Pool; release: () => void } {
    const upstream = this.#upstreams.get(address) ?? this.#open(address);
    upstream.inFlight++;
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      upstream.inFlight--;
    };
    return { pool: upstream.pool, release };
  }

  /** A connection to `address` failed: others are preferred for a while. */
  suspect(address: string): void {
    const upstream = this.#upstreams.get(address);
    if (upstream !== undefined) upstream.suspectUntilMs = this.#clock.now() + SUSPECT_MS;
  }

  /** Lets go of every engine that is in no route any more; its requests in flight go on. */
  retain(addresses: ReadonlySet<string>): void {
    for (const [address, { pool }] of this.#upstreams) {
      if (addresses.has(address)) continue;
      this.#upstreams.delete(address);
      // Only its end is of interest, and nobody waits for that.
      pool.close().catch(() => {});
    }
  }

  async destroy(): Promise<void> {
    const pools = [...this.#upstreams.values()].map(({ pool }) => pool);
    this.#upstreams.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  #open(address: string): Upstream {
    const { connectMs, firstByteMs, idleMs } = this.#timeouts;
    const pool = new Pool(`http://${address}`, {
      connections: CONNECTIONS_MAX,
      pipelining: 1,
      allowH2: false,
      connect: { timeout: connectMs },
      headersTimeout: firstByteMs,
      bodyTimeout: idleMs,
    });
    const upstream = { pool, inFlight: 0, suspectUntilMs: 0 };
    this.#upstreams.set(address, upstream);
    return upstream;
  }
}
