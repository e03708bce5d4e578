import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import type { Clock } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import { DRAIN_MS } from "#core/adapter/operations.ts";
import { nextUnloadMs } from "#core/adapter/retry.ts";
import type { Failure } from "#core/adapter/seen.ts";
import { EngineError } from "#engine/errors.ts";
import type { Log } from "#telemetry/log.ts";
import type { Inventory } from "./inventory.ts";
import { type Engines, type Place, placeOf } from "./places.ts";
import { Slots } from "./slots.ts";
import type { Tombstone, Tombstones } from "./tombstones.ts";

export interface SweeperDeps {
  readonly engines: Engines;
  readonly clock: Clock;
  readonly log: Log;
  readonly inventory: Inventory;
  readonly tombstones: Tombstones;
  readonly enableRuntimeSidecar: boolean;
  readonly podByUid: (uid: string) => Pod | undefined;
  readonly adapter: (namespace: string, name: string) => ModelAdapter | undefined;
  readonly keysOf: (
    place: Place,
    tombstone: Tombstone,
    signal: AbortSignal,
  ) => Promise<(string | undefined)[]>;
}

/** Goes through the tombstones every `pollMs`: unloads what is still there, lets go of what is settled. */
export async function runSweeper(
  deps: SweeperDeps,
  pollMs: number,
  signal: AbortSignal,
): Promise<void> {
  const failures = new Map<Tombstone, Failure>();
  const busy = new Set<Tombstone>();
  const slots = new Slots(deps.clock);
  while (!signal.aborted) {
    for (const tombstone of deps.tombstones.list()) {
      const failure = failures.get(tombstone);
      if (busy.has(tombstone) || nextUnloadMs(failure) > deps.clock.now()) continue;
      busy.add(tombstone);
      void sweep(deps, slots, tombstone, signal)
        .then(() => failures.delete(tombstone))
        .catch((error: unknown) => {
          if (signal.aborted) return;
          const retries = (failure?.retries ?? -1) + 1;
          const message = describeError(error);
          failures.set(tombstone, { atMs: deps.clock.now(), retries, retriable: true, message });
          const about = { pod: tombstone.pod, adapter: tombstone.adapter, error: message };
          deps.log.info("Error unloading a deleted adapter, will retry", about);
        })
        .finally(() => busy.delete(tombstone));
    }
    await deps.clock.sleep(pollMs, signal).catch(() => {});
  }
}

async function sweep(
  deps: SweeperDeps,
  slots: Slots,
  tombstone: Tombstone,
  signal: AbortSignal,
): Promise<void> {
  const { clock, engines, inventory, log, tombstones, enableRuntimeSidecar } = deps;
  const { namespace, adapter: name } = tombstone;
  const pod = deps.podByUid(tombstone.podUid);
  if (pod === undefined) return tombstones.remove(tombstone, signal);
  const place = placeOf(pod, tombstone.port, enableRuntimeSidecar);
  if (place === undefined) return;
  const { state } = inventory.answer(place, name);
  const isSettled = clock.now() >= (tombstone.lateLoadUntilMs ?? 0);
  if (state === "absent" && isSettled) {
    return tombstones.remove(tombstone, signal);
  }
  const heir = deps.adapter(namespace, name);
  if (heir !== undefined) {
    // An adapter of the same name was made since. It replaces or removes what is left: until it has, and nothing can come late, this says
    // that what the engine holds is not its own. While it is being deleted, it sees to it itself.
    const isAlive = heir.metadata.deletionTimestamp === undefined;
    const line = heir.status?.pods?.find((one) => one.name === pod.metadata.name);
    const isReplaced = isAlive && line?.state === "Loaded";
    if (isReplaced && isSettled) await tombstones.remove(tombstone, signal);
    return;
  }
  if (state !== "listed") return;
  // It left the EndpointSlice a moment before.
  if (clock.now() < tombstones.addedMs(tombstone) + DRAIN_MS) return;
  const untilRevived = AbortSignal.any([signal, inventory.revival(place)]);
  const run = async () => {
    const keys = await deps.keysOf(place, tombstone, signal);
    // Secrets, and those before, may have taken their time.
    if (deps.adapter(namespace, name) !== undefined) return;
    await unload(engines, place, name, keys, untilRevived);
    inventory.note(place, name, undefined);
    log.info("Unloaded a deleted adapter", { pod: pod.metadata.name, adapter: name });
  };
  await slots.run(tombstone.podUid, run, untilRevived);
}

async function unload(
  engines: Engines,
  place: Place,
  name: string,
  keys: readonly (string | undefined)[],
  signal: AbortSignal,
): Promise<void> {
  let refusal: unknown = new EngineError("Unauthorized", false, "Unauthorized: no key is known");
  for (const apiKey of keys) {
    try {
      return await engines[place.engine].unload({ url: place.url, apiKey }, name, signal);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== "Unauthorized") throw error;
      refusal = error;
    }
  }
  throw refusal;
}
