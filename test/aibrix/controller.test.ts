/** Our controller before AIBrix's own runtime sidecars, as they are after its controller was replaced by ours. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { ADAPTER_MOUNT_PATH } from "#api/names.ts";
import { MODEL_ADAPTERS } from "#kube/client.ts";
import { startHub } from "#local/hub/hub.ts";
import { AIBRIX_VERSIONS, type AibrixVersion } from "../../scripts/aibrix-build.ts";
import { startEmbeddedApi } from "../conformance/servers.ts";
import { BASE_LABELS, SIDECAR_POD } from "../controller/pods.ts";
import { startRealEngine, TEXTS } from "../controller/real-engine.ts";
import { type Controller, setStage } from "../controller/stage.ts";
import { podLinesOf, World } from "../controller/world.ts";
import { TINY } from "../support/adapters.ts";
import { eventually } from "../support/eventually.ts";
import { silentLog } from "../support/silent-log.ts";
import { startAibrix } from "./sidecar.ts";

const PATIENCE_MS = 30_000;

const api = await startEmbeddedApi(16_560);
const stage = await setStage(api);
const stop = new AbortController();
const hubFolder = mkdtempSync(join(tmpdir(), "loradock-hub-"));
for (const name of ["sql", "shout"]) {
  cpSync(join(TINY, "adapters", name), join(hubFolder, "tiny", name), { recursive: true });
}
/** Has the tiny model's adapters as `tiny/<adapter>`. */
const hub = await startHub(
  { dir: hubFolder, host: "127.0.0.1", port: 0, log: silentLog },
  stop.signal,
);
let controller: Controller | undefined;

before(async () => {
  controller = await stage.start("--enable-runtime-sidecar");
  await controller.ready();
});

after(async () => {
  await controller?.stop();
  stop.abort();
  await hub.closed;
  rmSync(hubFolder, { recursive: true, force: true });
  await stage.close();
  await api.close();
});

/** The sidecar's folder is one for all runs on this machine. */
const own = (name: string, version: AibrixVersion) =>
  `${name}-${version.replaceAll(".", "")}-${process.pid}`;

/** What one version does otherwise than the other. */
interface Ways {
  /** The artifact of one of the tiny adapters, in a way that this version gets at it. */
  readonly from: (adapter: string) => string;
  /** What the status says of a path that is not there. */
  readonly noPath: RegExp;
  /** ... of a repository that the hub does not have. */
  readonly noRepository: RegExp;
  /** ... of an adapter that the engine refuses. */
  readonly refused: RegExp;
}

const NOT_FOUND =
  /^pod-1 Failed ModelAdapterLoadingError: Loading lora \S+ failed: No adapter found for \S+: check spec\.artifactURL/;

const WAYS: Readonly<Record<AibrixVersion, Ways>> = {
  "0.3.0": {
    from: (adapter) => join(TINY, "adapters", adapter),
    noPath: NOT_FOUND,
    noRepository: NOT_FOUND,
    refused:
      /^pod-1 Failed ModelAdapterLoadingError: .*LoRA rank 64 is greater than max_lora_rank 16.*: start the engine with --max-lora-rank 64 or more, or train with a lower r$/,
  },
  // It says less than it knows; what can be told of it is.
  "0.8.0": {
    from: (adapter) => `huggingface://tiny/${adapter}`,
    noPath:
      /^pod-1 Failed ModelAdapterLoadingError: LoRA path '\/no\/such\/path' not found: check spec\.artifactURL, and that VLLM_ALLOW_RUNTIME_LORA_UPDATING=True is set/,
    noRepository:
      /^pod-1 Failed ModelAdapterLoadingError: the runtime sidecar answered 500: Permission denied: Access denied to HuggingFace model: tiny\/none/,
    refused:
      /^pod-1 Retrying ModelAdapterLoadingError: bad gateway: the engine answered AIBrix's runtime sidecar with an error that it does not hand on: see the log of the container aibrix-runtime$/,
  },
};

const PLAIN = { artifactURL: "/adapters/lora" };
const lineOf = (adapter: ModelAdapter) => podLinesOf(adapter)[0] ?? "";

