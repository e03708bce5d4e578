/**
 * Figures of the controller on a real kube-apiserver with light engines: how fast adapters come and go, what that costs, and what it
 * costs when nothing happens. Prints them beside AIBrix's, and writes them to the file that is named, `bench/controller.json` otherwise.
 *
 *   node bench/controller.ts [--only <measure>] [--file <file>]
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { burst, hangingPod, oneByOne, silentLoss, spread } from "./controller/scenarios.ts";
import { World } from "./controller/world.ts";

/** AIBrix's controller (commit e3e10f9, August 2026), measured once on a machine of the same kind with the same light engines. */
const AIBRIX = {
  oneAdapterMs: "60-240",
  running200OnAll: 15,
  running200OnOne: 24,
  running1000OnAll: 116,
  running1000OnOne: 79,
  deletion1000OnAll: 49,
  deletion1000OnOne: 42,
  cpuSeconds1000OnAll: 50,
  cpuSeconds1000OnOne: 20,
  requestsPerAdapter: "5.2 / 6.1, without any Event",
  steadyCpuPercent: "32-86",
  steadyApiWritesPerSecond: "27-90",
  steadyEngineCallsPerPodAndSecond: "9-27",
  peakRssMib: 216,
  secondsToBackAfterALoss: "7-9",
  hangingPod: "the others are blocked for more than 120 s",
  spreadOf100On10Pods: "24-30 / 2-4",
};

type Measure = (world: World) => Promise<unknown>;

/** Each part has a world of its own, with so many pods. */
const PARTS: readonly { pods: number; measures: Readonly<Record<string, Measure>> }[] = [
  { pods: 3, measures: { "one by one": oneByOne } },
  {
    pods: 10,
    measures: {
      "200 on all": (world) => burst(world, "all-200", 200),
      "200 on one": (world) => burst(world, "one-200", 200, 1),
      "silent loss": silentLoss,
      "spread of 100, default": (world) => spread(world, "default"),
      "spread of 100, least-adapters": (world) => spread(world, "least-adapters"),
      "a pod hangs": hangingPod,
    },
  },
  { pods: 10, measures: { "1000 on all": (world) => burst(world, "all", 1000) } },
  { pods: 10, measures: { "1000 on one": (world) => burst(world, "one", 1000, 1) } },
  { pods: 100, measures: { "1000 on all": (world) => burst(world, "all", 1000) } },
  { pods: 100, measures: { "10000 on one": (world) => burst(world, "one", 10_000, 1) } },
];

const { values } = parseArgs({
  options: { only: { type: "string", multiple: true }, file: { type: "string" } },
});
const figures: Record<string, unknown> = { node: process.version, cpus: cpus().length };
for (const { pods, measures } of PARTS) {
  const chosen = Object.entries(measures).filter(
    ([name]) => values.only === undefined || values.only.includes(`${pods} pods, ${name}`),
  );
  if (chosen.length === 0) continue;
  const world = await World.make(pods);
  for (const [name, measure] of chosen) {
    const title = `${pods} pods, ${name}`;
    figures[title] = await measure(world);
    console.log(title, JSON.stringify(figures[title], undefined, 2));
  }
  const rss = `${pods} pods, peak RSS after ${Object.keys(measures).join(", ")}, MiB`;
  figures[rss] = Math.round(world.peakRssMib());
  console.log(rss, figures[rss]);
  await world.close();
}
if (values.only === undefined || values.file !== undefined) {
  const text = `${JSON.stringify({ ...figures, aibrix: AIBRIX }, undefined, 2)}\n`;
  writeFileSync(values.file ?? join(import.meta.dirname, "controller.json"), text);
}
process.exit();
