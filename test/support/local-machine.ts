/** `loradock up` in processes of its own, with a new state folder and free ports, for end-to-end tests. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { markedProcesses } from "#local/pods/process-table.ts";
import { eventually } from "./eventually.ts";
import { freePorts, type MachinePorts } from "./free-port.ts";

export const ROOT = join(import.meta.dirname, "../..");
/** A start takes about 10 s on two cores; other work may go on beside it. */
const START_MS = 120_000;
const STOP_MS = 30_000;
/** Five retries on a pod take 155 s. */
const COMMAND_MS = 240_000;
const OUTPUT_MAX = 32 * 1024 * 1024;

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** For commands without `-n`; default: the kubeconfig's. */
  readonly namespace?: string;
}

/** A shell's output. */
export interface Said {
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder and ports on which `loradock up` can be started. */
export async function newPlace(): Promise<{ stateDir: string; ports: MachinePorts }> {
  return { stateDir: mkdtempSync(join(tmpdir(), "loradock-docs-")), ports: await freePorts() };
}

/** The flags that start `loradock up` there. */
export const placeFlags = (stateDir: string, { api, gateway, hub }: MachinePorts): string =>
  `--state-dir ${stateDir} --api-port ${api} --gateway-port ${gateway} --hub-port ${hub}`;

/** One machine, and the shell of the person who sits before it. */
export class LocalMachine {
  readonly stateDir: string;
  readonly ports: MachinePorts;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #output = "";

  private constructor(command: string, place: { stateDir: string; ports: MachinePorts }) {
    this.stateDir = place.stateDir;
    this.ports = place.ports;
    // A group of its own: a signal to it is what Ctrl-C in a terminal is.
    this.#child = spawn("bash", ["-c", command], {
      cwd: ROOT,
      env: this.#env({}),
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.#output += chunk.toString("utf8");
      });
    }
    this.#exited = once(this.#child, "close").then(([code, signal]) => code ?? signal);
  }

  /** Runs a command line that starts `loradock up`, until it says that everything runs. */
  static async start(
    command: string,
    place: { stateDir: string; ports: MachinePorts },
  ): Promise<LocalMachine> {
    const machine = new LocalMachine(command, place);
    const ended = machine.#exited.then((how) =>
      assert.fail(`'${command}' ended (${how}):\n${machine.output}`),
    );
    ended.catch(() => {});
    const isRunning = () => machine.output.includes("Ctrl-C stops");
    try {
      await Promise.race([eventually(`'${command}' runs`, isRunning, START_MS), ended]);
    } catch (error) {
      await machine.stop().catch(() => {});
      throw error;
    }
    return machine;
  }

  /** What it has printed so far. */
  get output(): string {
    return this.#output;
  }

  get gateway(): string {
    return `http://127.0.0.1:${this.ports.gateway}`;
  }

  /** Runs `bash -c command` in the checkout with KUBECONFIG set; fails when its status is not 0. */
  async sh(command: string, options: CommandOptions = {}): Promise<Said> {
    const env = this.#env(options);
    if (options.namespace !== undefined) this.#writeContext(options.namespace);
    return await new Promise((resolve, reject) => {
      execFile(
        "bash",
        ["-c", command],
        { cwd: ROOT, env, timeout: COMMAND_MS, maxBuffer: OUTPUT_MAX },
        (error, stdout, stderr) => {
          if (error === null) resolve({ stdout, stderr });
          else reject(new Error(`${command}\n${error.message}\n${stdout}\n${stderr}`));
        },
      );
    });
  }

  /** Runs a command that does not end by itself until its output matches, then interrupts it. */
  async endless(
    command: string,
    wanted: readonly RegExp[],
    options: CommandOptions = {},
  ): Promise<string> {
    if (options.namespace !== undefined) this.#writeContext(options.namespace);
    const child = spawn("bash", ["-c", command], {
      cwd: ROOT,
      env: this.#env(options),
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    let raw = "";
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        raw += chunk.toString("utf8");
        output = stripVTControlCharacters(raw);
      });
    }
    const closed = once(child, "close");
    try {
      const missing = () => wanted.filter((pattern) => !pattern.test(output));
      await eventually(
        `'${command}' prints what it should`,
        () => missing().length === 0,
        COMMAND_MS,
      ).catch((error) => {
        throw new Error(`${error.message}: ${missing().join(" and ")}\n${output}`);
      });
    } finally {
      if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, "SIGTERM");
      await closed;
    }
    return output;
  }

  /** Applies objects that no file holds. */
  async apply(objects: readonly object[]): Promise<void> {
    const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
    await this.sh(`kubectl apply -f - <<'LIST'\n${list}\nLIST`);
  }

  /** As Ctrl-C does; fails when that does not go well or a process is left. Removes the folder. */
  async stop(): Promise<void> {
    if (this.#child.pid !== undefined && this.#child.exitCode === null) {
      process.kill(-this.#child.pid, "SIGINT");
    }
    const how = await this.#exited;
    await eventually("no process is left", () => this.#processes().length === 0, STOP_MS).catch(
      (error) => assert.fail(`${error.message}\n${this.#processes().join("\n")}`),
    );
    assert.match(this.output, /Stopping; the state is kept in /);
    assert.equal(how, 0, this.output);
    rmSync(this.stateDir, { recursive: true, force: true });
  }

  /** Everything that still runs and belongs to the state folder. */
  #processes(): string[] {
    const all = execFileSync("ps", ["-A", "-o", "pid=,args="], { encoding: "utf8" }).split("\n");
    return [
      ...all.filter((line) => line.includes(this.stateDir)),
      ...markedProcesses(this.stateDir).map(({ pid, mark }) => `${pid} of ${mark}`),
    ];
  }

  #kubeconfig(namespace?: string): string {
    return join(this.stateDir, namespace === undefined ? "kubeconfig" : `kubeconfig-${namespace}`);
  }

  #writeContext(namespace: string): void {
    const config = this.#kubeconfig(namespace);
    execFileSync("bash", [
      ...["-c", 'cp "$1" "$2" && kubectl --kubeconfig "$2" config set-context --current "$3"'],
      ...["-", this.#kubeconfig(), config, `--namespace=${namespace}`],
    ]);
  }

  #env({ env, namespace }: CommandOptions): NodeJS.ProcessEnv {
    // A person's shell knows nothing of the runner that this test runs in.
    const { NODE_TEST_CONTEXT: _, ...own } = process.env;
    return { ...own, KUBECONFIG: this.#kubeconfig(namespace), ...env };
  }
}
