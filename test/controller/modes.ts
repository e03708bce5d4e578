/** How an adapter gets on a pod: told to the engine by its own path, or fetched by the sidecar beside it. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { ADAPTER_MOUNT_PATH, ADAPTER_VOLUME } from "#api/names.ts";
import { adapterFiles } from "../support/adapters.ts";
import { startArtifactServer } from "../support/artifact-server.ts";
import { eventually } from "../support/eventually.ts";
import { gate } from "./gate.ts";
import { SIDECAR_POD } from "./pods.ts";
import { startSidecar } from "./sidecar.ts";
import type { Controller, Stage } from "./stage.ts";
import { podLinesOf, type SpecChange, World } from "./world.ts";

const PATIENCE_MS = 30_000;
const WEIGHTS = "/sql/adapter_model.safetensors";

/** What the engine is told of an artifact that it reads by itself. */
const PATHS: Readonly<Record<string, string>> = {
  "huggingface://org/repo": "org/repo",
  "hf://org/repo": "org/repo",
  "/models/lora": "/models/lora",
  "http://files/lora": "http://files/lora",
  "https://files/lora.tar.gz": "https://files/lora.tar.gz",
};

/** What only a sidecar can fetch, and what the status says where there is none. */
const PRIVATE: Readonly<Record<string, SpecChange>> = {
  "s3://": { artifactURL: "s3://bucket/lora" },
  "gs://": { artifactURL: "gcs://bucket/lora" },
  "tos://": { artifactURL: "tos://bucket/lora" },
  "a revision of a repository": { artifactURL: "hf://org/repo@v2" },
  credentialsSecretRef: {
    artifactURL: "huggingface://org/repo",
    credentialsSecretRef: { name: "hub" },
  },
};

/** Mounts that are not one folder for both. */
const UNSHARED: Readonly<Record<string, readonly [string, string | undefined][]>> = {
  "nothing mounted": [],
  "the sidecar's alone": [["aibrix-runtime", ADAPTER_MOUNT_PATH]],
  "another place in the engine": [
    ["vllm-openai", "/adapters"],
    ["aibrix-runtime", ADAPTER_MOUNT_PATH],
  ],
};

/** Loads that the engine is told of directly. */
export function directTests(stage: Stage): void {
  it("each artifact that an engine can read is told to it as it reads it", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const urls = Object.keys(PATHS);
    await Promise.all(urls.map((artifactURL, at) => world.declare(`lora-${at}`, { artifactURL })));
    for (const [at, url] of urls.entries()) {
      const { status } = await world.serving(`lora-${at}`, pod);
      assert.equal(pod.engine.held.get(`lora-${at}`), PATHS[url]);
      assert.equal(status?.pods?.[0]?.path, PATHS[url]);
    }
  });

  for (const [what, spec] of Object.entries(PRIVATE)) {
    it(`${what} without a sidecar: Failed, it needs one`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      await world.declare("lora", spec);
      assert.deepEqual(podLinesOf(await world.phase("lora", "Failed")), [
        `pod-1 Failed ModelAdapterLoadingError: ${what} needs the runtime sidecar: add a container named aibrix-runtime to the pods and start the controller with --enable-runtime-sidecar`,
      ]);
      assert.deepEqual(pod.engine.calls, []);
    });
  }

  it("the secrets of a URL are in no status, Event or log", async (t) => {
    const world = await World.make(stage, t);
    const [pod, other] = await world.pods("pod-1", "pod-2");
    const signed = (signature: string) =>
      `https://user-token:pass-word@files/lora?signature=${signature}`;
    await world.declare("lora", { artifactURL: signed("first-secret") });
    await world.serving("lora", pod, other);
    assert.equal(pod.engine.held.get("lora"), signed("first-secret"));
    for (const { engine } of [pod, other]) {
      engine.fault = { status: 400, body: `cannot read ${signed("second-secret")}` };
    }
    await world.change("lora", { artifactURL: signed("second-secret") });
    const says = /the engine answered 400: cannot read https:\/\/\*\*\*:\*\*\*@files\/lora/;
    await world.until("lora", "says so", (adapter) => says.test(podLinesOf(adapter).join()));
    // The version that serves is still known by what is written down of it.
    await world.serving("lora", pod, other);
    for (const { engine } of [pod, other]) engine.fault = undefined;
    await world.change("lora", { artifactURL: signed("third-secret") });
    const isNew = () =>
      [pod, other].every(({ engine }) => engine.held.get("lora") === signed("third-secret"));
    await eventually("replaced", isNew, PATIENCE_MS);
    const statuses = world.history("lora").map(({ object }) => object.status);
    const all =
      JSON.stringify(statuses) + (await world.events("lora")) + stage.controllers.at(-1)?.log();
    for (const secret of [
      "first-secret",
      "second-secret",
      "third-secret",
      "pass-word",
      "user-token",
    ]) {
      assert.ok(!all.includes(secret), secret);
    }
  });
}

