/** When a failed operation is tried again: exactly what the documentation promises. */

import { ANNOTATION } from "#api/names.ts";
import { exponentialMs } from "#base/backoff.ts";
import { fromTimestamp } from "#base/clock.ts";
import { hashHex } from "#base/hash.ts";
import { type Failure, type Seen, timestampOf } from "./seen.ts";

/** Retries after the first attempt: after 5, 10, 20, 40 and 80 s. */
export const RETRIES_MAX = 5;
const RETRY_BASE_MS = 5000;
const RETRY_LAST_MS = 80_000;
/** What cannot be mended by trying again is still tried at this pace, since its cause may be outside our sight. */
const SLOW_RETRY_MS = 300_000;

/** True when the retries are used up. */
export function isExhausted(failure: Failure | undefined): boolean {
  return failure?.retriable === true && failure.retries >= RETRIES_MAX;
}

/** True when a pod is given up: the failure was final, or the retries are used up. */
export function isGivenUp(failure: Failure | undefined): boolean {
  return failure !== undefined && (!failure.retriable || isExhausted(failure));
}

/** When the next load on the pod is due, milliseconds since the epoch. */
export function nextLoadMs(failure: Failure | undefined): number {
  if (failure === undefined) return Number.NEGATIVE_INFINITY;
  const waitMs = isGivenUp(failure)
    ? SLOW_RETRY_MS
    : exponentialMs(failure.retries, RETRY_BASE_MS, RETRY_LAST_MS);
  return failure.atMs + waitMs;
}

/** When the next unload is due: those are never given up. */
export function nextUnloadMs(failure: Failure | undefined): number {
  if (failure === undefined) return Number.NEGATIVE_INFINITY;
  return failure.atMs + exponentialMs(failure.retries, RETRY_BASE_MS, RETRY_LAST_MS);
}

/** What a failed load or unload told. */
export interface Setback {
  readonly atMs: number;
  readonly retriable: boolean;
  readonly message: string;
}

/**
 * The failure that follows `before`: a retry that fails counts one more. A pod that was given up stays so when the slow retry
 * fails as well; one whose final failure has become one worth a retry begins to count.
 */
export function failureAfter(before: Failure | undefined, now: Setback): Failure {
  if (before === undefined || !before.retriable) return { ...now, retries: 0 };
  return { ...now, retries: Math.min(before.retries + 1, RETRIES_MAX) };
}

const NAME_LENGTH_MAX = 63;
const HASH_LENGTH = 10;

/**
 * The key of a pod's retry annotation. The part after `/` may have 63 characters: a name that does not fit
 * is cut and ends in a hash of the whole, so that two long names stay apart.
 */
export function annotationKey(prefix: string, pod: string): string {
  const room = NAME_LENGTH_MAX - (prefix.length - prefix.indexOf("/") - 1);
  if (pod.length <= room) return prefix + pod;
  const kept = pod.slice(0, room - HASH_LENGTH - 1).replace(/[^a-z0-9]+$/, "");
  return `${prefix}${kept}-${hashHex(pod).slice(0, HASH_LENGTH)}`;
}

/** The failure that a previous leader wrote down for a pod, at its time of day; undefined when there is none. */
export function failureFromAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  pod: string,
): Omit<Failure, "message"> | undefined {
  const atMs = fromTimestamp(annotations?.[annotationKey(ANNOTATION.lastRetryTimePrefix, pod)]);
  if (atMs === undefined) return undefined;
  const count = Number(annotations?.[annotationKey(ANNOTATION.retryCountPrefix, pod)] ?? "0");
  const retries = Number.isInteger(count) ? Math.min(Math.max(count, 0), RETRIES_MAX) : 0;
  return { atMs, retries, retriable: true };
}

/** The retry annotations that an adapter should carry; final failures need none, they are not counted. */
export function retryAnnotations(seen: Pick<Seen, "pods" | "offsetMs">): Record<string, string> {
  const annotations: Record<string, string> = {};
  for (const { name, loadFailure: failure } of seen.pods) {
    if (failure === undefined || !failure.retriable) continue;
    annotations[annotationKey(ANNOTATION.retryCountPrefix, name)] = String(failure.retries);
    annotations[annotationKey(ANNOTATION.lastRetryTimePrefix, name)] = timestampOf(
      seen,
      failure.atMs,
    );
  }
  return annotations;
}
