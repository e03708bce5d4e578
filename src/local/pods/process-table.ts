/**
 * What the operating system knows about processes: on Linux from /proc, elsewhere from `ps`.
 * A process is identified by its pid and its start time, so that a pid that was given again is
 * never mistaken for the one we started.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** Environment variable that marks every process of a container, children included. */
export const CONTAINER_MARK = "LORADOCK_CONTAINER";

/** Pid and start time, as the container's shim wrote it down. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot on Linux, the text of `ps -o lstart` elsewhere. */
  readonly startTime: string;
}

/** Field 22 of `/proc/<pid>/stat`; the name in field 2 may hold spaces and parentheses. */
export function startTimeOfStat(stat: string): string | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[19];
}

function stateOfStat(stat: string): string | undefined {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[0];
}

/** Reads what the shim wrote: the line of `/proc/<pid>/stat`, or `<pid> <lstart>`. */
export function parseIdentity(text: string): ProcessIdentity | undefined {
  const pid = Number.parseInt(text, 10);
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  const startTime = text.includes(")")
    ? startTimeOfStat(text)
    : text.slice(String(pid).length).trim();
  return startTime === undefined || startTime === "" ? undefined : { pid, startTime };
}

/** The identity of this very process, in the words that `parseIdentity` reads. */
export function ownIdentity(): string {
  if (process.platform === "linux") return readFileSync("/proc/self/stat", "utf8");
  const started = execFileSync("ps", ["-o", "lstart=", "-p", String(process.pid)]);
  return `${process.pid} ${started.toString("utf8").trim()}`;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // The process ended meanwhile, or belongs to another user.
    return undefined;
  }
}

/** True while this very process runs; a zombie counts as ended. */
export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  if (process.platform === "linux") {
    const stat = readText(`/proc/${pid}/stat`);
    if (stat === undefined || startTimeOfStat(stat) !== startTime) return false;
    return stateOfStat(stat) !== "Z" && stateOfStat(stat) !== "X";
  }
  try {
    const started = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" });
    return started.trim() === startTime;
  } catch {
    return false;
  }
}

/**
 * Pids of all processes whose mark begins with `prefix`, with their marks. Only Linux shows other
 * processes' environments; elsewhere the answer is empty and process groups have to do.
 */
export function markedProcesses(prefix: string): { pid: number; mark: string }[] {
  if (process.platform !== "linux") return [];
  const wanted = `\0${CONTAINER_MARK}=${prefix}`;
  const found: { pid: number; mark: string }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const environment = `\0${readText(`/proc/${name}/environ`) ?? ""}`;
    const at = environment.indexOf(wanted);
    if (at < 0) continue;
    const start = at + CONTAINER_MARK.length + 2;
    const end = environment.indexOf("\0", start);
    const mark = environment.slice(start, end < 0 ? undefined : end);
    found.push({ pid: Number(name), mark });
  }
  return found;
}

/** Sends a signal to a process (positive) or a process group (negative); false when there is none. */
export function sendSignal(target: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(target, signal);
    return true;
  } catch {
    return false;
  }
}
