/** The command `loradock`, and what the images call `/manager` and `aibrix_runtime`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type CommandEntry, runCli } from "#cli/cli.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { runProcess } from "./process.ts";

const entries: CommandEntry[] = [
  {
    name: "controller",
    summary: "run the ModelAdapter controller",
    load: async () => (await import("#cli/commands/controller.ts")).controllerCommand,
  },
];

const manifest = join(import.meta.dirname, "..", "..", "package.json");
const version: string = JSON.parse(readFileSync(manifest, "utf8")).version;

await runProcess("loradock", async (signal) => {
  const context = {
    env: process.env,
    signal,
    clock: systemClock,
    stdout: process.stdout,
    stderr: process.stderr,
    cwd: process.cwd(),
    exitCode: 0,
  };
  await runCli(entries, process.argv.slice(2), version, context);
  return context.exitCode;
});
