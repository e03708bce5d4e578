import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readSync, statSync, truncateSync } from "node:fs";
import { dirname } from "node:path";
import { abortReason } from "#base/abort.ts";
import { exponentialMs } from "#base/backoff.ts";
import type { Clock } from "#base/clock.ts";
import { messageOf, UserError } from "#base/errors.ts";
import type { Log } from "#telemetry/log.ts";

/** A process that has to run for as long as its supervisor does. */
export interface SupervisedProcess {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Takes its stdout and stderr. */
  readonly logFile: string;
  /** Resolves once the process does its work; rejects when `signal` is aborted. */
  readonly ready: (signal: AbortSignal) => Promise<void>;
  /** How long it may take to end after SIGTERM before it is killed. */
  readonly stopGraceMs: number;
}

export interface SuperviseOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Called once, when all processes are ready. */
  readonly onReady?: () => void;
  /** How long a process may take to become ready the first time; default 60 s. */
  readonly startTimeoutMs?: number;
}

const START_TIMEOUT_MS = 60_000;
const BACKOFF_BASE_MS = 200;
const BACKOFF_MAX_MS = 10_000;
/** A process that ran this long has recovered. */
const RECOVERED_MS = 30_000;
/** A log beyond this size begins anew at the next start of its process. */
const LOG_SIZE_MAX_BYTES = 10 * 1024 * 1024;
/** How much of a log is looked through for the last words of a process. */
const LAST_WORDS_BYTES = 4 * 1024;

/**
 * Starts processes one after the other, each when the one before is ready, and starts those again
 * that end, until `signal` is aborted; then stops them in reverse order and resolves when none is
 * left. A process that ends before it was ever ready is a failure: rejects with a `UserError` that
 * carries its last words, after the others were stopped.
 *
 * Each process has a session of its own, so that Ctrl-C reaches only the supervisor, and a pipe as
 * its stdin: when the supervisor is killed, the pipe ends, and the process notices (`parentGone`).
 */
export async function supervise(
  processes: readonly SupervisedProcess[],
  options: SuperviseOptions,
  signal: AbortSignal,
): Promise<void> {
  const running: Supervised[] = [];
  try {
    for (const process of processes) {
      const supervised = new Supervised(process, options);
      running.push(supervised);
      await supervised.start(signal);
    }
    options.onReady?.();
    await aborted(signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    for (const supervised of running.reverse()) await supervised.stop();
  }
}

/** Aborted when whoever holds the other end of `input` has gone; for supervised processes. */
export function parentGone(input: NodeJS.ReadableStream): AbortSignal {
  const gone = new AbortController();
  const end = () => gone.abort(new DOMException("the supervisor has gone", "AbortError"));
  input.once("end", end);
  input.once("close", end);
  input.once("error", end);
  input.resume();
  return gone.signal;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

class Supervised {
  readonly #process: SupervisedProcess;
  readonly #options: SuperviseOptions;
  readonly #stopping = new AbortController();
  #child: ChildProcess | undefined;
  #keeping: Promise<void> | undefined;

  constructor(process: SupervisedProcess, options: SuperviseOptions) {
    this.#process = process;
    this.#options = options;
  }

  /** Resolves when the process is ready for the first time; from then on it is kept running. */
  async start(signal: AbortSignal): Promise<void> {
    const { name, logFile, ready } = this.#process;
    const { clock, startTimeoutMs = START_TIMEOUT_MS } = this.#options;
    const waiting = new AbortController();
    const giveUp = () => waiting.abort(abortReason(signal));
    signal.addEventListener("abort", giveUp, { once: true });
    const cancel = clock.after(startTimeoutMs, () =>
      waiting.abort(
        new UserError(
          `${name} did not become ready within ${Math.round(startTimeoutMs / 1000)} s; its log is ${logFile}`,
        ),
      ),
    );
    const sizeBefore = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
    const ended = this.#launch();
    const died = ended.then((how) => {
      const words = lastWords(logFile, sizeBefore);
      throw new UserError(`${name} could not start (${how})${words === "" ? "" : `: ${words}`}`);
    });
    try {
      await Promise.race([
        ready(waiting.signal).catch((error: unknown) => {
          throw waiting.signal.aborted ? abortReason(waiting.signal) : error;
        }),
        died,
      ]);
    } finally {
      cancel();
      waiting.abort();
      signal.removeEventListener("abort", giveUp);
      died.catch(() => {});
    }
    this.#keeping = this.#keep(ended);
  }

  async #keep(first: Promise<string>): Promise<void> {
    const { clock, log } = this.#options;
    const { name } = this.#process;
    let ended = first;
    let startedMs = clock.now();
    let failures = 0;
    for (;;) {
      const how = await ended;
      if (this.#stopping.signal.aborted) return;
      failures = clock.now() - startedMs >= RECOVERED_MS ? 0 : failures + 1;
      const pauseMs = exponentialMs(Math.max(0, failures - 1), BACKOFF_BASE_MS, BACKOFF_MAX_MS);
      log.warn("Process ended, starting it again", { process: name, how, pauseMs });
      try {
        await clock.sleep(pauseMs, this.#stopping.signal);
      } catch {
        return;
      }
      startedMs = clock.now();
      ended = this.#launch();
    }
  }

  /** Starts the process; the promise tells how it ended and never rejects. */
  #launch(): Promise<string> {
    const { command, args, env, logFile } = this.#process;
    mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
    const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
    if (size > LOG_SIZE_MAX_BYTES) truncateSync(logFile, 0);
    const output = openSync(logFile, "a", 0o600);
    const child = spawn(command, [...args], {
      env: { ...env },
      detached: true,
      stdio: ["pipe", output, output],
    });
    closeSync(output);
    // The pipe is only there to end.
    child.stdin?.on("error", () => {});
    this.#child = child;
    return new Promise((resolve) => {
      child.once("error", (error) => resolve(messageOf(error)));
      child.once("exit", (code, signal) =>
        resolve(signal === null ? `exit code ${code}` : `signal ${signal}`),
      );
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
      await this.#keeping;
      return;
    }
    if (child.pid === undefined) return;
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGTERM");
    const cancel = this.#options.clock.after(this.#process.stopGraceMs, () => {
      this.#options.log.warn("Process did not stop in time, killing it", {
        process: this.#process.name,
      });
      child.kill("SIGKILL");
    });
    await exited;
    cancel();
    await this.#keeping;
  }
}

/** The last line that a process wrote since its log had `sizeBefore` bytes; empty when there is none. */
export function lastWords(logFile: string, sizeBefore: number): string {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  const start = Math.max(size < sizeBefore ? 0 : sizeBefore, size - LAST_WORDS_BYTES);
  if (size <= start) return "";
  const file = openSync(logFile, "r");
  const bytes = Buffer.alloc(size - start);
  readSync(file, bytes, 0, bytes.length, start);
  closeSync(file);
  return bytes.toString("utf8").trim().split("\n").at(-1) ?? "";
}
