/**
 * Figures of the single machine: how long a first and a second start take to an adapter's first token,
 * how long an adapter takes from `kubectl apply` to Running and to its first token, how long fifty take,
 * what each process needs in memory and CPU, and how large the code is. Prints them and writes them
 * to the file that is named, `bench/walk.json` otherwise: `node bench/walk.ts [file]`.
 */
import { execFile, execFileSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { type KubeClient, MODEL_ADAPTERS } from "#kube/client.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { freePorts, type MachinePorts } from "#test/support/free-port.ts";
import { type Machine, machineClient, startMachine } from "#test/support/machine-process.ts";

const root = join(import.meta.dirname, "..");
const run = promisify(execFile);
const ADAPTERS = 10;
const MANY = 50;
const PODS = 3;
const BASE = "qwen-coder-1-5b-instruct";
const REPOSITORIES = ["sql", "shout", "pirate"].map((name) => `loradock/tiny-${name}-lora`);
const TIMEOUT_MS = 120_000;
const IDLE_MS = 20_000;
const TOKEN_POLL_MS = 10;

const stateDir = mkdtempSync(join(tmpdir(), "loradock-bench-"));
const ports: MachinePorts = await freePorts();

/** The first piece of text that a model streams; undefined while it does not answer. */
async function firstToken(model: string): Promise<string | undefined> {
  const response = await fetch(`http://127.0.0.1:${ports.gateway}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, prompt: "Paris is a", max_tokens: 1, temperature: 0 }),
  }).catch(() => undefined);
  if (response?.ok !== true) {
    await response?.arrayBuffer().catch(() => undefined);
    return undefined;
  }
  const { choices } = (await response.json()) as { choices?: { text?: string }[] };
  return choices?.[0]?.text;
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const endMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const seen = await look();
    if (seen !== undefined) return seen;
    if (performance.now() > endMs) throw new Error(`not within ${TIMEOUT_MS} ms: ${what}`);
    await clock.sleep(TOKEN_POLL_MS);
  }
}

const secondsSince = (startMs: number) => (performance.now() - startMs) / 1000;
const round = (value: number, digits = 2) => Number(value.toFixed(digits));
const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** Starts the machine with its sample; also tells when the first adapter gave its first token. */
async function start(): Promise<{ machine: Machine; firstTokenSeconds: number }> {
  const startMs = performance.now();
  const machine = startMachine(stateDir, ports);
  const running = machine.running();
  running.catch(() => {});
  const token = until("the first token of an adapter", () => firstToken("sql-lora"));
  // A machine that cannot start would never answer.
  await Promise.race([token, running.then(() => token)]);
  const firstTokenSeconds = secondsSince(startMs);
  await running;
  return { machine, firstTokenSeconds };
}

async function stop({ child, exited, output }: Machine): Promise<void> {
  child.kill("SIGTERM");
  if ((await exited) !== 0) throw new Error(output());
}

function adapterObject(name: string, index: number): ModelAdapter {
  return {
    apiVersion: "model.aibrix.ai/v1alpha1",
    kind: "ModelAdapter",
    metadata: { name, namespace: "default" },
    spec: {
      baseModel: BASE,
      schedulerName: "default",
      podSelector: { matchLabels: { "model.aibrix.ai/name": BASE } },
      artifactURL: `huggingface://${REPOSITORIES[index % REPOSITORIES.length]}`,
    },
  };
}

/** `kubectl apply -f` of these; resolves when kubectl has ended. */
async function apply(objects: readonly ModelAdapter[]): Promise<void> {
  const file = join(stateDir, `${objects[0]?.metadata.name}.json`);
  writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
  await run("kubectl", ["--kubeconfig", join(stateDir, "kubeconfig"), "apply", "-f", file]);
}

/** When a watch told of each adapter that it runs on all pods, by name. */
class RunningTimes {
  readonly atMs = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  constructor(client: KubeClient) {
    this.#watching = this.#watch(client).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) throw error;
    });
  }

  async #watch(client: KubeClient): Promise<void> {
    const options = { namespace: "default", allowWatchBookmarks: true };
    while (!this.#stop.signal.aborted) {
      for await (const { object, type } of client.watch(
        MODEL_ADAPTERS,
        options,
        this.#stop.signal,
      )) {
        if (type !== "ADDED" && type !== "MODIFIED") continue;
        const { name } = object.metadata;
        const isRunning =
          object.status?.phase === "Running" && object.status.readyReplicas === PODS;
        if (isRunning && !this.atMs.has(name)) this.atMs.set(name, performance.now());
      }
    }
  }

  of(name: string): Promise<number> {
    return until(`${name} runs`, async () => this.atMs.get(name));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }
}

/** One adapter after the other, engines warm. */
async function measureAdapters(times: RunningTimes) {
  const measured: { created: number; running: number; token: number }[] = [];
  for (let i = 0; i < ADAPTERS; i++) {
    const name = `bench-${i}-lora`;
    const startMs = performance.now();
    const token = until(`${name} answers`, () => firstToken(name)).then(() => performance.now());
    await apply([adapterObject(name, i)]);
    const createdMs = performance.now();
    const [runningAt, tokenAt] = [await times.of(name), await token];
    measured.push({
      created: (createdMs - startMs) / 1000,
      running: (runningAt - startMs) / 1000,
      token: (tokenAt - startMs) / 1000,
    });
  }
  const of = (key: "created" | "running" | "token") => round(median(measured.map((m) => m[key])));
  return {
    medianOf: ADAPTERS,
    secondsToKubectlsEnd: of("created"),
    secondsToRunning: of("running"),
    secondsToFirstToken: of("token"),
  };
}

