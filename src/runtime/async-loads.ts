import type { Clock } from "#base/clock.ts";
import type { LoadRequest, LoadResult } from "./adapters.ts";

/** How a caller wants to be answered who does not want to wait, after RFC 7240. */
export interface AsyncPreference {
  /** The answer may take so long before it becomes a promise; milliseconds. */
  readonly waitMs: number;
  /** The load is given up when nobody has asked for its status for so long; undefined: it goes on to its end. */
  readonly followMs: number | undefined;
}

/** The preference in a header; undefined: the caller waits for the load. */
export function asyncPreference(header: string | undefined): AsyncPreference | undefined {
  const tokens = (header ?? "").toLowerCase().split(/[\s,;]+/);
  if (!tokens.includes("respond-async")) return undefined;
  const seconds = (name: string) => {
    const text = tokens.find((token) => token.startsWith(`${name}=`))?.slice(name.length + 1);
    return text !== undefined && /^\d{1,4}$/.test(text) ? Number(text) * 1000 : undefined;
  };
  return { waitMs: seconds("wait") ?? 0, followMs: seconds("follow") };
}

interface Running {
  readonly left: AbortController;
  askedMs: number;
}

/** Loads whose callers have no connection open. */
export class AsyncLoads {
  readonly #clock: Clock;
  readonly #load: (request: LoadRequest, left: AbortSignal) => Promise<LoadResult>;
  readonly #running = new Map<string, Running>();

  /** @param load shares one load among callers with the same wish, and stops it when the last one has left */
  constructor(
    clock: Clock,
    load: (request: LoadRequest, left: AbortSignal) => Promise<LoadResult>,
  ) {
    this.#clock = clock;
    this.#load = load;
  }

  /** Begins a load, or joins the one of the same wish; undefined: it takes longer than the caller waits, and goes on. */
  async start(
    request: LoadRequest,
    { waitMs, followMs }: AsyncPreference,
  ): Promise<LoadResult | undefined> {
    const { name } = request;
    const running: Running = { left: new AbortController(), askedMs: this.#clock.now() };
    const result = this.#load(request, running.left.signal);
    // Who wanted another version under this name is not interested any more, or has become this caller.
    this.#running.get(name)?.left.abort();
    this.#running.set(name, running);
    const ended = new AbortController();
    const end = () => {
      ended.abort();
      if (this.#running.get(name) === running) this.#running.delete(name);
    };
    // A failure is told by the status.
    result.then(end, end);
    if (followMs !== undefined) void this.#watch(running, followMs, ended.signal);
    if (waitMs === 0) return undefined;
    const late = this.#clock.sleep(waitMs, ended.signal).then(
      () => undefined,
      () => result,
    );
    return await late;
  }

  /** Somebody asked how the load stands. */
  asked(name: string): void {
    const running = this.#running.get(name);
    if (running !== undefined) running.askedMs = this.#clock.now();
  }

  async #watch(running: Running, followMs: number, ended: AbortSignal) {
    while (!ended.aborted) {
      const leftMs = running.askedMs + followMs - this.#clock.now();
      if (leftMs <= 0) running.left.abort();
      if (leftMs <= 0) return;
      await this.#clock.sleep(leftMs, ended).catch(() => {});
    }
  }
}
