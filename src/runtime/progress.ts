import type { Clock } from "#base/clock.ts";
import { toTimestamp } from "#base/clock.ts";
import type { Problem } from "./errors.ts";

/** Where a load stands, for GET /v1/lora_adapter/status. */
export interface LoadStatus {
  readonly lora_name: string;
  readonly state: "queued" | "downloading" | "loading" | "loaded" | "failed";
  readonly bytes_done: number;
  /** Null when the source does not tell. */
  readonly bytes_total: number | null;
  readonly started_at: string;
  readonly finished_at: string | null;
  readonly local_path: string | null;
  readonly loaded_path: string | null;
  /** Only of a failed load. */
  readonly error?: string;
  readonly code?: string;
  readonly retriable?: boolean;
}

/** Adapters whose last load is remembered; the longest untouched is forgotten first. */
const ADAPTERS_MAX = 10_000;

/** How one load is told of; what it says is of no effect any more once another load of the name has begun. */
export interface Progress {
  note(change: Partial<LoadStatus>): void;
  fail(problem: Problem): void;
  finish(change: Partial<LoadStatus>): void;
}

/** The last load of each adapter. */
export class ProgressBoard {
  readonly #clock: Clock;
  readonly #byName = new Map<string, { load: Progress; status: LoadStatus }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(name: string): LoadStatus | undefined {
    return this.#byName.get(name)?.status;
  }

  all(): LoadStatus[] {
    return [...this.#byName.values()].map(({ status }) => status);
  }

  forget(name: string): void {
    this.#byName.delete(name);
  }

  begin(name: string): Progress {
    const note = (change: Partial<LoadStatus>) => {
      const last = this.#byName.get(name);
      if (last?.load === load) this.#put(load, { ...last.status, ...change });
    };
    const finish = (change: Partial<LoadStatus>) =>
      note({ ...change, finished_at: toTimestamp(this.#clock.now()) });
    const load: Progress = {
      note,
      finish,
      fail: ({ error, code, retriable }) => finish({ state: "failed", error, code, retriable }),
    };
    this.#put(load, {
      lora_name: name,
      state: "queued",
      bytes_done: 0,
      bytes_total: null,
      started_at: toTimestamp(this.#clock.now()),
      finished_at: null,
      local_path: null,
      loaded_path: null,
    });
    return load;
  }

  #put(load: Progress, status: LoadStatus): void {
    this.#byName.delete(status.lora_name);
    this.#byName.set(status.lora_name, { load, status });
    const [oldest] = this.#byName.keys();
    if (this.#byName.size > ADAPTERS_MAX && oldest !== undefined) this.#byName.delete(oldest);
  }
}
