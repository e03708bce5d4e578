/** The controllers over a simulated cluster: see world.ts. The long run is `npm run test:sim`. */
import assert from "node:assert/strict";
import { test } from "node:test";
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

/** Those that show only rarely, and a seed that shows them. */
const SHOWS: Readonly<Record<string, number>> = {
  "does not write its retries down": 83,
  "takes over a Service of its name": 78,
  "takes an unload for done that failed": 89,
  "acts on after its lease": 29,
  "takes an engine that does not answer for an empty one": 22,
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