/** Loads through sidecars, under a controller that uses them. */
export function sidecarTests(stage: Stage): void {
  describe("with sidecars", { concurrency: 8 }, () => {
    let controller: Controller | undefined;
    before(async () => {
      controller = await stage.start("--enable-runtime-sidecar");
      await controller.ready();
    });
    after(() => controller?.stop());

    for (const [how, mounts] of Object.entries(UNSHARED)) {
      it(`engine and sidecar with file systems of their own, ${how}: what the engine reads itself goes through, the rest is refused`, async (t) => {
        const world = await World.make(stage, t);
        const containers = ["vllm-openai", "aibrix-runtime"].map((name) => ({
          name,
          image: name,
          volumeMounts: mounts.flatMap(([container, mountPath]) =>
            container === name && mountPath !== undefined
              ? [{ name: ADAPTER_VOLUME, mountPath }]
              : [],
          ),
        }));
        const volumes = [{ name: ADAPTER_VOLUME, emptyDir: {} }];
        const pod = await world.pod("pod-1", { containers, volumes });
        const { folder } = await startSidecar(t, pod);
        pod.engine.sees = (path) => !path.startsWith(folder);
        await world.declare("hub", { artifactURL: "huggingface://org/repo" });
        await world.declare("path");
        await world.declare("file", { artifactURL: "http://files/lora" });
        await world.declare("bucket", { artifactURL: "s3://bucket/lora" });
        await world.serving("hub", pod);
        await world.serving("path", pod);
        for (const name of ["file", "bucket"]) {
          assert.deepEqual(podLinesOf(await world.phase(name, "Failed")), [
            "pod-1 Failed ModelAdapterLoadingError: no shared volume adapter-storage: mount one volume at the same path in the engine's container and in aibrix-runtime",
          ]);
        }
        assert.deepEqual(pod.engine.calls.sort(), [
          "load hub org/repo",
          "load path /adapters/path",
        ]);
        const files = readdirSync(folder).filter((name) => !name.startsWith("."));
        assert.deepEqual(files, []);
      });
    }

    it("a pod that only claims to share its folder: the status says which volume to mount", async (t) => {
      const world = await World.make(stage, t);
      const store = await startArtifactServer(adapterFiles("/sql"));
      t.after(() => store.close());
      const pod = await world.pod("pod-1", SIDECAR_POD);
      const { folder } = await startSidecar(t, pod);
      pod.engine.sees = (path) => !path.startsWith(folder);
      await world.declare("lora", { artifactURL: `${store.url}/sql` });
      assert.match(
        podLinesOf(await world.phase("lora", "Failed"))[0] ?? "",
        /No adapter found for .*mount the volume adapter-storage in both containers$/,
      );
    });

    it("a pod without a sidecar is told directly", async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      await world.declare("lora", { artifactURL: "hf://org/repo" });
      await world.serving("lora", pod);
      assert.deepEqual(pod.engine.calls, ["load lora org/repo"]);
    });

    it("the engine's key reaches it through the sidecar", async (t) => {
      const world = await World.make(stage, t);
      const store = await startArtifactServer(adapterFiles("/sql"));
      t.after(() => store.close());
      const pod = await world.pod("pod-1", SIDECAR_POD);
      await startSidecar(t, pod);
      pod.engine.apiKey = "sk-right";
      const spec = (key: string) => ({
        artifactURL: `${store.url}/sql`,
        additionalConfig: { "api-key": key },
      });
      await world.declare("right", spec("sk-right"));
      await world.serving("right", pod);
      await world.declare("wrong", spec("sk-wrong"));
      assert.match(
        podLinesOf(await world.phase("wrong", "Failed"))[0] ?? "",
        /: Unauthorized: set additionalConfig\.api-key \(or spec\.apiKeySecretRef\) to the engine's API key: the one that was sent is refused$/,
      );
    });

    it("a long download is told of, in few writes, and ends when another version is wanted", async (t) => {
      const world = await World.make(stage, t);
      const store = await startArtifactServer({ ...adapterFiles("/sql"), ...adapterFiles("/new") });
      t.after(() => store.close());
      const never = gate();
      store.fault = ({ path }) => (path === WEIGHTS ? { until: never.opened } : undefined);
      const pod = await world.pod("pod-1", SIDECAR_POD);
      await startSidecar(t, pod);
      await world.declare("lora", { artifactURL: `${store.url}/sql` });
      const told = "pod-1 Loading Loading: downloading: 0 of 1 MiB";
      await world.until(
        "lora",
        "says how far it is",
        (seen) => podLinesOf(seen)[0] === told,
        PATIENCE_MS,
      );
      const statuses = new Set(
        world.history("lora").map(({ object }) => JSON.stringify(object.status)),
      );
      assert.ok(statuses.size <= 5, [...statuses].join("\n"));
      await world.change("lora", { artifactURL: `${store.url}/new` });
      await world.serving("lora", pod);
      assert.equal(
        pod.engine.calls.length,
        1,
        "the version that was not wanted any more never came",
      );
      never.open();
    });
  });

  it("a download goes on under the next controller", async (t) => {
    const world = await World.make(stage, t);
    const store = await startArtifactServer(adapterFiles("/sql"));
    t.after(() => store.close());
    const half = gate();
    store.fault = ({ path }) => (path === WEIGHTS ? { until: half.opened } : undefined);
    const pod = await world.pod("pod-1", SIDECAR_POD);
    await startSidecar(t, pod);
    const first = await stage.start("--enable-runtime-sidecar");
    await first.ready();
    await world.declare("lora", { artifactURL: `${store.url}/sql` });
    await eventually("under way", () => store.gets(WEIGHTS) > 0, PATIENCE_MS);
    const begun = store.gets(WEIGHTS);
    await first.kill();
    const second = await stage.start("--enable-runtime-sidecar");
    t.after(() => second.stop());
    await second.ready();
    await world.until("lora", "Loading", ({ status }) => status?.phase === "Loading");
    half.open();
    await world.serving("lora", pod);
    assert.equal(store.gets(WEIGHTS), begun);
    assert.equal(pod.engine.calls.length, 1);
  });
}
