/** The command `loradock`. */
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
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

/**
 * V8 lets a young generation grow to 64 MB twice and an old one to several times what is alive, as if the machine were its own. Both can
 * be set while it runs, but not by NODE_OPTIONS.
 */
const FRUGAL_HEAP = ["--semi-space-growth-factor=1", "--heap-growing-percent=40"];
if (COMMANDS.some(({ name, isFrugal }) => isFrugal === true && name === process.argv[2])) {
  for (const flag of FRUGAL_HEAP) setFlagsFromString(flag);
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
