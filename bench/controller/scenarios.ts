/** What is measured of the controller: each takes a world in which nothing else happens. */
import { ENDPOINT_SLICES, MODEL_ADAPTERS } from "#kube/client.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import type { ApiUse, World } from "./world.ts";

const TIMEOUT_MS = 900_000;
const STEADY_MS = 20_000;
/** After a burst, until nothing of it is left to be done. */
const SETTLE_MS = 3000;
const ONE_BY_ONE = 30;
const LOSSES = 5;

const round = (value: number, digits = 2) => Number(value.toFixed(digits));
const cpuSince = (world: World, before: Readonly<Record<string, number>>) =>
  Object.fromEntries(
    Object.entries(world.cpuSeconds()).map(([name, seconds]) => [
      name,
      round(seconds - (before[name] ?? 0)),
    ]),
  );
const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

const namesOf = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

/** One adapter after another: from the request that creates it to the moment when a watch says that it runs. */
export async function oneByOne(world: World) {
  const running = new Map<string, number>();
  const stop = await world.watch(MODEL_ADAPTERS, (adapter) => {
    const name = adapter?.metadata.name ?? "";
    if (adapter?.status?.phase === "Running" && !running.has(name)) {
      running.set(name, performance.now());
    }
  });
  const tookMs: number[] = [];
  for (const name of namesOf("single", ONE_BY_ONE)) {
    const startedMs = performance.now();
    await world.declare([name], {});
    const atMs = await eventually(`${name} runs`, () => running.get(name));
    tookMs.push(atMs - startedMs);
    await clock.sleep(100);
  }
  await stop();
  await removeAll(world, namesOf("single", ONE_BY_ONE));
  return {
    medianMs: Math.round(median(tookMs)),
    worstMs: Math.round(Math.max(...tookMs)),
  };
}

/** Many at once: until all run on all pods that they should; then quiet; then all are deleted. */
export async function burst(world: World, prefix: string, count: number, replicas?: 1) {
  const names = namesOf(prefix, count);
  const wanted = replicas ?? world.hosts.length;
  const running = new Set<string>();
  const stop = await world.watch(MODEL_ADAPTERS, (adapter, key) => {
    const { phase, readyReplicas } = adapter?.status ?? {};
    if (phase === "Running" && readyReplicas === wanted) running.add(key);
  });
  const before = { cpu: world.cpuSeconds(), api: world.apiUse() };
  const startedMs = performance.now();
  await world.declare(names, replicas === undefined ? {} : { replicas });
  const declaredMs = performance.now();
  await eventually(`${count} adapters run`, () => running.size === count, TIMEOUT_MS);
  const runningMs = performance.now();
  const cpuSeconds = cpuSince(world, before.cpu);
  await stop();
  const perPod = (await world.fleet.order({ kind: "count" })).held;
  await eventually("all is told", () => isQuiet(world), TIMEOUT_MS);
  const api = world.apiUse();
  const steady = await measureSteady(world);
  const deletion = await removeAll(world, names);
  return {
    declaredSeconds: round((declaredMs - startedMs) / 1000),
    runningSeconds: round((runningMs - startedMs) / 1000),
    cpuSeconds,
    requestsPerAdapter: round((api.requests - before.api.requests) / count),
    requests: requestsPer(count, before.api, api),
    adaptersPerPod: { most: Math.max(...perPod), least: Math.min(...perPod) },
    steady,
    deletion,
  };
}

function requestsPer(count: number, before: ApiUse, after: ApiUse): Record<string, number> {
  const each = Object.entries(after.byKind).map(
    ([kind, times]) => [kind, round((times - (before.byKind[kind] ?? 0)) / count)] as const,
  );
  return Object.fromEntries(each.filter(([, times]) => times > 0));
}

async function isQuiet(world: World): Promise<boolean> {
  const { writes } = world.apiUse();
  await clock.sleep(SETTLE_MS);
  return world.apiUse().writes === writes;
}

/** What the controller costs while nothing happens. */
async function measureSteady(world: World) {
  const before = { cpu: world.cpuSeconds(), api: world.apiUse() };
  const calls = await world.fleet.order({ kind: "count" });
  await clock.sleep(STEADY_MS);
  const after = await world.fleet.order({ kind: "count" });
  const seconds = STEADY_MS / 1000;
  return {
    apiWritesPerSecond: round((world.apiUse().writes - before.api.writes) / seconds),
    engineCallsPerPodAndSecond: round((after.lists - calls.lists) / seconds / world.hosts.length),
    cpuPercent: round(((cpuSince(world, before.cpu)["controller"] ?? 0) / seconds) * 100, 1),
  };
}

