import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { UserError } from "#base/errors.ts";
import { checkPorts, takeStateDir } from "./preflight.ts";

test("a state folder is used by one run at a time, and a killed run leaves it free", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "loradock-preflight-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const state = join(folder, "state");
  const release = takeStateDir(state);
  assert.throws(
    () => takeStateDir(state),
    (error) => error instanceof UserError && error.message.includes(`process ${process.pid}`),
  );
  release();
  assert(!existsSync(join(state, "up.pid")));
  // The number of a process that began at another time was given again.
  writeFileSync(join(state, "up.pid"), `${process.pid} (node) S${" 0".repeat(18)} 1`);
  takeStateDir(state)();
});

test("a state folder that cannot be made is one sentence that names the flag", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "loradock-preflight-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "file"), "");
  assert.throws(() => takeStateDir(join(folder, "file", "state")), /is a file.*--state-dir/);
});

test("a folder where none can be made is refused at once", () => {
  const path = process.platform === "linux" ? "/proc/loradock/state" : "/dev/loradock/state";
  assert.throws(() => takeStateDir(path), /cannot make.*--state-dir/);
});

test("a taken port is named with its flag; a free one is left alone", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const needed = { host: "127.0.0.1", port, what: "the gateway", flag: "--gateway-port" };
  await assert.rejects(checkPorts([needed]), (error) => {
    assert(error instanceof UserError);
    assert.match(error.message, new RegExp(`port ${port} .*the gateway.*taken.*--gateway-port`));
    return true;
  });
  await checkPorts([{ ...needed, port: 0 }]);
});

test("one port cannot serve two", async () => {
  const needed = { host: "127.0.0.1", port: 1, what: "the gateway", flag: "--gateway-port" };
  const free = { ...needed, port: 18_999, what: "the API", flag: "--api-port" };
  await assert.rejects(
    checkPorts([free, { ...needed, port: free.port }]),
    /--api-port and --gateway-port both say 18999; .*the gateway with --gateway-port/,
  );
});
