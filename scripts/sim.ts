/**
 * The controllers over simulated clusters, one after another on two threads: test/sim/world.ts.
 *
 *   npm run test:sim                     10,000 seeds, or SIM_SEEDS
 *   npm run test:sim -- 1000             the first 1,000
 *   npm run test:sim -- 1000 50001       1,000 from seed 50,001 on
 *   node scripts/sim.ts --trace 42       what happens in seed 42, line by line
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { type Outcome, runWorld } from "../test/sim/world.ts";

const THREADS = 2;
const SEEDS = 10_000;
/** Lines of a failing seed's trace that are printed; the whole of it is what --trace shows. */
const TRACE_LINES = 40;
const SHOWN_MAX = 20;
const PROGRESS_LINES = 10;

interface Range {
  readonly first: number;
  readonly last: number;
  readonly step: number;
}

async function runRange({ first, last, step }: Range, tell: (outcome: Outcome) => void) {
  for (let seed = first; seed <= last; seed += step) tell(await runWorld(seed));
}

async function trace(seed: number): Promise<boolean> {
  const { finding } = await runWorld(seed, { trace: (line) => console.log(line) });
  return finding === undefined;
}

/** Every seed of the range, and the sum of it. */
async function simulate(first: number, count: number): Promise<boolean> {
  const startedMs = performance.now();
  const failed: Outcome[] = [];
  const progress = Math.max(1, Math.round(count / PROGRESS_LINES));
  const sum = { seeds: 0, virtualMs: 0, disturbances: 0, calls: 0, writes: 0 };
  const note = (outcome: Outcome) => {
    sum.seeds++;
    sum.virtualMs += outcome.lastedMs;
    sum.disturbances += outcome.disturbances;
    sum.calls += outcome.calls;
    sum.writes += outcome.writes;
    const { finding, seed } = outcome;
    if (finding !== undefined) failed.push(outcome);
    if (finding !== undefined && failed.length <= SHOWN_MAX) {
      const when = `seed ${seed}, ${finding.atMs / 1000} s`;
      console.log(`${when}, ${finding.invariant}: ${finding.text}`);
      console.log(`  node scripts/sim.ts --trace ${seed}`);
    }
    if (sum.seeds % progress === 0) console.log(`${sum.seeds} seeds, ${failed.length} failed`);
  };
  const threads = Array.from({ length: THREADS }, (_, index) => {
    const range: Range = { first: first + index, last: first + count - 1, step: THREADS };
    const worker = new Worker(new URL(import.meta.url), { workerData: range });
    worker.on("message", note);
    return new Promise<void>((resolve, reject) => {
      worker.once("error", reject);
      worker.once("exit", () => resolve());
    });
  });
  await Promise.all(threads);
  const { user, system } = process.cpuUsage();
  const cpuS = Math.round((user + system) / 1e6);
  const wallS = Math.round((performance.now() - startedMs) / 1000);
  const hours = Math.round(sum.virtualMs / 3_600_000);
  console.log(
    `${sum.seeds} seeds, ${hours} virtual hours, ${sum.disturbances} disturbances, ${sum.calls} engine calls, ${sum.writes} API writes; ${cpuS} s of CPU, ${wallS} s`,
  );
  const [worst] = failed.sort((a, b) => a.lastedMs - b.lastedMs);
  if (worst !== undefined) {
    const lines: string[] = [];
    await runWorld(worst.seed, { trace: (line) => lines.push(line) });
    console.log(`\nThe end of seed ${worst.seed} (node scripts/sim.ts --trace ${worst.seed}):\n`);
    console.log(lines.slice(-TRACE_LINES).join("\n"));
  }
  console.log(`\n${sum.seeds - failed.length} passed, ${failed.length} failed`);
  return failed.length === 0 && sum.seeds === count;
}

if (isMainThread) {
  const [what, second] = process.argv.slice(2);
  const isFine =
    what === "--trace"
      ? await trace(Number(second))
      : await simulate(Number(second ?? 1), Number(what ?? process.env["SIM_SEEDS"] ?? SEEDS));
  process.exit(isFine ? 0 : 1);
} else {
  await runRange(workerData as Range, (outcome) => parentPort?.postMessage(outcome));
}