async function removeAll(world: World, names: readonly string[]) {
  const present = new Set(names.map((name) => `${world.namespace}/${name}`));
  const stop = await world.watch(MODEL_ADAPTERS, (adapter, key) => {
    if (adapter === undefined) present.delete(key);
  });
  const before = { cpu: world.cpuSeconds(), api: world.apiUse() };
  const startedMs = performance.now();
  await world.remove(names);
  await eventually("all are gone", () => present.size === 0, TIMEOUT_MS);
  const seconds = (performance.now() - startedMs) / 1000;
  await stop();
  const { held } = await world.fleet.order({ kind: "count" });
  const left = held.reduce((sum, one) => sum + one, 0);
  return {
    seconds: round(seconds),
    cpuSeconds: cpuSince(world, before.cpu),
    requests: requestsPer(names.length, before.api, world.apiUse()),
    left,
  };
}

/** An engine forgets an adapter without a word: until no more requests are sent there, and until they are again. */
export async function silentLoss(world: World) {
  const [host = ""] = world.hosts;
  const all = world.hosts.length;
  const tries: { outMs: number; backMs: number }[] = [];
  let seen: { atMs: number; endpoints: number }[] = [];
  const stop = await world.watch(ENDPOINT_SLICES, (slice) => {
    seen.push({ atMs: performance.now(), endpoints: slice?.endpoints.length ?? 0 });
  });
  for (let turn = 0; turn < LOSSES; turn++) {
    const name = `lost-${turn}`;
    seen = [];
    await world.declare([name], {});
    await eventually("all serve", () => seen.at(-1)?.endpoints === all);
    // Not at the same moment of a poll each time.
    await clock.sleep(500 + 370 * turn);
    seen = [];
    const startedMs = performance.now();
    await world.fleet.order({ kind: "drop", host, adapter: name });
    const after = async (what: string, isSo: (endpoints: number) => boolean) => {
      const sight = await eventually(what, () => seen.find((one) => isSo(one.endpoints)));
      return sight.atMs - startedMs;
    };
    const outMs = await after("it is out", (endpoints) => endpoints < all);
    const backMs = await after("it is back", (endpoints) => endpoints === all);
    tries.push({ outMs, backMs });
    await removeAll(world, [name]);
  }
  await stop();
  return {
    worstSecondsToOut: round(Math.max(...tries.map(({ outMs }) => outMs)) / 1000),
    worstSecondsToBack: round(Math.max(...tries.map(({ backMs }) => backMs)) / 1000),
  };
}

/** One pod takes requests and never answers: until fifty others run on all other pods. */
export async function hangingPod(world: World) {
  const [host = ""] = world.hosts;
  await world.fleet.order({ kind: "hang", host, isHung: true });
  const names = namesOf("beside", 50);
  const running = new Set<string>();
  const stop = await world.watch(MODEL_ADAPTERS, (adapter, key) => {
    if ((adapter?.status?.readyReplicas ?? 0) >= world.hosts.length - 1) running.add(key);
  });
  const startedMs = performance.now();
  await world.declare(names, {});
  await eventually("they run beside it", () => running.size === names.length, TIMEOUT_MS);
  const seconds = (performance.now() - startedMs) / 1000;
  await stop();
  await world.fleet.order({ kind: "hang", host, isHung: false });
  const { seconds: deletionSeconds } = await removeAll(world, names);
  return { secondsFor50: round(seconds), deletionSeconds };
}

/** How even adapters of one replica lie on the pods. */
export async function spread(world: World, schedulerName: "default" | "least-adapters") {
  const names = namesOf(schedulerName, 100);
  await world.declare(names, { replicas: 1, schedulerName });
  const held = await eventually("all are loaded", async () => {
    const count = await world.fleet.order({ kind: "count" });
    return count.held.reduce((sum, one) => sum + one, 0) === names.length && count.held;
  });
  await removeAll(world, names);
  return { most: Math.max(...held), least: Math.min(...held) };
}
