/** The embedded API loses nothing that it acknowledged, however it is killed. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { ConfigMap } from "#api/kubernetes.ts";
import { CONFIG_MAPS, type KubeClient } from "#kube/client.ts";
import { loadKubeConfig } from "#kube/config.ts";
import { createKubeClient } from "#kube/rest.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";

const ENTRY = join(import.meta.dirname, "../../src/main/apiserver.ts");
const KILLS = 4;
const WRITERS = 4;
/** How many acknowledged writes a killer waits for: the kill falls somewhere in a stream of writes. */
const WRITES_BEFORE_KILL = 60;
const namespace = "default";

const stateDir = mkdtempSync(join(tmpdir(), "loradock-durable-"));
const running = new Set<ChildProcess>();
after(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(stateDir, { recursive: true, force: true });
});

async function start(): Promise<{ child: ChildProcess; client: KubeClient }> {
  const child = spawn(process.execPath, [ENTRY, "--state-dir", stateDir, "--port", "0"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  // Each start has a port of its own, which the kubeconfig tells.
  let log = "";
  child.stderr?.on("data", (text) => {
    log += text;
  });
  await eventually("the API is up", () => log.includes("The Kubernetes API is up"));
  const kubeconfigPath = join(stateDir, "kubeconfig");
  const config = await loadKubeConfig({ kubeconfigPath, env: {}, clock });
  return { child, client: createKubeClient({ config, clock }) };
}

test("what was acknowledged before a kill is there after it, and nothing half-written", async () => {
  /** The last acknowledged value of each object; undefined once its deletion was acknowledged. */
  const acknowledged = new Map<string, number | undefined>();
  /** What was sent and not answered: it may have happened or not. */
  const inDoubt = new Map<string, number | undefined>();
  let lastRevision = 0;

  async function write(client: KubeClient, writer: number, value: number): Promise<void> {
    const name = `w${writer}-${value % 5}`;
    const object: ConfigMap = { metadata: { name, namespace }, data: { value: String(value) } };
    const exists = acknowledged.get(name) !== undefined;
    const isDeletion = exists && value % 7 === 0;
    inDoubt.set(name, isDeletion ? undefined : value);
    if (isDeletion) await client.delete(CONFIG_MAPS, { name, namespace });
    else {
      const written = await (exists
        ? client.update(CONFIG_MAPS, object)
        : client.create(CONFIG_MAPS, object));
      lastRevision = Math.max(lastRevision, Number(written.metadata.resourceVersion));
    }
    acknowledged.set(name, isDeletion ? undefined : value);
    inDoubt.delete(name);
  }

  for (let kill = 0; kill < KILLS; kill++) {
    const { child, client } = await start();
    let writes = 0;
    const writers = Array.from({ length: WRITERS }, async (_, writer) => {
      for (let value = 1; ; value++) {
        try {
          await write(client, writer, kill * 10_000 + value);
        } catch {
          return;
        }
        if (++writes === WRITES_BEFORE_KILL) child.kill("SIGKILL");
      }
    });
    await Promise.all([...writers, once(child, "exit")]);

    const next = await start();
    const list = await next.client.list(CONFIG_MAPS, { namespace });
    const found = new Map(
      list.items.map(({ metadata, data }) => [metadata.name, Number(data?.["value"])]),
    );
    assert.ok(Number(list.metadata.resourceVersion) >= lastRevision, "revisions never go back");
    for (const [name, value] of acknowledged) {
      const possible = [value, ...(inDoubt.has(name) ? [inDoubt.get(name)] : [])];
      assert.ok(possible.includes(found.get(name)), `${name}: ${found.get(name)} of ${possible}`);
    }
    for (const [name] of inDoubt) acknowledged.set(name, found.get(name));
    inDoubt.clear();
    next.child.kill("SIGKILL");
    await once(next.child, "exit");
  }
});
