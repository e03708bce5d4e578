/** Carries out what a plan says about the API: metadata, Service, EndpointSlice, status, Events. It decides nothing about adapters. */
import type { EndpointSlice, Service } from "#api/kubernetes.ts";
import type { ModelAdapter, ModelAdapterStatus } from "#api/model-adapter.ts";
import { FIELD_MANAGER, FINALIZER } from "#api/names.ts";
import { jsonEqual } from "#base/json.ts";
import { describeError } from "#base/network-error.ts";
import { eventsOf } from "#core/adapter/events.ts";
import type { Plan } from "#core/adapter/plan.ts";
import { publishedPods, type Seen } from "#core/adapter/seen.ts";
import {
  ENDPOINT_SLICES,
  isConflict,
  isNotFound,
  type KubeClient,
  keyOf,
  MODEL_ADAPTERS,
  type Resource,
  SERVICES,
} from "#kube/client.ts";
import type { EventRecorder } from "#kube/events.ts";
import type { Informer } from "#kube/informer.ts";
import type { Notes } from "./memory.ts";
import { isOurs, mendedService, mendedSlice, serviceOf, sliceOf } from "./objects.ts";

/** How long a status may wait for the rest of what is about to happen. A phase that is passed within this time shares the write of the next. */
const TOGETHER_MS = 200;

export interface ActDeps {
  readonly client: KubeClient;
  readonly adapters: Informer<ModelAdapter>;
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
  readonly events: EventRecorder;
}

/**
 * Writes the finalizer and the annotations; nothing when they are as they should be. After a write whose answer did not come the
 * cache may be older than what is written down: until a write against its version has succeeded, nothing is built on it.
 */
export async function writeMetadata(
  { client, adapters }: ActDeps,
  adapter: ModelAdapter,
  { metadata: { finalizer, annotations } }: Plan,
  notes: Notes,
  signal: AbortSignal,
): Promise<void> {
  const isSame = finalizer === undefined && Object.keys(annotations).length === 0;
  if (isSame && !notes.isUnanswered) return;
  const { namespace, name, uid, resourceVersion } = adapter.metadata;
  const others = (adapter.metadata.finalizers ?? []).filter((one) => one !== FINALIZER);
  const patch = {
    metadata: {
      uid,
      // Finalizers are a list: without the version, somebody else's could be overwritten.
      ...(finalizer === undefined && !notes.isUnanswered ? {} : { resourceVersion }),
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
      ...(finalizer === undefined
        ? {}
        : { finalizers: finalizer === "add" ? [...others, FINALIZER] : others }),
    },
  };
  const options = { fieldManager: FIELD_MANAGER, signal };
  notes.isUnanswered = true;
  const written = await client.patch(MODEL_ADAPTERS, { namespace, name }, "merge", patch, options);
  notes.isUnanswered = false;
  // An object that loses its last finalizer is gone, whatever the answer shows.
  if (finalizer !== "remove") adapters.written(written);
}

/**
 * Writes Service and EndpointSlice where they are not as they should be, or removes them; a failure is remembered for the status. What somebody
 * else wrote in the meantime is never overwritten: the watch brings it, and the next look decides.
 */
export async function publish(
  deps: ActDeps,
  seen: Seen,
  { publish: { service, slice, withdraw } }: Plan,
  notes: Notes,
  signal: AbortSignal,
): Promise<void> {
  const { adapter } = seen;
  const { client, services, slices } = deps;
  const failures: unknown[] = [];
  const write = async (kind: string, run: () => Promise<void>) => {
    try {
      await run();
    } catch (error) {
      if (isConflict(error)) return;
      failures.push(error);
      const { namespace, name } = adapter.metadata;
      notes.publishFailure = `${kind} ${namespace}/${name} could not be written: ${describeError(error)}`;
    }
  };
  notes.publishFailure = undefined;
  await Promise.all([
    service &&
      write("Service", () =>
        put(client, SERVICES, services, adapter, serviceOf(adapter), mendedService, signal),
      ),
    slice &&
      write("EndpointSlice", () =>
        put(client, ENDPOINT_SLICES, slices, adapter, sliceOf(adapter, slice), mendedSlice, signal),
      ),
    withdraw && write("Service", () => remove(client, SERVICES, services, adapter, signal)),
    withdraw &&
      write("EndpointSlice", () => remove(client, ENDPOINT_SLICES, slices, adapter, signal)),
  ]);
  if (failures.length > 0) throw failures[0];
}

