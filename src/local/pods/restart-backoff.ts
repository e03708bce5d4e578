/** How long a container that keeps ending waits before it is started again; all times in ms. */
export interface RestartBackoff {
  readonly baseMs: number;
  readonly maxMs: number;
  /** A container that ran at least this long has recovered: its next wait starts over. */
  readonly resetAfterMs: number;
}

/** Kubernetes' own figures: 10 s, doubled up to 5 min, forgotten after 10 min of running. */
export const RESTART_BACKOFF: RestartBackoff = {
  baseMs: 10_000,
  maxMs: 300_000,
  resetAfterMs: 600_000,
};

/** Ends in a row, the one just seen included: 1 after the first end or after a long run. */
export function endsInARow(before: number, ranForMs: number, backoff: RestartBackoff): number {
  return ranForMs >= backoff.resetAfterMs ? 1 : before + 1;
}

/** The wait after so many ends in a row: the first restart is immediate, then base, 2 base, ... */
export function restartDelayMs(ends: number, backoff: RestartBackoff): number {
  if (ends <= 1) return 0;
  return Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(ends - 2, 30));
}
