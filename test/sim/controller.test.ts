/** The controllers over a simulated cluster: see world.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runWorld } from "./world.ts";

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
