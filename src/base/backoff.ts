/** How long to wait before try `attempt` (0 = the first retry): doubled each time, at most `maxMs`. */
export function exponentialMs(attempt: number, baseMs: number, maxMs: number): number {
  return Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
}

/** Spreads `ms` evenly over ±`share` of itself, so that many waiters do not come back together. */
export function jitterMs(ms: number, share: number, random: () => number): number {
  return Math.round(ms * (1 - share + 2 * share * random()));
}
