import { fromTimestamp } from "#base/clock.ts";
import type { Json } from "#base/json.ts";

const SECOND_MS = 1000;
const DAY_HOURS = 24;
const YEAR_DAYS = 365;
/** Clocks of two machines may differ by this much before a time counts as lying in the future. */
const SKEW_MS = 2 * SECOND_MS;

/** A duration as `kubectl get` shows ages: the two units that matter, fewer the longer it is. */
export function humanDuration(ms: number): string {
  if (ms <= -SKEW_MS) return "<invalid>";
  const seconds = Math.floor(Math.max(0, ms) / SECOND_MS);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / DAY_HOURS);
  const years = Math.floor(days / YEAR_DAYS);
  const two = (large: string, rest: number, unit: string) =>
    rest === 0 ? large : `${large}${rest}${unit}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return two(`${minutes}m`, seconds % 60, "s");
  if (minutes < 3 * 60) return `${minutes}m`;
  if (hours < 8) return two(`${hours}h`, minutes % 60, "m");
  if (hours < 2 * DAY_HOURS) return `${hours}h`;
  if (days < 8) return two(`${days}d`, hours % DAY_HOURS, "h");
  if (days < 2 * YEAR_DAYS) return `${days}d`;
  if (years < 8) return two(`${years}y`, days % YEAR_DAYS, "d");
  return `${years}y`;
}

/** How long ago an RFC 3339 timestamp was; `<unknown>` without one. */
export function age(timestamp: Json | undefined, nowMs: number): string {
  const ms = typeof timestamp === "string" ? fromTimestamp(timestamp) : undefined;
  return ms === undefined ? "<unknown>" : humanDuration(nowMs - ms);
}
