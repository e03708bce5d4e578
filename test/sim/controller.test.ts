/** The controllers over a simulated cluster: see world.ts. The long run is `npm run test:sim`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Edition } from "./edition.ts";
import { PLANTED } from "./planted-controller.ts";
import { runWorld } from "./world.ts";

const SMOKE_SEEDS = 40;
/** Within so many seeds a planted bug has to be noticed. */
const PLANTED_SEEDS = 150;

async function traceOf(seed: number): Promise<string> {
  const lines: string[] = [];
  const outcome = await runWorld(seed, { trace: (line) => lines.push(line) });
  return [...lines, JSON.stringify(outcome)].join("\n");
}

test("a seed of the simulation replays byte for byte", async () => {
  const first = await traceOf(7);
  assert(first.length > 10_000, `only ${first.length} bytes`);
  assert.equal(await traceOf(7), first);
});

test(`the controllers hold their invariants in ${SMOKE_SEEDS} simulated clusters`, async () => {
  const sum = { calls: 0, writes: 0, disturbances: 0 };
  for (let seed = 1; seed <= SMOKE_SEEDS; seed++) {
    const { finding, calls, writes, disturbances } = await runWorld(seed);
    const text = `${finding?.invariant}: ${finding?.text}; node scripts/sim.ts --trace ${seed}`;
    assert.equal(finding, undefined, `seed ${seed}: ${text}`);
    sum.calls += calls;
    sum.writes += writes;
    sum.disturbances += disturbances;
  }
  // A world in which nothing happens would prove nothing.
  assert(sum.disturbances > SMOKE_SEEDS * 10, JSON.stringify(sum));
  assert(sum.calls > SMOKE_SEEDS * 50 && sum.writes > SMOKE_SEEDS * 30, JSON.stringify(sum));
});

/** Seeds that showed a bug once, what it was, and the edition of the simulation that they were found with. */
const ONCE_WRONG: readonly (readonly [number, string, Edition?])[] = [
  [78, "a foreign Service that came in between was taken over"],
  [4, "what others added to the Service stayed"],
  [5, "an AIBrix sidecar that cannot replace was not made to unload first"],
  [16, "a deleted adapter was unloaded before requests had ceased"],
  [53, "a lost answer made a pod count as drained at once"],
  [131, "with replicas 1 a stand-in was published beside a pod that was still to be asked"],
  [162, "another version at the same path was adopted as the current one"],
  [182, "an engine with a key was not asked any more once only leftovers were on it"],
  [250, "a load that an earlier controller had begun came after the deletion and stayed"],
  [349, "the first look did not wait for the engines"],
  [559, "a Secret that the API server could not give was a final error"],
  [609, "a tombstone was carried out although the adapter had been made again meanwhile"],
  [804, "a pod with a load under way was off the record and out of sight"],
  [825, "a tombstone was let go before the load that it waited for had come"],
  [1561, "what an earlier controller could not unload was never read after one error"],
  [1889, "a Secret that had been read already counted as changed once more"],
  [2185, "a load that had been broken off came after a later one had succeeded"],
  [2290, "a tombstone waited for a namesake whose load had failed for good"],
  [2447, "what a container had before it restarted was put on record and off again"],
  [3102, "a load was built on a record that an unanswered write had replaced"],
  [4461, "a Secret that came between a load and its failure did not count as changed"],
  [2857, "a load that had been broken off was forgotten by the next controller"],
  [6039, "endpoints of ours stayed under a foreign Service"],
  [11243, "what a controller had not heard of when it began counted as known to it"],
  [11442, "a load went on where the pod was about to go"],
  [99, "a Secret that had never been read counted as changed once it was", 2],
  [1366, "a controller that led before spoke for the one that leads now", 2],
  [1564, "an engine that dropped what it had was given it again every two seconds", 2],
  [3154, "an engine whose list failed was given the same adapter every two seconds", 3],
  [3240, "many events in a short trouble made a long pause", 3],
  [5986, "writes were counted without their reasons", 2],
  [6353, "the answer to a write brought back what the watch had shown to be gone", 2],
  [8589, "an eviction cut the pause after loads that had failed short", 2],
  [6655, "an earlier version served, and the conditions said that nothing did"],
];

for (const [seed, bug, edition = 1] of ONCE_WRONG) {
  test(`simulated cluster ${seed}, where ${bug}`, async () => {
    assert.equal((await runWorld(seed, { edition })).finding, undefined);
  });
}

/** Those that show only rarely, and a seed that shows them. */
const SHOWS: Readonly<Record<string, number>> = {
  "does not write its retries down": 533,
  "fights an engine that drops what it has": 778,
  "takes over a Service of its name": 564,
  "checks its lease before the first request of a load only": 321,
  "acts on after its lease": 29,
  "takes an engine that does not answer for an empty one": 187,
};

for (const [name, bug] of Object.entries(PLANTED)) {
  test(`the simulation notices a controller that ${name}`, async () => {
    const seeds = Array.from({ length: PLANTED_SEEDS }, (_, index) => index + 1);
    for (const seed of [SHOWS[name] ?? 1, ...seeds]) {
      const { finding } = await runWorld(seed, { bug });
      if (finding === undefined) continue;
      console.log(`  seed ${seed}, ${finding.invariant}: ${finding.text.slice(0, 120)}`);
      return;
    }
    assert.fail(`not noticed in ${PLANTED_SEEDS} seeds`);
  });
}
