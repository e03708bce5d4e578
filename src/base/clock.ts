/**
 * Time as an argument. Nothing that decides or waits reads the machine's clock itself, so the
 * simulator and the tests can drive hours in milliseconds.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /**
   * How far the machine's clock is ahead of `now()`, milliseconds. Left out: not at all, `now()` follows it wherever it is set. With it
   * `now()` only tells how much time passed, whatever the machine's clock was set to meanwhile.
   */
  offsetMs?(): number;
  /** Resolves after `ms` milliseconds; rejects with the signal's reason when it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms` milliseconds; returns what cancels it. */
  after(ms: number, run: () => void): () => void;
}

/** What the machine's clock shows at the moment `ms` of `clock`: what others are told. */
export function timeOfDay(clock: Clock, ms = clock.now()): number {
  return ms + (clock.offsetMs?.() ?? 0);
}

/** RFC 3339 with whole seconds, as Kubernetes writes `metav1.Time`. */
export function toTimestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** RFC 3339 with microseconds, as Kubernetes writes `metav1.MicroTime` (Lease, events.k8s.io). */
export function toMicroTimestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 23)}000Z`;
}

/** Milliseconds since the epoch of an RFC 3339 text; undefined when it is missing or not one. */
export function fromTimestamp(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}
