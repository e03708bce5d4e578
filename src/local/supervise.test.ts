import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { systemClock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { type SupervisedProcess, supervise } from "./supervise.ts";

const root = mkdtempSync(join(tmpdir(), "loradock-supervise-"));
after(() => rmSync(root, { recursive: true, force: true }));
let files = 0;

/** A process that writes its pid into a file once it runs; `script` is what it does then. */
function child(
  name: string,
  script = "process.stdin.resume()",
): SupervisedProcess & { pid(): number } {
  const pidFile = join(root, `${name}-${files++}.pid`);
  writeFileSync(pidFile, "");
  const pid = () => Number(readFileSync(pidFile, "utf8"));
  const source = `require("fs").writeFileSync(${JSON.stringify(pidFile)}, String(process.pid)); ${script}`;
  return {
    name,
    command: process.execPath,
    args: ["-e", source],
    env: {},
    logFile: join(root, "logs", `${name}.log`),
    stopGraceMs: 5_000,
    ready: async (signal) => {
      await eventually(`${name} runs`, () => signal.aborted || pid() > 0);
    },
    pid,
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const deps = { clock: systemClock, log: silentLog };

describe("supervise", () => {
  it("starts in order, restarts what is killed, stops in reverse order", async () => {
    const order = join(root, "order");
    writeFileSync(order, "");
    const script = (name: string) =>
      `const say = (t) => require("fs").appendFileSync(${JSON.stringify(order)}, t);
       say("+${name} ");
       process.on("SIGTERM", () => { say("-${name} "); process.exit(0); });
       process.stdin.resume();`;
    const [api, kubelet] = [child("api", script("api")), child("kubelet", script("kubelet"))];
    const stop = new AbortController();
    let isReady = false;
    const running = supervise(
      [api, kubelet],
      {
        ...deps,
        onReady: () => {
          isReady = true;
        },
      },
      stop.signal,
    );
    await eventually("all are ready", () => isReady);
    const first = api.pid();
    process.kill(first, "SIGKILL");
    await eventually("the killed one runs again", () => api.pid() !== first && isAlive(api.pid()));
    await eventually("it has said so", () => readFileSync(order, "utf8").includes("+kubelet +api"));
    stop.abort();
    await running;
    assert.equal(readFileSync(order, "utf8"), "+api +kubelet +api -kubelet -api ");
    assert.deepEqual([isAlive(api.pid()), isAlive(kubelet.pid())], [false, false]);
  });

  it("tells the last words of a process that cannot start, and leaves none behind", async () => {
    const good = child("good");
    const bad = child(
      "bad",
      'console.error("first"); console.error("port 1 is taken"); process.exit(3)',
    );
    const never = { ...bad, ready: () => new Promise<void>(() => {}) };
    await assert.rejects(supervise([good, never], deps, new AbortController().signal), {
      name: "UserError",
      message: "bad could not start (exit code 3): port 1 is taken",
    });
    assert.equal(isAlive(good.pid()), false);
  });

  it("gives up on a process that does not become ready in time", async () => {
    const slow = {
      ...child("slow"),
      ready: (signal: AbortSignal) =>
        new Promise<void>((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
        }),
    };
    await assert.rejects(
      supervise([slow], { ...deps, startTimeoutMs: 50 }, new AbortController().signal),
      /slow did not become ready within 0 s; its log is .*slow\.log/,
    );
  });

  it("kills what does not stop", async () => {
    const stubborn = {
      ...child("stubborn", 'process.on("SIGTERM", () => {}); process.stdin.resume()'),
      stopGraceMs: 30,
    };
    const stop = new AbortController();
    await supervise([stubborn], { ...deps, onReady: () => stop.abort() }, stop.signal);
    assert.equal(isAlive(stubborn.pid()), false);
  });

  it("lets its processes notice when it is killed itself", async () => {
    const pidFile = join(root, "orphan.pid");
    writeFileSync(pidFile, "");
    const program = `
      import { supervise, parentGone } from "#local/supervise.ts";
      import { systemClock } from "#telemetry/system-clock.ts";
      import { writeFileSync } from "node:fs";
      if (process.argv[1] === "child") {
        writeFileSync(${JSON.stringify(pidFile)}, String(process.pid));
        parentGone(process.stdin).addEventListener("abort", () => process.exit(0));
      } else {
        const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
        await supervise([{
          name: "orphan", command: process.execPath,
          args: ["--input-type=module", "-e", process.env.PROGRAM, "child"],
          env: { ...process.env }, logFile: ${JSON.stringify(join(root, "orphan.log"))},
          stopGraceMs: 1000, ready: () => new Promise(() => {}),
        }], { clock: systemClock, log }, new AbortController().signal);
      }`;
    const supervisor = spawn(process.execPath, ["--input-type=module", "-e", program], {
      cwd: join(import.meta.dirname, "../.."),
      env: { ...process.env, PROGRAM: program },
      stdio: "inherit",
    });
    const pid = await eventually("the child runs", () => Number(readFileSync(pidFile, "utf8")));
    supervisor.kill("SIGKILL");
    await eventually("the child has ended too", () => !isAlive(pid));
  });
});