/**
 * Creates the object, or mends the one that is there if it is the adapter's. Both are refused when another object has come
 * since: an apply would take it over, and would leave what others added.
 */
async function put<T extends Service | EndpointSlice>(
  client: KubeClient,
  resource: Resource<T>,
  cache: Informer<T>,
  adapter: ModelAdapter,
  wanted: T,
  mended: (present: T, wanted: T) => T,
  signal: AbortSignal,
): Promise<void> {
  const options = { fieldManager: FIELD_MANAGER, signal };
  const present = cache.get(keyOf(wanted));
  if (present !== undefined && !isOurs(adapter, present)) return;
  cache.written(
    present === undefined
      ? await client.create(resource, wanted, options)
      : await client.update(resource, mended(present, wanted), options),
  );
}

/** Deletes the object if it is the adapter's; the watch tells when it has gone. */
async function remove<T extends Service | EndpointSlice>(
  client: KubeClient,
  resource: Resource<T>,
  cache: Informer<T>,
  adapter: ModelAdapter,
  signal: AbortSignal,
): Promise<void> {
  const present = cache.get(keyOf(adapter));
  if (present === undefined || !isOurs(adapter, present)) return;
  const { uid } = present.metadata;
  try {
    await client.delete(resource, present.metadata, {
      ...(uid === undefined ? {} : { uid }),
      signal,
    });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** The pods that a plan takes out of the EndpointSlice. */
export function unpublished(seen: Seen, { publish: { slice, withdraw } }: Plan): string[] {
  const left = withdraw ? [] : slice;
  if (left === undefined) return [];
  return publishedPods(seen).filter((name) => !left.some((pod) => pod.name === name));
}

/**
 * Writes the status when it says something new and nothing is about to change it again; its Events follow.
 * Returns after how long to come back, milliseconds; undefined: nothing waits.
 */
export async function tell(
  { client, adapters, events }: ActDeps,
  seen: Seen,
  made: Plan,
  notes: Notes,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { status, selected, isMoving } = made;
  const { adapter, nowMs } = seen;
  if (status === undefined || jsonEqual(status, adapter.status)) {
    notes.draft = undefined;
    return undefined;
  }
  const { draft } = notes;
  const sinceMs = draft?.phase === status.phase ? (draft?.sinceMs ?? nowMs) : nowMs;
  notes.draft = { conditions: status.conditions ?? [], phase: status.phase, sinceMs };
  const waitMs = sinceMs + TOGETHER_MS - nowMs;
  if (isMoving && waitMs > 0) return waitMs;
  const written = await writeStatus(client, adapter, status, signal);
  if (written === undefined) return undefined;
  notes.draft = undefined;
  adapters.written(written);
  for (const { type, reason, message } of eventsOf(adapter.status, status, selected)) {
    events.record(adapter, type, reason, message);
  }
  return undefined;
}

async function writeStatus(
  client: KubeClient,
  adapter: ModelAdapter,
  status: ModelAdapterStatus,
  signal: AbortSignal,
): Promise<ModelAdapter | undefined> {
  const { namespace, name, uid } = adapter.metadata;
  const options = { fieldManager: FIELD_MANAGER, subresource: "status" as const, signal };
  try {
    const patch = { metadata: { uid }, status };
    return await client.patch(MODEL_ADAPTERS, { namespace, name }, "merge", patch, options);
  } catch (error) {
    // It is gone, and with it the need for a status.
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
