/** The command `loradock`. */
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { runCli } from "#cli/cli.ts";
import { COMMANDS } from "#cli/commands.ts";
import { parentGone } from "#local/supervise.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { runProcess } from "./process.ts";

const manifest = join(import.meta.dirname, "..", "..", "package.json");
const version: string = JSON.parse(readFileSync(manifest, "utf8")).version;

/** Aborted when the launcher that runs under another Node has gone; `bin/loradock` tells where that shows. */
function launcherGone(): AbortSignal[] {
  const fd = Number(process.env["LORADOCK_LAUNCHER_FD"] ?? "");
  // Not for the processes that this one starts.
  delete process.env["LORADOCK_LAUNCHER_FD"];
  return fd > 2 ? [parentGone(new Socket({ fd, readable: true, writable: false }).unref())] : [];
}

await runProcess("loradock", async (signal) => {
  const context = {
    env: process.env,
    signal: AbortSignal.any([signal, ...launcherGone()]),
    clock: systemClock,
    stdout: process.stdout,
    stderr: process.stderr,
    cwd: process.cwd(),
    exitCode: 0,
  };
  await runCli(COMMANDS, process.argv.slice(2), version, context);
  return context.exitCode;
});