for (const version of AIBRIX_VERSIONS) {
  const { from, noPath, noRepository, refused } = WAYS[version];

  /** A pod with the sidecar beside its engine. */
  const setUp = async (t: TestContext, env: Readonly<Record<string, string>> = {}) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1", SIDECAR_POD);
    return { world, pod, sidecar: await startAibrix(t, version, pod, env) };
  };

  describe(`AIBrix's sidecar ${version}`, { concurrency: 8 }, () => {
    it("an adapter is loaded, served, updated and unloaded on a real engine; what is wrong is told", async (t) => {
      const { world, pod } = await setUp(t, { HF_ENDPOINT: hub.url });
      const complete = await startRealEngine(t, pod);
      const name = own("lora", version);
      forgetAfter(t, name);
      await world.declare(name, { artifactURL: from("sql") });
      await world.serving(name, pod);
      assert.equal(await complete(name), TEXTS.sql);
      await world.change(name, { artifactURL: from("shout") });
      const isNew = ({ status }: ModelAdapter) =>
        status?.phase === "Running" && status.pods?.[0]?.artifactURL === from("shout");
      await world.until(name, "has the new version", isNew, PATIENCE_MS);
      assert.equal(await complete(name), TEXTS.shout);
      await stage.client.delete(MODEL_ADAPTERS, world.named(name));
      await world.gone(name);
      assert.equal(await complete(name), undefined);

      const wrong = own("wrong", version);
      forgetAfter(t, wrong);
      await world.declare(wrong, { artifactURL: "/no/such/path" });
      for (const [says, next] of [
        [noPath, "huggingface://tiny/none"],
        [noRepository, join(TINY, "adapters-bad/rank-64")],
        [refused, from("sql")],
      ] as const) {
        await world.until(wrong, `${says}`, (seen) => says.test(lineOf(seen)), PATIENCE_MS);
        await world.change(wrong, { artifactURL: next });
      }
      await world.serving(wrong, pod);
    });

    it("an engine that is down is worth a retry; its restart brings the adapter back", async (t) => {
      const { world, pod } = await setUp(t, { HF_ENDPOINT: hub.url });
      const name = own("down", version);
      forgetAfter(t, name);
      await pod.refuse();
      await world.declare(name, { artifactURL: from("sql") });
      const says =
        /^pod-1 Retrying ModelAdapterLoadingError: bad gateway: the runtime sidecar cannot reach the engine$/;
      const adapter = await world.until(
        name,
        "down",
        (seen) => says.test(lineOf(seen)),
        PATIENCE_MS,
      );
      assert.equal(adapter.status?.phase, "Loading");
      await pod.listenAgain();
      await world.phase(name, "Running", PATIENCE_MS);
      await pod.restartContainer();
      await eventually("it has it again", () => pod.engine.held.has(name), PATIENCE_MS);
      await world.serving(name, pod);
    });

    it("the sidecar's restart costs no load, its own unload is not taken for the engine's", async (t) => {
      const { world, pod, sidecar } = await setUp(t);
      const name = own("lora", version);
      await world.declare(name, PLAIN);
      await world.serving(name, pod);
      await sidecar.kill();
      await world.until(name, "silent", ({ status }) => status?.phase !== "Running", PATIENCE_MS);
      await sidecar.start();
      await world.phase(name, "Running", PATIENCE_MS);
      assert.deepEqual(pod.engine.calls, [`load ${name} ${PLAIN.artifactURL}`]);
      pod.engine.fault = { status: 500, body: "busy" };
      await stage.client.delete(MODEL_ADAPTERS, world.named(name));
      await world.gone(name);
      assert.ok(pod.engine.held.has(name));
      pod.engine.fault = undefined;
      await eventually("unloaded all the same", () => !pod.engine.held.has(name), PATIENCE_MS);
    });

    it("what it loaded for AIBrix's controller is taken over as it is", async (t) => {
      const { world, pod, sidecar } = await setUp(t, { HF_ENDPOINT: hub.url });
      const [name, other] = [own("old", version), own("other", version)];
      forgetAfter(t, name, other);
      const load = (lora_name: string, url: string) =>
        sidecar.load(
          url.startsWith("/") ? { lora_name, lora_path: url } : { lora_name, artifact_url: url },
        );
      await load(name, from("sql"));
      await load(other, from("sql"));
      const before = [...pod.engine.calls];
      await world.declare(name, { artifactURL: from("sql") });
      await world.serving(name, pod);
      assert.deepEqual(pod.engine.calls, before);
      // The name alone says nothing.
      await world.declare(other, { artifactURL: from("shout") });
      await world.serving(other, pod);
      assert.notDeepEqual(pod.engine.calls, before);
    });
  });
}

it("0.3.0 hands the engine's key on", async (t) => {
  const world = await World.make(stage, t);
  const pod = await world.pod("pod-1", SIDECAR_POD);
  pod.engine.apiKey = "sk-right";
  await startAibrix(t, "0.3.0", pod, {});
  await world.declare("lora", { ...PLAIN, additionalConfig: { "api-key": "sk-right" } });
  await world.serving("lora", pod);
});

it("0.8.0 keeps the engine's key to itself, which is told, and takes one of its own", async (t) => {
  const world = await World.make(stage, t);
  const [mute, keyed] = await Promise.all(
    ["mute", "keyed"].map((tier) =>
      world.pod(tier, { ...SIDECAR_POD, labels: { ...BASE_LABELS, tier } }),
    ),
  );
  assert.ok(mute !== undefined && keyed !== undefined);
  for (const { engine } of [mute, keyed]) engine.apiKey = "sk-right";
  await startAibrix(t, "0.8.0", mute, {});
  await startAibrix(t, "0.8.0", keyed, { INFERENCE_ENGINE_API_KEY: "sk-right" });
  const on = (tier: string) => ({
    ...PLAIN,
    podSelector: { matchLabels: { tier } },
    additionalConfig: { "api-key": "sk-right" },
  });
  await world.declare("lora", on("mute"));
  assert.match(
    lineOf(await world.phase("lora", "Failed", PATIENCE_MS)),
    /^mute Failed ModelAdapterLoadingError: Unauthorized: set additionalConfig\.api-key \(or spec\.apiKeySecretRef\) to the engine's API key: the one that was sent is refused, or AIBrix's runtime sidecar did not hand it on: set INFERENCE_ENGINE_API_KEY in the container aibrix-runtime, or use Loradock's$/,
  );
  await world.declare("other", on("keyed"));
  await world.serving("other", keyed);
});

/** What the sidecar keeps of the adapters goes with the test: its folder cannot be chosen. */
function forgetAfter(t: TestContext, ...adapters: readonly string[]): void {
  t.after(async () => {
    for (const name of adapters) {
      await rm(join(ADAPTER_MOUNT_PATH, name), { recursive: true, force: true });
    }
  });
}
