import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { UserError } from "#base/errors.ts";
import { KubeApiError } from "#kube/client.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { runStages, type Stage } from "./progress.ts";

async function printed(stages: Stage[], clock = new ManualClock()) {
  const stdout = new PassThrough();
  const output = text(stdout);
  let error: unknown;
  try {
    await runStages(stages, { stdout, clock });
  } catch (thrown) {
    error = thrown;
  }
  stdout.end();
  return { lines: (await output).split("\n").slice(0, -1), error };
}

test("without a terminal a stage is a line, a long one also says what it waits for", async () => {
  const clock = new ManualClock();
  const { lines } = await printed(
    [
      {
        name: "quick",
        run: async (waits) => {
          waits("a moment");
          return "done";
        },
      },
      {
        name: "slow",
        run: async (waits) => {
          await clock.advance(2_000);
          for (const what of ["1/2", "1/2", "2/2"]) waits(what);
          return "done";
        },
      },
    ],
    clock,
  );
  assert.deepEqual(lines, [
    "✔ quick            done",
    "… slow             1/2",
    "… slow             2/2",
    "✔ slow             done",
  ]);
});

test("a failure names its stage and ends the walk", async () => {
  const fail = (error: Error): Stage => ({ name: "base", run: () => Promise.reject(error) });
  const never: Stage = { name: "never", run: async () => "ran" };
  const { lines, error } = await printed([fail(new UserError("no pods")), never]);
  assert.deepEqual(lines, ["✖ base"]);
  assert(error instanceof UserError && error.message === "base: no pods");
  const refused = (await printed([fail(new KubeApiError(403, "Forbidden", "not yours"))])).error;
  assert(refused instanceof UserError);
  assert.equal(refused.message, "base: the Kubernetes API refused: not yours");
  const bug = new TypeError("x");
  assert.equal((await printed([fail(bug)])).error, bug);
});