async function measureMany(times: RunningTimes) {
  const objects = Array.from({ length: MANY }, (_, i) => adapterObject(`many-${i}-lora`, i));
  const startMs = performance.now();
  await apply(objects);
  const appliedSeconds = secondsSince(startMs);
  const ends = await Promise.all(objects.map(({ metadata }) => times.of(metadata.name)));
  return {
    adapters: MANY,
    secondsToKubectlsEnd: round(appliedSeconds),
    secondsToAllRunning: round((Math.max(...ends) - startMs) / 1000),
  };
}

// ---- processes

/** What each process is, by its command line. */
const ROLES: readonly (readonly [string, RegExp])[] = [
  ["supervisor", /bin\/loradock up /],
  ["Kubernetes API", /apiserver\.ts /],
  ["kubelet", /kubelet\.ts /],
  ["controller", /loradock\.ts controller /],
  ["gateway", /loradock\.ts gateway /],
  ["hub", /loradock\.ts hub /],
  ["sidecar", /loradock\.ts runtime /],
  ["engine", /engine\.ts serve /],
];

interface Use {
  readonly rssMib: number;
  readonly cpuSeconds: number;
}

const TICKS_PER_SECOND = 100;

/** `ps` knows whole seconds only; NaN where there is no /proc. */
function cpuSecondsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return Number.NaN;
  }
}

/** The processes of this machine alone: the supervisor, its children, and theirs. */
function processes(supervisor: number): { role: string; use: Use }[] {
  const table = execFileSync("ps", ["-A", "-o", "pid=,ppid=,rss=,args="], {
    encoding: "utf8",
  });
  const rows = table.split("\n").flatMap((line) => {
    const match = /^ *(\d+) +(\d+) +(\d+) (.*)$/.exec(line);
    if (match === null) return [];
    const [, pid, parent, rss, args = ""] = match;
    return [{ pid: Number(pid), parent: Number(parent), rss: Number(rss), args }];
  });
  const ours = new Set([supervisor]);
  for (let size = 0; size < ours.size; ) {
    size = ours.size;
    for (const { pid, parent } of rows) if (ours.has(parent)) ours.add(pid);
  }
  return rows
    .filter(({ pid }) => ours.has(pid))
    .flatMap(({ pid, args, rss }) => {
      const role = ROLES.find(([, pattern]) => pattern.test(args))?.[0];
      if (role === undefined || args.startsWith("/bin/sh ")) return [];
      return [{ role, use: { rssMib: rss / 1024, cpuSeconds: cpuSecondsOf(pid) } }];
    });
}

/** Memory of one process of each role, and the CPU that all of a role take while nothing happens. */
async function measureIdle(machine: Machine) {
  const pid = machine.child.pid ?? 0;
  const before = processes(pid);
  await clock.sleep(IDLE_MS);
  const after = processes(pid);
  const sum = (all: typeof before, role: string) =>
    all.filter((one) => one.role === role).reduce((total, { use }) => total + use.cpuSeconds, 0);
  const seconds = IDLE_MS / 1000;
  return Object.fromEntries(
    ROLES.map(([role]) => {
      const found = after.filter((one) => one.role === role);
      const rss = found.map(({ use }) => Math.round(use.rssMib));
      const cpu = (sum(after, role) - sum(before, role)) / seconds;
      return [role, { processes: found.length, rssMib: median(rss), cpuShare: round(cpu, 3) }];
    }),
  );
}

// ---- code

function linesByRoom(): Record<string, number> {
  const rooms: Record<string, number> = {};
  let total = 0;
  for (const path of globSync("src/**/*.ts", { cwd: root }).sort()) {
    if (path.endsWith(".test.ts")) continue;
    const room = path.split("/")[1] ?? "";
    const lines = readFileSync(join(root, path), "utf8").split("\n").length - 1;
    rooms[room] = (rooms[room] ?? 0) + lines;
    total += lines;
  }
  return { ...rooms, total };
}

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const first = await start();
await stop(first.machine);
const second = await start();
const client = await machineClient(stateDir);
const idle = await measureIdle(second.machine);
const times = new RunningTimes(client);
const oneByOne = await measureAdapters(times);
const many = await measureMany(times);
await times.stop();
const idleWithMany = await measureIdle(second.machine);
await client.close();
await stop(second.machine);
rmSync(stateDir, { recursive: true, force: true });

const figures = {
  node: process.version,
  cpus: cpus().length,
  start: {
    firstSecondsToAdaptersToken: round(first.firstTokenSeconds, 1),
    secondSecondsToAdaptersToken: round(second.firstTokenSeconds, 1),
  },
  oneByOne,
  many,
  idleWith3Adapters: idle,
  [`idleWith${3 + ADAPTERS + MANY}Adapters`]: idleWithMany,
  linesByRoom: linesByRoom(),
  runtimeDependencies: Object.keys(manifest.dependencies).length,
};
const text = `${JSON.stringify(figures, null, 2)}\n`;
console.log(text);
writeFileSync(process.argv[2] ?? join(root, "bench/walk.json"), text);
