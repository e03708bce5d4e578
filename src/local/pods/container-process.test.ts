import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { systemClock } from "#telemetry/system-clock.ts";
import {
  adoptProcess,
  type ContainerProcess,
  logPathOf,
  readIdentity,
  startProcess,
} from "./container-process.ts";
import { writePrograms } from "./container-shim.ts";
import { isAlive, markedProcesses, parseIdentity, startTimeOfStat } from "./process-table.ts";

const BOUND_MS = 10_000;

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + BOUND_MS;
  while (!condition()) {
    assert.ok(Date.now() < deadlineMs, `in time: ${what}`);
    await systemClock.sleep(10);
  }
}

describe("container processes", () => {
  const root = mkdtempSync(join(tmpdir(), "loradock-process-"));
  const { shim } = writePrograms({
    stateDir: root,
    entries: "/none",
    node: process.execPath,
    without: [],
  });
  let attempts = 0;
  after(() => rmSync(root, { recursive: true, force: true }));

  async function start(script: string, environment: Record<string, string> = {}) {
    const folder = join(root, "pods", "u", String(attempts++));
    mkdirSync(folder, { recursive: true });
    const started = await startProcess({
      shim,
      folder,
      argv: ["/bin/sh", "-c", script],
      workingDir: root,
      environment: { PATH: "/usr/bin:/bin", ...environment },
      clock: systemClock,
    });
    return { folder, process: started, log: () => readFileSync(logPathOf(folder), "utf8") };
  }

  const exitCodeOf = async (process: ContainerProcess) => (await process.ended).exitCode;

  it("keeps both outputs and the exit code", async () => {
    const { process, log, folder } = await start('echo "out $X"; echo err >&2; exit 7', { X: "1" });
    const end = await process.ended;
    assert.deepEqual([end.exitCode, end.known], [7, true]);
    assert.equal(log(), "out 1\nerr\n");
    assert.equal(readIdentity(folder)?.pid, process.pid);
  });

  it("stops with SIGTERM and lets the container choose its exit code", async () => {
    const { process, log } = await start(
      "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done",
    );
    await until("it is up", () => log() === "up\n");
    await process.stop(BOUND_MS);
    assert.equal(await exitCodeOf(process), 3);
    assert.match(log(), /^up\n(?:Terminated\n)?bye\n$/);
  });

  it("counts a container that SIGTERM ended as 143, without words of the shell in its log", async () => {
    const { process, log } = await start("echo up; exec sleep 100");
    await until("it is up", () => log() === "up\n");
    await process.stop(BOUND_MS);
    assert.equal(await exitCodeOf(process), 143);
    assert.equal(log(), "up\n");
  });

  it("kills what ignores SIGTERM after the grace period", async () => {
    const { process, log } = await start("trap '' TERM; echo up; while :; do sleep 0.05; done");
    await until("it is up", () => log() === "up\n");
    await process.stop(50);
    const end = await process.ended;
    assert.deepEqual([end.exitCode, end.known], [137, true]);
  });

  it("leaves no process behind, not even one that went into a session of its own", async () => {
    const { process, folder } = await start("setsid sleep 100 & sleep 100 & sleep 0.05; exit 0");
    assert.equal(await exitCodeOf(process), 0);
    assert.deepEqual(markedProcesses(folder), []);
  });

  it("adopts a running process and learns its exit code", async () => {
    execFileSync("mkfifo", [join(root, "fifo")]);
    const { folder, process, log } = await start("echo up; read line < $FIFO; exit 5", {
      FIFO: join(root, "fifo"),
    });
    await until("it has written who it is", () => readIdentity(folder) !== undefined);
    const adopted = adoptProcess(folder, systemClock);
    assert.equal(adopted?.pid, process.pid);
    execFileSync("/bin/sh", ["-c", `echo go > ${join(root, "fifo")}`]);
    assert.equal(await exitCodeOf(adopted as ContainerProcess), 5);
    assert.equal(log(), "up\n");
    assert.equal(adoptProcess(folder, systemClock), undefined);
  });

  it("says that the exit code is not known when the shim was killed too", async () => {
    const { process: started, log } = await start("echo up; exec sleep 100");
    await until("it is up", () => log() === "up\n");
    process.kill(started.pid, "SIGKILL");
    const end = await started.ended;
    assert.deepEqual([end.exitCode, end.known], [137, false]);
  });

  it("does not take another process with the same pid for its own", async () => {
    const self = parseIdentity(readFileSync("/proc/self/stat", "utf8"));
    assert.ok(self);
    assert.equal(isAlive(self), true);
    assert.equal(isAlive({ ...self, startTime: "1" }), false);
    assert.equal(
      startTimeOfStat("12 (a) b) S 1 12 12 0 -1 4 1 1 0 0 0 0 0 0 20 0 1 0 777 1"),
      "777",
    );
    assert.deepEqual(parseIdentity("812 Mon Nov 24 01:02:03 2025\n"), {
      pid: 812,
      startTime: "Mon Nov 24 01:02:03 2025",
    });
  });
});
