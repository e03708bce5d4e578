import type { Clock } from "#base/clock.ts";
import type { JsonObject } from "#base/json.ts";
import type { Log } from "#telemetry/log.ts";
import { objectAt, stringAt } from "../json-access.ts";
import { ApiError } from "../registry/api-error.ts";
import type { ObjectApi, ObjectName } from "../registry/object-api.ts";

/** What the API server's own controllers work with. */
export interface ControllerDeps {
  readonly api: ObjectApi;
  readonly clock: Clock;
  readonly log: Log;
}

/** The longest pause after failures, which can only be conflicts or a full disk. */
export const BACKOFF_MAX_MS = 5_000;

/** Lets requests through between writes: everything here runs in the API server's own thread. */
export const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Namespace and name of an object. */
export function nameOf(object: JsonObject): ObjectName {
  const metadata = objectAt(object, "metadata");
  return { namespace: stringAt(metadata, "namespace"), name: stringAt(metadata, "name") };
}

/** What is gone already needs no further work. */
export function ignoreAbsence<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof ApiError && error.reason === "NotFound") return undefined;
    throw error;
  }
}
