/** The conformance suite against the embedded API, as the process that users start. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "./ports.ts";
import { prepare } from "./prepare.ts";
import { conformanceTests } from "./suite.ts";
import { connect, type Target } from "./target.ts";

const ENTRY = join(import.meta.dirname, "../../src/main/apiserver.ts");
const START_TIMEOUT_MS = 30_000;
const POLL_MS = 50;

const dir = mkdtempSync(join(tmpdir(), "loradock-apiserver-"));
const logFile = join(dir, "log");
const kubeconfig = join(dir, "kubeconfig");

function start(port: number): ChildProcess {
  const log = openSync(logFile, "a");
  const address = ["--host", "127.0.0.1", "--port", String(port)];
  // The real one runs without the controllers that put objects into every namespace.
  const likeness = ["--empty-namespaces", "--with-parent"];
  // It ends when the pipe of its stdin does, however this process ends.
  const child = spawn(process.execPath, [ENTRY, "--state-dir", dir, ...address, ...likeness], {
    stdio: ["pipe", log, log],
  });
  closeSync(log);
  return child;
}

async function ready(child: ChildProcess): Promise<Target> {
  const end = Date.now() + START_TIMEOUT_MS;
  while (child.exitCode === null && child.signalCode === null && Date.now() < end) {
    if (existsSync(kubeconfig)) {
      const target = await connect(kubeconfig, true);
      const answer = await target.get("/readyz").catch(() => undefined);
      if (answer?.status === 200) return target;
      await target.close();
    }
    await delay(POLL_MS);
  }
  child.kill();
  throw new Error(`the embedded API did not become ready: ${readFileSync(logFile, "utf8")}`);
}

const child = start(await freePort(16_510));
const target = await ready(child);
await prepare(target);
conformanceTests(target);

after(async () => {
  await target.close();
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, "exit");
    child.kill();
    await exited;
  }
  rmSync(dir, { recursive: true, force: true });
});
