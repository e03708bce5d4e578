/** What the benches start, and what it costs. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { freePort } from "#test/support/free-port.ts";

const root = join(import.meta.dirname, "..");
const run = promisify(execFile);
/** Of the kernel's clock in /proc. */
const TICK_MS = 10;
const POLL_MS = 2;

export interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** CPU that a running process has had. */
function cpuSecondsOf(pid: number): number {
  const [, fields = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
  const [user = 0, system = 0] = fields.split(" ").slice(11, 13).map(Number);
  return ((user + system) * TICK_MS) / 1000;
}

/** VmRSS: now; VmHWM: at most so far. */
function mebibytesOf(pid: number, key: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
}

/** Runs a command to its end. */
export async function costOf(command: string, args: string[], env: object): Promise<Cost> {
  const startedAt = performance.now();
  const timed = ["-c", 'TIMEFORMAT="%U %S"; time "$@" > /dev/null', "bash", command, ...args];
  const { stderr } = await run("bash", timed, { env: { ...process.env, ...env } });
  const [user = 0, system = 0] = (stderr.trim().split("\n").at(-1) ?? "").split(" ").map(Number);
  return { seconds: (performance.now() - startedAt) / 1000, cpuSeconds: user + system };
}

export interface Store {
  readonly http: string;
  readonly https: string;
  /** File of the authority behind https. */
  readonly caFile: string;
  readonly ca: string;
  stop(): void;
}

/** bench/store-server.ts with adapters of these sizes. */
export async function startStore(sizes: Record<string, number>): Promise<Omit<Store, "caFile">> {
  const script = join(root, "bench/store-server.ts");
  const child = spawn(process.execPath, [script, JSON.stringify(sizes)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    return { ...JSON.parse(line), stop: () => void child.kill("SIGKILL") };
  }
  throw new Error("the store ended");
}

/** A sidecar, as it runs in a pod. */
export class Sidecar {
  readonly startMs: number;
  readonly #child: ChildProcess;
  readonly #pid: number;
  readonly #url: string;
  readonly #folder: string;

  static async start(env: Record<string, string>): Promise<Sidecar> {
    const folder = mkdtempSync(join(tmpdir(), "loradock-bench-"));
    const port = await freePort();
    const startedAt = performance.now();
    const args = [join(root, "bin/aibrix_runtime"), "--host", "127.0.0.1", "--port", `${port}`];
    const child = spawn(process.execPath, args, {
      stdio: "ignore",
      env: {
        ...process.env,
        AIBRIX_ADAPTER_DIR: join(folder, "adapters"),
        AIBRIX_CREDENTIALS_DIR: join(folder, "credentials"),
        ARTIFACT_HTTP_ALLOW_PRIVATE: "1",
        AWS_EC2_METADATA_DISABLED: "true",
        ...env,
      },
    });
    const url = `http://127.0.0.1:${port}`;
    while ((await fetch(`${url}/healthz`).catch(() => undefined))?.ok !== true) {
      if (child.exitCode !== null) throw new Error(`the sidecar ended with ${child.exitCode}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return new Sidecar(child, url, folder, performance.now() - startedAt);
  }

  private constructor(child: ChildProcess, url: string, folder: string, startMs: number) {
    this.#child = child;
    this.#pid = child.pid ?? 0;
    this.#url = url;
    this.#folder = folder;
    this.startMs = startMs;
  }

  get rssMib(): number {
    return mebibytesOf(this.#pid, "VmRSS");
  }

  get peakMib(): number {
    return mebibytesOf(this.#pid, "VmHWM");
  }

  /** What the sidecar spends until `work` is done. */
  async measure(work: () => Promise<unknown>): Promise<Cost> {
    const [startedAt, cpuBefore] = [performance.now(), cpuSecondsOf(this.#pid)];
    await work();
    const seconds = (performance.now() - startedAt) / 1000;
    return { seconds, cpuSeconds: cpuSecondsOf(this.#pid) - cpuBefore };
  }

  get(path: string): Promise<Response> {
    return fetch(this.#url + path);
  }

  async #post(path: string, body: object): Promise<void> {
    const answer = await fetch(this.#url + path, { method: "POST", body: JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
  }

  load(name: string, artifactUrl: string): Promise<void> {
    return this.#post("/v1/lora_adapter/load", { lora_name: name, artifact_url: artifactUrl });
  }

  unload(name: string): Promise<void> {
    return this.#post("/v1/lora_adapter/unload", { lora_name: name });
  }

  /** Waits until nothing goes on any more: files are hashed for the cache behind a load. */
  async rest(): Promise<void> {
    for (let before = -1, now = 0; before !== now; ) {
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 200));
      now = cpuSecondsOf(this.#pid);
    }
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exited;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
