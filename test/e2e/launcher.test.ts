/** `bin/loradock` under another Node: what the process it starts knows of it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "#test/support/temp-folder.ts";

const entry = join(import.meta.dirname, "../../src/main/loradock.ts");

test("a command stops when its launcher has gone", async (t) => {
  const dir = await tempFolder(t);
  const child = spawn(process.execPath, [entry, "hub", "--port", "0", "--dir", dir], {
    stdio: ["ignore", "ignore", "pipe", "pipe"],
    env: { ...process.env, LORADOCK_LAUNCHER_FD: "3" },
  });
  t.after(() => child.kill("SIGKILL"));
  const [line] = await once(child.stderr ?? assert.fail(), "data");
  assert.match(String(line), /The hub serves/);
  const launcher = child.stdio[3];
  assert.ok(launcher !== null && launcher !== undefined && "destroy" in launcher);
  launcher.destroy();
  const [status] = await once(child, "exit");
  assert.equal(status, 0);
});
