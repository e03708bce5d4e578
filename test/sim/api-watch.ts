import type { KubeObject } from "#api/kubernetes.ts";
import { abortReason } from "#base/abort.ts";
import type { WatchEvent } from "#kube/client.ts";
import type { ApiServer } from "./api-server.ts";
import type { Dice } from "./dice.ts";
import type { Host } from "./host.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface WatchWeather {
  /** How late events come, at most; each watch is late by itself, so kinds overtake one another. */
  lagMs: number;
}

interface Deps {
  readonly time: VirtualTime;
  readonly dice: Dice;
  readonly server: ApiServer;
  readonly host: Host;
  readonly weather: WatchWeather;
}

const BOOKMARK_MS = 60_000;
const DELAYED_MS = 50;
const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/** One open watch: events in their order, later than they happened. */
export class ApiWatch {
  readonly plural: string;
  /** A dead connection: nothing comes any more, and nobody says so. */
  isSilent = false;
  readonly #deps: Deps;
  readonly #arrived: WatchEvent<KubeObject>[] = [];
  /** What the server has sent. */
  #sentVersion: number;
  #lastAtMs = 0;
  #end: { error?: Error } | undefined;
  #wake: () => void = () => {};

  constructor(deps: Deps, plural: string, since: number, isInitial: boolean) {
    this.#deps = deps;
    this.plural = plural;
    this.#sentVersion = since;
    if (isInitial) {
      for (const object of deps.server.list({ plural } as never)) {
        this.#arrived.push({ type: "ADDED", object });
      }
      const annotations = { [INITIAL_EVENTS_END]: "true" };
      this.#arrived.push(bookmark(since, annotations));
    }
    this.notice();
    this.#keepAlive();
  }

  /** What is on its way comes much later than it could. */
  get isDelayed(): boolean {
    return this.isSilent || this.#lastAtMs > this.#deps.time.now() + DELAYED_MS;
  }

  get host(): Host {
    return this.#deps.host;
  }

  /** Something of the kind has changed. */
  notice(): void {
    const { server } = this.#deps;
    for (const entry of server.since(this.plural, this.#sentVersion)) {
      this.#sentVersion = entry.version;
      this.#send({ type: entry.type, object: entry.object });
    }
  }

  /** The connection ends: properly, or in the middle. */
  cut(error?: Error): void {
    const { host } = this.#deps;
    host.deliver(() => this.#finish(error === undefined ? {} : { error }));
  }

  close(): void {
    this.#finish({});
  }

  async *events<T extends KubeObject>(signal: AbortSignal): AsyncGenerator<WatchEvent<T>> {
    const stop = () => this.#finish({ error: abortReason(signal) });
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      while (true) {
        const event = this.#arrived.shift();
        if (event !== undefined) yield event as WatchEvent<T>;
        else if (this.#end === undefined) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        } else if (this.#end.error !== undefined) throw this.#end.error;
        else return;
      }
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  #send(event: WatchEvent<KubeObject>): void {
    if (this.#end !== undefined || this.isSilent) return;
    const { time, dice, host, weather } = this.#deps;
    const atMs = Math.max(this.#lastAtMs, time.now() + dice.int(1, weather.lagMs));
    this.#lastAtMs = atMs;
    time.after(atMs - time.now(), () => {
      if (this.isSilent) return;
      host.deliver(() => {
        if (this.#end !== undefined) return;
        this.#arrived.push(event);
        this.#wake();
      });
    });
  }

  #keepAlive(): void {
    const { time, server, host } = this.#deps;
    time.after(BOOKMARK_MS, () => {
      if (this.#end !== undefined || host.isDead) return;
      // All that was sent by now is behind it.
      this.#sentVersion = Math.max(this.#sentVersion, server.version);
      this.#send(bookmark(server.version));
      this.#keepAlive();
    });
  }

  #finish(end: { error?: Error }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#wake();
  }
}

function bookmark(version: number, annotations?: Record<string, string>): WatchEvent<KubeObject> {
  const metadata = { name: "", resourceVersion: String(version) };
  return {
    type: "BOOKMARK",
    object: { metadata: annotations === undefined ? metadata : { ...metadata, annotations } },
  };
}
