/** The command `loradock`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runCli } from "#cli/cli.ts";
import { COMMANDS } from "#cli/commands.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { runProcess } from "./process.ts";

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
  await runCli(COMMANDS, process.argv.slice(2), version, context);
  return context.exitCode;
});
