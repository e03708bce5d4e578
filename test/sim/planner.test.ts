import assert from "node:assert/strict";
import { test } from "node:test";
import { runPlannerWorld } from "./planner-world.ts";
import { PLANTED, plannerWith } from "./planted.ts";

const SEEDS = 300;

test(`the planner holds its invariants in ${SEEDS} disturbed worlds`, () => {
  let operations = 0;
  for (let seed = 1; seed <= SEEDS; seed++) operations += runPlannerWorld(seed).operations;
  // A world in which nothing happens would prove nothing.
  assert(operations > SEEDS * 5, `only ${operations} operations`);
});

test("a seed replays exactly", () => {
  assert.deepEqual(runPlannerWorld(7), runPlannerWorld(7));
});

for (const [name, bug] of Object.entries(PLANTED)) {
  test(`the simulation notices a planner that ${name}`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      try {
        runPlannerWorld(seed, plannerWith(bug));
      } catch (error) {
        assert(error instanceof assert.AssertionError, String(error));
        return;
      }
    }
    assert.fail(`not noticed in ${SEEDS} seeds`);
  });
}
