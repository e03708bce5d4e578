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

/** The last load of each adapter. */
export class ProgressBoard {
  readonly #clock: Clock;
  readonly #byName = new Map<string, LoadStatus>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(name: string): LoadStatus | undefined {
    return this.#byName.get(name);
  }

  all(): LoadStatus[] {
    return [...this.#byName.values()];
  }

  forget(name: string): void {
    this.#byName.delete(name);
  }

  begin(name: string): void {
    this.#put({
      lora_name: name,
      state: "queued",
      bytes_done: 0,
      bytes_total: null,
      started_at: toTimestamp(this.#clock.now()),
      finished_at: null,
      local_path: null,
      loaded_path: null,
    });
  }

  note(name: string, change: Partial<LoadStatus>): void {
    const before = this.#byName.get(name);
    if (before !== undefined) this.#put({ ...before, ...change });
  }

  fail(name: string, { error, code, retriable }: Problem): void {
    this.finish(name, { state: "failed", error, code, retriable });
  }

  finish(name: string, change: Partial<LoadStatus>): void {
    this.note(name, { ...change, finished_at: toTimestamp(this.#clock.now()) });
  }

  #put(status: LoadStatus): void {
    this.#byName.delete(status.lora_name);
    this.#byName.set(status.lora_name, status);
    const [oldest] = this.#byName.keys();
    if (this.#byName.size > ADAPTERS_MAX && oldest !== undefined) this.#byName.delete(oldest);
  }
}
