/** The two API servers that suites run against: the real one, and ours as the process that users start. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { buildKube, kubeCache } from "../../scripts/kube-build.ts";
import { startKube, stopChildren } from "../../scripts/kube-stack.ts";
import { freePort } from "./ports.ts";
import { connect } from "./target.ts";

const ENTRY = join(import.meta.dirname, "../../src/main/apiserver.ts");
const START_TIMEOUT_MS = 30_000;
const POLL_MS = 50;

export interface Downtime {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface ApiServer {
  /** Of an administrator. */
  readonly kubeconfig: string;
  readonly isEmbedded: boolean;
  /** Where the real one keeps its objects. */
  readonly etcdUrl: string | undefined;
  /** What service accounts asked the real one for. */
  readonly auditLog: string | undefined;
  /** From each halt until the server was ready again, milliseconds since the epoch. */
  readonly downtimes: readonly Downtime[];
  /** Ends the server at once, as a crash does; what it holds stays. */
  halt(): Promise<void>;
  /** Starts it again on the same port. */
  resume(): Promise<void>;
  /** Ends everything, and forgets it. */
  close(): Promise<void>;
}

/** A real kube-apiserver with its etcd and garbage collector, on the first free ports from these on. */
export async function startRealApi(port: number, etcdPort: number): Promise<ApiServer> {
  const dir = mkdtempSync(join(tmpdir(), "loradock-kube-"));
  const stack = await startKube({
    programs: buildKube(kubeCache(process.env), (line) => console.error(line)),
    dir,
    port: await freePort(port),
    etcdPort: await freePort(etcdPort),
    detached: false,
  });
  const downtimes: Downtime[] = [];
  let haltedMs = 0;
  process.once("exit", () => {
    for (const child of stack.children) child.kill("SIGKILL");
  });
  return {
    kubeconfig: stack.kubeconfig,
    isEmbedded: false,
    etcdUrl: stack.etcdUrl,
    auditLog: stack.auditLog,
    downtimes,
    halt: async () => {
      haltedMs = Date.now();
      await stack.stopServer();
    },
    resume: async () => {
      await stack.startServer();
      downtimes.push({ fromMs: haltedMs, toMs: Date.now() });
    },
    close: async () => {
      await stopChildren(stack.children);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Our own, with a new state folder, on the first free port from this one on. */
export async function startEmbeddedApi(port: number): Promise<ApiServer> {
  const dir = mkdtempSync(join(tmpdir(), "loradock-apiserver-"));
  const logFile = join(dir, "log");
  const kubeconfig = join(dir, "kubeconfig");
  const address = ["--host", "127.0.0.1", "--port", String(await freePort(port))];
  let child: ChildProcess | undefined;
  const halt = async () => {
    if (child === undefined || hasEnded(child)) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  };
  const resume = async () => {
    const log = openSync(logFile, "a");
    // The real one runs without the controllers that put objects into every namespace.
    const likeness = ["--empty-namespaces", "--with-parent"];
    // It ends when the pipe of its stdin does, however this process ends.
    child = spawn(process.execPath, [ENTRY, "--state-dir", dir, ...address, ...likeness], {
      stdio: ["pipe", log, log],
    });
    closeSync(log);
    await answering(child, kubeconfig, logFile);
  };
  await resume();
  return {
    kubeconfig,
    isEmbedded: true,
    etcdUrl: undefined,
    auditLog: undefined,
    downtimes: [],
    halt,
    resume,
    close: async () => {
      await halt();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Waits for the kubeconfig that an API server writes, and for the server itself. */
async function answering(child: ChildProcess, kubeconfig: string, logFile: string): Promise<void> {
  const end = Date.now() + START_TIMEOUT_MS;
  while (!hasEnded(child) && Date.now() < end) {
    if (existsSync(kubeconfig) && (await isReady(kubeconfig))) return;
    await delay(POLL_MS);
  }
  child.kill();
  throw new Error(`the embedded API did not become ready: ${readFileSync(logFile, "utf8")}`);
}

const hasEnded = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

async function isReady(kubeconfig: string): Promise<boolean> {
  const target = await connect(kubeconfig, true);
  try {
    return (await target.get("/readyz")).status === 200;
  } catch {
    return false;
  } finally {
    await target.close();
  }
}
