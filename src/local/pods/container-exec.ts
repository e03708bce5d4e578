import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import type { Clock } from "#base/clock.ts";
import type { ContainerCommand } from "./container-command.ts";
import { findExecutable } from "./container-command.ts";
import { CONTAINER_MARK, sendSignal } from "./process-table.ts";

/** How much of an exec probe's output is kept. */
const OUTPUT_MAX_BYTES = 16 * 1024;

/** A further command inside a running container. */
export interface ContainerExec {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** 128 + the signal's number for a command that a signal ended. */
  readonly exitCode: Promise<number>;
  /** Ends the command and what it started. */
  kill(): void;
}

const SIGNAL_NUMBER: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/**
 * Starts `command` with the container's environment, folder and loopback. It carries the mark of the
 * container's attempt (`folder`), so that it ends with the container at the latest.
 * Throws a `UserError` when there is no such program.
 */
export function execInContainer(options: {
  readonly command: readonly string[];
  readonly container: ContainerCommand;
  readonly folder: string;
  readonly stdin: boolean;
}): ContainerExec {
  const { container } = options;
  const [program = "", ...args] = options.command.map(container.localize);
  const child: ChildProcess = spawn(findExecutable(program, container.environment["PATH"]), args, {
    argv0: program,
    cwd: container.workingDir,
    env: { ...container.environment, [CONTAINER_MARK]: options.folder },
    detached: true,
    stdio: [options.stdin ? "pipe" : "ignore", "pipe", "pipe"],
  });
  const { stdout, stderr, pid } = child;
  if (stdout === null || stderr === null) throw new Error("bug: an exec without its outputs");
  const exitCode = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    // "close" comes after the last byte of both outputs.
    child.once("close", (code, signal) =>
      resolve(code ?? 128 + (SIGNAL_NUMBER[signal ?? "SIGKILL"] ?? SIGNAL_NUMBER["SIGKILL"] ?? 0)),
    );
  });
  // A command that has gone no longer reads: what is still on its way to it is of no use.
  child.stdin?.on("error", () => {});
  return {
    stdin: child.stdin ?? undefined,
    stdout,
    stderr,
    exitCode,
    kill: () => {
      if (pid !== undefined) sendSignal(-pid, "SIGKILL");
    },
  };
}

/** Runs a command to its end or for `timeoutMs`, for exec probes. */
export async function runInContainer(
  options: Omit<Parameters<typeof execInContainer>[0], "stdin"> & {
    readonly timeoutMs: number;
    readonly clock: Clock;
  },
): Promise<{ exitCode: number | undefined; output: string }> {
  const exec = execInContainer({ ...options, stdin: false });
  const chunks: Buffer[] = [];
  let size = 0;
  const keep = (chunk: Buffer) => {
    if (size < OUTPUT_MAX_BYTES) chunks.push(chunk);
    size += chunk.length;
  };
  exec.stdout.on("data", keep);
  exec.stderr.on("data", keep);
  let hasTimedOut = false;
  const cancel = options.clock.after(options.timeoutMs, () => {
    hasTimedOut = true;
    exec.kill();
  });
  const exitCode = await exec.exitCode;
  cancel();
  return {
    exitCode: hasTimedOut ? undefined : exitCode,
    output: Buffer.concat(chunks).subarray(0, OUTPUT_MAX_BYTES).toString("utf8"),
  };
}
