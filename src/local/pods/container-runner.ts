import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import type { Clock } from "#base/clock.ts";
import type { ContainerCommand } from "./container-command.ts";
import type { ProbeVerdict } from "./container-probes.ts";
import {
  adoptProcess,
  type ContainerProcess,
  killLeftovers,
  type ProcessEnd,
  readEnd,
  startProcess,
} from "./container-process.ts";
import { keepLog } from "./log-keeper.ts";
import {
  type AttemptRecord,
  attemptFolder,
  pruneAttempts,
  readAttempts,
  writeAttempt,
} from "./pod-folder.ts";
import { type ContainerExit, type ContainerSeen, NEVER_STARTED } from "./pod-plan.ts";
import { endsInARow, type RestartBackoff } from "./restart-backoff.ts";

export interface ContainerRunnerOptions {
  readonly podFolder: string;
  readonly name: string;
  readonly shim: string;
  readonly clock: Clock;
  readonly backoff: RestartBackoff;
  /** Something that `seen` tells has changed. */
  readonly onChange: () => void;
  /**
   * Starts the probes of a running process until `signal` is aborted, which is when it has ended;
   * `known` is set for an adopted process.
   */
  readonly probe: (
    running: { readonly folder: string; readonly startedAtMs: number; readonly adopted: boolean },
    signal: AbortSignal,
  ) => () => ProbeVerdict;
}

interface Running {
  readonly process: ContainerProcess;
  readonly verdict: () => ProbeVerdict;
  readonly closeLog: () => void;
  readonly probing: AbortController;
  /** Set when it is stopped by us; ends of a kubelet that goes down do not count as crashes. */
  stop?: { readonly counts: boolean; readonly deadlineMs: number };
}

/** Why the last try to start a container failed. */
export interface Blocked {
  readonly reason: string;
  readonly message: string;
  readonly retryAtMs: number;
  /** The image that it was about: another image is worth another try. */
  readonly image: string;
}

/** One container of a pod over all its attempts, in memory and on disk. */
export class ContainerRunner {
  readonly #options: ContainerRunnerOptions;
  #records: AttemptRecord[];
  #running: Running | undefined;
  #blocked: Blocked | undefined;

  constructor(options: ContainerRunnerOptions) {
    this.#options = options;
    this.#records = readAttempts(options.podFolder, options.name);
  }

  /** Folder of the attempt, 0 the present one, 1 the one before; undefined when there is none. */
  folder(back: 0 | 1): string | undefined {
    const record = this.#records[back];
    const { podFolder, name } = this.#options;
    return record === undefined ? undefined : attemptFolder(podFolder, name, record.attempt);
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Settles when the running process has ended; at once when none runs. */
  get ended(): Promise<unknown> {
    return this.#running?.process.ended ?? Promise.resolve();
  }

  get blocked(): Blocked | undefined {
    return this.#blocked;
  }

  block(blocked: Blocked | undefined): void {
    this.#blocked = blocked;
  }

  /** Goes on with what an earlier kubelet left: takes over the process, or learns how it ended. */
  async adopt(): Promise<void> {
    const [record] = this.#records;
    const folder = this.folder(0);
    if (record === undefined || folder === undefined || record.exit !== undefined) return;
    const adopted = adoptProcess(folder, this.#options.clock);
    if (adopted !== undefined) {
      this.#watch(adopted, record, folder, true);
      return;
    }
    await killLeftovers(folder, undefined, this.#options.clock);
    const end = readEnd(folder, this.#options.clock.now());
    // Nobody was there to judge this end, so it does not count as a crash.
    this.#record({ ...record, exit: exitOf(record, end) });
  }

  /** Starts the next attempt. Rejects when the system refuses; then nothing has changed. */
  async start(command: ContainerCommand, image: string): Promise<void> {
    const { podFolder, name, clock, shim } = this.#options;
    const before = this.#records[0];
    const record: AttemptRecord = {
      attempt: (before?.attempt ?? -1) + 1,
      containerId: `loradock://${randomBytes(32).toString("hex")}`,
      image,
      startedAtMs: clock.now(),
      ends: before?.ends ?? 0,
    };
    const folder = attemptFolder(podFolder, name, record.attempt);
    rmSync(folder, { recursive: true, force: true });
    writeAttempt(folder, record);
    let process: ContainerProcess;
    try {
      process = await startProcess({ shim, folder, clock, ...command });
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    this.#records = before === undefined ? [record] : [record, before];
    this.#blocked = undefined;
    pruneAttempts(podFolder, name);
    this.#watch(process, record, folder, false);
  }

  /**
   * Stops the running process: SIGTERM, SIGKILL after `graceMs`. Called again, only a nearer
   * deadline makes a difference, as after `kubectl delete --force`. `counts` is false when the
   * kubelet goes down, which is no fault of the container.
   */
  async stop(graceMs: number, counts = true): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    const deadlineMs = this.#options.clock.now() + graceMs;
    if (running.stop === undefined || deadlineMs < running.stop.deadlineMs) {
      running.stop = { counts: running.stop?.counts ?? counts, deadlineMs };
      running.probing.abort();
      await running.process.stop(graceMs);
    } else await running.process.ended;
  }

  get isStopping(): boolean {
    return this.#running?.stop !== undefined;
  }

  /** Leaves the process running and stops to watch it, for a kubelet that ends without its pods. */
  abandon(): void {
    this.#running?.probing.abort();
    this.#running?.closeLog();
  }

  seen(): ContainerSeen {
    const [record, before] = this.#records;
    if (record === undefined) return { ...NEVER_STARTED, blocked: this.#blocked };
    const facts = {
      attempt: record.attempt,
      previous: before?.exit,
      ends: record.ends,
      image: record.image,
      blocked: this.#blocked,
    };
    const { containerId, startedAtMs, exit } = record;
    if (this.#running !== undefined) {
      const state = { kind: "running" as const, containerId, startedAtMs };
      return { ...facts, state, ...this.#running.verdict() };
    }
    const state =
      exit === undefined ? { kind: "none" as const } : { kind: "exited" as const, exit };
    return { ...facts, state, started: false, ready: false };
  }

  #watch(process: ContainerProcess, record: AttemptRecord, folder: string, adopted: boolean): void {
    const { clock, backoff, onChange, probe } = this.#options;
    const probing = new AbortController();
    const startedAtMs = record.startedAtMs;
    const running: Running = {
      process,
      probing,
      verdict: probe({ folder, startedAtMs, adopted }, probing.signal),
      closeLog: keepLog(folder, clock),
    };
    this.#running = running;
    void process.ended.then((end) => {
      this.#running = undefined;
      probing.abort();
      running.closeLog();
      const ranForMs = end.finishedAtMs - startedAtMs;
      const counts = running.stop?.counts ?? true;
      const ends = counts ? endsInARow(record.ends, ranForMs, backoff) : record.ends;
      this.#record({ ...record, ends, exit: exitOf(record, end) });
      onChange();
    });
  }

  #record(record: AttemptRecord): void {
    this.#records = [record, ...this.#records.slice(1)];
    const folder = this.folder(0);
    if (folder !== undefined) writeAttempt(folder, record);
  }
}

function exitOf(record: AttemptRecord, end: ProcessEnd): ContainerExit {
  const unknown = {
    reason: "ContainerStatusUnknown",
    message: "The container was killed together with the shell that would have told its exit code",
  };
  return {
    containerId: record.containerId,
    exitCode: end.exitCode,
    ...(end.known ? {} : unknown),
    startedAtMs: record.startedAtMs,
    finishedAtMs: end.finishedAtMs,
  };
}
