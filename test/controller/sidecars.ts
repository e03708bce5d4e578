/** Pods with the runtime sidecar, and what the controller does with it when it is told to use it, and no longer. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { SECRETS } from "#kube/client.ts";
import { adapterFiles } from "../support/adapters.ts";
import { type ArtifactServer, startArtifactServer } from "../support/artifact-server.ts";
import { eventually } from "../support/eventually.ts";
import { tempFolder } from "../support/temp-folder.ts";
import type { TestPod } from "./pods.ts";
import { sendRequests } from "./traffic.ts";
import { podLinesOf, type World } from "./world.ts";

const ROOT = join(import.meta.dirname, "../..");
const PATIENCE_MS = 20_000;

/** `meet` ends the controller; again, it starts the next, which uses sidecars; once more, the one after that, which does not. */
export type Scenario = (world: World, meet: () => Promise<void>, t: TestContext) => Promise<void>;

export const SIDECAR_SCENARIOS: Readonly<Record<string, Scenario>> = {
  "sidecars are used, and no longer used, without a reload": async (world, meet, t) => {
    const { pod, folder } = await sidecarPod(world, t, "pod-1");
    const store = await storeOf(t, "/sql");
    await world.declare("before");
    await world.serving("before", pod);
    await meet();
    await meet();
    await world.declare("through", { artifactURL: `${store.url}/sql` });
    await world.serving("through", pod);
    const path = pod.engine.held.get("through") ?? "";
    assert.ok(path.startsWith(folder), path);
    const log = world.stage.controllers.at(-1)?.log() ?? "";
    assert.match(
      log,
      new RegExp(`"Using runtime path for artifact delegation".*${world.namespace}/through`),
    );
    await meet();
    await world.declare("after");
    await world.serving("after", pod);
    assert.deepEqual(pod.engine.calls, [
      "load before /adapters/before",
      `load through ${path}`,
      "load after /adapters/after",
    ]);
    const phases = ["before", "through"].map(
      (name) => world.history(name).at(-1)?.object.status?.phase,
    );
    assert.deepEqual(phases, ["Running", "Running"]);
  },

  "credentials, configuration and artifact go out pod by pod": async (world, meet, t) => {
    await meet();
    const store = await storeOf(t, "/sql", "/new");
    const [one, two] = [
      (await sidecarPod(world, t, "pod-1")).pod,
      (await sidecarPod(world, t, "pod-2")).pod,
    ];
    const { client } = world.stage;
    const data = (token: string) => ({
      headers: Buffer.from(JSON.stringify({ "x-token": token })).toString("base64"),
    });
    for (const name of ["first", "second"]) {
      await client.create(SECRETS, { metadata: world.named(name), data: data(name) });
    }
    await meet();
    await world.declare("lora", {
      artifactURL: `${store.url}/sql`,
      credentialsSecretRef: { name: "first" },
    });
    await world.serving("lora", one, two);
    const traffic = sendRequests(world, "lora", 4);
    const changes = [
      { credentialsSecretRef: { name: "second" } },
      { additionalConfig: { max_lora_rank: "16" } },
      { artifactURL: `${store.url}/new` },
    ];
    for (const change of changes) {
      const before = versionsOf(await world.serving("lora", one, two));
      await world.change("lora", change);
      await world.until("lora", "has gone out", (adapter) => {
        const now = versionsOf(adapter);
        return now.size === 1 && ![...now].some((version) => before.has(version));
      });
      await world.serving("lora", one, two);
    }
    // Another text in a Secret is no other artifact: what serves is left alone, what comes uses it.
    const calls = one.engine.calls.length;
    await client.patch(SECRETS, world.named("second"), "merge", { data: data("third") });
    await world.declare("later", {
      artifactURL: `${store.url}/sql`,
      credentialsSecretRef: { name: "second" },
    });
    await world.serving("later", one, two);
    assert.equal(one.engine.calls.length, calls + 1);
    await traffic.stop();
    assert.deepEqual(traffic.failures, []);
    const tokens = new Set(store.asked.map(({ headers }) => headers["x-token"]));
    assert.ok(tokens.has("first") && tokens.has("second"), [...tokens].join());
  },

  "a bad version through sidecars leaves the old one serving": async (world, meet, t) => {
    await meet();
    const store = await storeOf(t, "/sql");
    const { pod } = await sidecarPod(world, t, "pod-1");
    await meet();
    await world.declare("lora", { artifactURL: `${store.url}/sql` });
    await world.serving("lora", pod);
    const path = pod.engine.held.get("lora");
    await world.change("lora", { artifactURL: `${store.url}/missing` });
    await world.until("lora", "says so", (adapter) => /Not found/.test(podLinesOf(adapter).join()));
    await world.serving("lora", pod);
    pod.engine.refusal = "main-11-load-bad-rank-64";
    store.files.set(
      "/bad/adapter_config.json",
      store.files.get("/sql/adapter_config.json") ?? Buffer.of(),
    );
    store.files.set(
      "/bad/adapter_model.safetensors",
      store.files.get("/sql/adapter_model.safetensors") ?? Buffer.of(),
    );
    await world.change("lora", { artifactURL: `${store.url}/bad` });
    await world.until("lora", "says so", (adapter) =>
      /LoRA rank 64/.test(podLinesOf(adapter).join()),
    );
    const { status } = await world.serving("lora", pod);
    assert.equal(pod.engine.held.get("lora"), path);
    assert.equal(status?.pods?.[0]?.artifactURL, `${store.url}/sql`);
  },
};

const versionsOf = ({ status }: ModelAdapter) =>
  new Set(status?.pods?.map(({ version }) => version));

async function storeOf(t: TestContext, ...prefixes: string[]): Promise<ArtifactServer> {
  const files = prefixes.map((prefix) => adapterFiles(prefix));
  const store = await startArtifactServer(Object.assign({}, ...files));
  t.after(() => store.close());
  return store;
}

/** A pod with an engine and a sidecar that share the adapters' folder. */
async function sidecarPod(
  world: World,
  t: TestContext,
  name: string,
): Promise<{ pod: TestPod; folder: string }> {
  const pod = await world.pod(name, {
    containers: ["vllm-openai", "aibrix-runtime"].map((container) => ({
      name: container,
      image: container,
      volumeMounts: [{ name: "adapter-storage", mountPath: "/tmp/aibrix/adapters" }],
    })),
    volumes: [{ name: "adapter-storage", emptyDir: {} }],
  });
  return { pod, ...(await startSidecar(t, pod)) };
}

/** The sidecar as the process that users start, beside the engine of a pod. */
async function startSidecar(t: TestContext, { host }: TestPod): Promise<{ folder: string }> {
  const folder = await tempFolder(t);
  const child: ChildProcess = spawn(
    process.execPath,
    [join(ROOT, "bin/aibrix_runtime"), "--host", host, "--port", "8080"],
    {
      stdio: "ignore",
      env: {
        ...process.env,
        INFERENCE_ENGINE_ENDPOINT: `http://${host}:8000`,
        AIBRIX_ADAPTER_DIR: folder,
        ARTIFACT_HTTP_ALLOW_PRIVATE: "1",
      },
    },
  );
  const exited = once(child, "exit");
  t.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  const isThere = async () => (await fetch(`http://${host}:8080/healthz`).catch(() => null))?.ok;
  await eventually("the sidecar answers", isThere, PATIENCE_MS);
  return { folder };
}
