/** Our controller before AIBrix's own runtime sidecars, as they are after its controller was replaced by ours. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { MODEL_ADAPTERS } from "#kube/client.ts";
import { startHub } from "#local/hub/hub.ts";
import { AIBRIX_VERSIONS, type AibrixVersion } from "../../scripts/aibrix-build.ts";
import { startEmbeddedApi } from "../conformance/servers.ts";
import { SIDECAR_POD } from "../controller/pods.ts";
import { startRealEngine, TEXTS } from "../controller/real-engine.ts";
import { type Controller, setStage } from "../controller/stage.ts";
import { podLinesOf, World } from "../controller/world.ts";
import { TINY } from "../support/adapters.ts";
import { silentLog } from "../support/silent-log.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { startAibrix } from "./sidecar.ts";

const PATIENCE_MS = 30_000;

const api = await startEmbeddedApi(16_560);
const stage = await setStage(api);
let controller: Controller | undefined;

before(async () => {
  controller = await stage.start("--enable-runtime-sidecar");
  await controller.ready();
});

after(async () => {
  await controller?.stop();
  await stage.close();
  await api.close();
});

/** A hub with the tiny model's adapters as `tiny/<adapter>`. */
async function hubOf(t: TestContext): Promise<string> {
  const dir = await tempFolder(t);
  mkdirSync(join(dir, "tiny"));
  for (const name of ["sql", "shout"]) {
    cpSync(join(TINY, "adapters", name), join(dir, "tiny", name), { recursive: true });
  }
  const stop = new AbortController();
  const hub = await startHub({ dir, host: "127.0.0.1", port: 0, log: silentLog }, stop.signal);
  t.after(async () => {
    stop.abort();
    await hub.closed;
  });
  return hub.url;
}

/** Its folder is one for all runs on this machine. */
const own = (name: string, version: AibrixVersion) =>
  `${name}-${version.replaceAll(".", "")}-${process.pid}`;

for (const version of AIBRIX_VERSIONS) {
  describe(`before AIBrix's sidecar ${version}`, { concurrency: 8 }, () => {
    it("an adapter is loaded, served, updated and unloaded on a real engine", async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", SIDECAR_POD);
      const complete = await startRealEngine(t, pod);
      const name = own("lora", version);
      const hub = await hubOf(t);
      await startAibrix(t, version, pod, { env: { HF_ENDPOINT: hub }, adapters: [name] });
      const from = (which: string) =>
        version === "0.3.0" ? join(TINY, "adapters", which) : `huggingface://tiny/${which}`;
      await world.declare(name, { artifactURL: from("sql") });
      await world.serving(name, pod);
      assert.equal(await complete(name), TEXTS.sql);
      await world.change(name, { artifactURL: from("shout") });
      await world.until(
        name,
        "has the new version",
        ({ status }) =>
          status?.phase === "Running" && status.pods?.[0]?.artifactURL === from("shout"),
        PATIENCE_MS,
      );
      assert.equal(await complete(name), TEXTS.shout);
      await stage.client.delete(MODEL_ADAPTERS, world.named(name));
      await world.gone(name);
      assert.equal(await complete(name), undefined);
    });
    it("wrong", async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", SIDECAR_POD);
      await startRealEngine(t, pod);
      const name = own("wrong", version);
      const hub = await hubOf(t);
      await startAibrix(t, version, pod, { env: { HF_ENDPOINT: hub }, adapters: [name] });
      await world.declare(name, { artifactURL: "/no/such/path" });
      const a = await world.until(
        name,
        "failed",
        (x) => /Failed|Retry/.test(podLinesOf(x).join()),
        PATIENCE_MS,
      );
      console.log(version, podLinesOf(a), a.status?.phase);
      await world.change(name, { artifactURL: "huggingface://tiny/none" });
      const b = await world.until(
        name,
        "failed",
        (x) => x.status?.observedGeneration === 2 && /Failed|Retry/.test(podLinesOf(x).join()),
        PATIENCE_MS,
      );
      console.log(version, podLinesOf(b), b.status?.phase);
      await world.change(name, { artifactURL: join(TINY, "adapters-bad/rank-64") });
      const c = await world.until(
        name,
        "failed",
        (x) => x.status?.observedGeneration === 3 && /Failed|Retry/.test(podLinesOf(x).join()),
        PATIENCE_MS,
      );
      console.log(version, podLinesOf(c), c.status?.phase);
    });
    it("down", async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", SIDECAR_POD);
      await startAibrix(t, version, pod, {});
      await pod.refuse();
      const name = own("down", version);
      await world.declare(name, { artifactURL: "/no/such/path" });
      const a = await world.until(
        name,
        "failed",
        (x) => /Failed|Retry/.test(podLinesOf(x).join()),
        PATIENCE_MS,
      );
      console.log(version, podLinesOf(a), a.status?.phase);
      await pod.listenAgain();
      await world.serving(name, pod);
      await stage.client.delete(MODEL_ADAPTERS, world.named(name));
      await world.gone(name);
      console.log(pod.engine.calls);
    });
    it("key", async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", SIDECAR_POD);
      await startAibrix(t, version, pod, {});
      pod.engine.apiKey = "sk-right";
      const name = own("key", version);
      await world.declare(name, {
        artifactURL: "/no/such/path",
        additionalConfig: { "api-key": "sk-right" },
      });
      const a = await world.until(
        name,
        "failed",
        (x) => /Failed|Retry|Loaded/.test(podLinesOf(x).join()),
        PATIENCE_MS,
      );
      console.log(version, podLinesOf(a), a.status?.phase);
    });
  });
}
