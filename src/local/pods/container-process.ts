import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import {
  CONTAINER_MARK,
  isAlive,
  markedProcesses,
  type ProcessIdentity,
  parseIdentity,
  sendSignal,
} from "./process-table.ts";

/** How often an adopted process, whose end nobody tells us, is looked at. */
const ADOPTED_POLL_MS = 250;
/** How often a stop looks whether the last process has gone. */
const STOP_POLL_MS = 20;
/** A killed process that does not go within this time waits in the kernel; we go on without it. */
const KILL_WAIT_MS = 5_000;
/** What a process leaves that was killed together with its shim, so that nobody saw its exit code. */
const EXIT_CODE_UNKNOWN = 137;

/** How a process ended, as the shim wrote it down. */
export interface ProcessEnd {
  readonly exitCode: number;
  readonly finishedAtMs: number;
  /** False when the shim was killed as well: the exit code is then 137 by convention. */
  readonly known: boolean;
}

/** One running process group of a container. */
export interface ContainerProcess {
  readonly pid: number;
  readonly ended: Promise<ProcessEnd>;
  /** SIGTERM to the group, SIGKILL after `graceMs`; resolves when nothing of it runs any more. */
  stop(graceMs: number): Promise<void>;
}

export interface StartOptions {
  readonly shim: string;
  /** Folder of this attempt: records and log live in it. */
  readonly folder: string;
  readonly argv: readonly string[];
  readonly workingDir: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly clock: Clock;
}

const readIfThere = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
};

/** The file that a container's stdout and stderr go to, below the attempt's folder. */
export const logPathOf = (folder: string) => join(folder, "log");

/** Reads how the process of an attempt ended; `known` is false when no shim lived to tell. */
export function readEnd(folder: string, nowMs: number): ProcessEnd {
  const path = join(folder, "exit");
  const exitCode = Number.parseInt(readIfThere(path) ?? "", 10);
  if (Number.isNaN(exitCode)) {
    return { exitCode: EXIT_CODE_UNKNOWN, finishedAtMs: nowMs, known: false };
  }
  return { exitCode, finishedAtMs: Math.round(statSync(path).mtimeMs), known: true };
}

/** Who runs, or ran, in an attempt's folder; undefined when its shim never came that far. */
export function readIdentity(folder: string): ProcessIdentity | undefined {
  return parseIdentity(readIfThere(join(folder, "process")) ?? "");
}

/**
 * Starts a container's command in a session of its own, under the shim, with stdout and stderr
 * appended to the log by the processes themselves: nothing of it depends on the kubelet's life.
 * Rejects when the system refuses to start it.
 */
export async function startProcess(options: StartOptions): Promise<ContainerProcess> {
  const { folder, clock } = options;
  mkdirSync(folder, { recursive: true });
  const log = openSync(logPathOf(folder), "a", 0o600);
  try {
    const child = spawn("/bin/sh", [options.shim, folder, ...options.argv], {
      cwd: options.workingDir,
      env: { ...options.environment, [CONTAINER_MARK]: folder },
      detached: true,
      stdio: ["ignore", log, log],
    });
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    child.unref();
    return handle(child.pid ?? 0, folder, exited, clock);
  } finally {
    closeSync(log);
  }
}

/** Takes over a process that an earlier kubelet started; undefined when it runs no more. */
export function adoptProcess(folder: string, clock: Clock): ContainerProcess | undefined {
  const identity = readIdentity(folder);
  if (identity === undefined || !isAlive(identity)) return undefined;
  return handle(identity.pid, folder, waitForEnd(identity, clock), clock);
}

async function waitForEnd(identity: ProcessIdentity, clock: Clock): Promise<void> {
  while (isAlive(identity)) await clock.sleep(ADOPTED_POLL_MS);
}

/** True when `promise` settles within `ms`; the timer never outlives the answer. */
async function settlesWithin(promise: Promise<unknown>, ms: number, clock: Clock) {
  let cancel = () => {};
  const timeout = new Promise<boolean>((resolve) => {
    cancel = clock.after(ms, () => resolve(false));
  });
  try {
    return await Promise.race([promise.then(() => true), timeout]);
  } finally {
    cancel();
  }
}

function handle(
  pid: number,
  folder: string,
  exited: Promise<void>,
  clock: Clock,
): ContainerProcess {
  let hasEnded = false;
  let isKilled = false;
  const ended = exited.then(async () => {
    // The shim takes its group along; what left the group, or outlived a killed shim, goes here.
    await killLeftovers(folder, pid, clock);
    hasEnded = true;
    const end = readEnd(folder, clock.now());
    return isKilled ? { ...end, known: true } : end;
  });
  return {
    pid,
    ended,
    stop: async (graceMs) => {
      if (hasEnded) return;
      if (graceMs > 0) {
        sendSignal(-pid, "SIGTERM");
        if (await settlesWithin(ended, graceMs, clock)) return;
      }
      isKilled = true;
      sendSignal(-pid, "SIGKILL");
      await settlesWithin(ended, KILL_WAIT_MS, clock);
    },
  };
}

/**
 * Kills what still runs of an attempt and waits until it is gone. `group` is its process group, for
 * systems that do not show the marks of processes.
 */
export async function killLeftovers(
  folder: string,
  group: number | undefined,
  clock: Clock,
): Promise<void> {
  if (process.platform !== "linux" && group !== undefined) sendSignal(-group, "SIGKILL");
  const deadlineMs = clock.now() + KILL_WAIT_MS;
  for (;;) {
    const leftovers = markedProcesses(folder).filter((found) => found.mark === folder);
    if (leftovers.length === 0 || clock.now() >= deadlineMs) return;
    for (const { pid } of leftovers) sendSignal(pid, "SIGKILL");
    await clock.sleep(STOP_POLL_MS);
  }
}
