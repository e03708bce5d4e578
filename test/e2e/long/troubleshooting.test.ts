/**
 * The troubles of docs/controller.md that need a kubelet, sidecars or minutes, each provoked on one machine: its commands print what
 * the page shows. The others are in test/controller/troubleshooting.ts.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ENDPOINT_SLICES, type KubeClient } from "#kube/client.ts";
import { TROUBLES } from "#test/controller/troubleshooting.ts";
import { startServer, type TestServer } from "#test/support/http-server.ts";
import { LocalMachine, newPlace, placeFlags, ROOT } from "#test/support/local-machine.ts";
import { machineClient } from "#test/support/machine-process.ts";
import { canUse } from "#test/support/programs.ts";
import { assertShown, shownIn } from "#test/support/shown-page.ts";

const PAGE = shownIn(ROOT, "docs/controller.md");
const HUB = "huggingface://loradock/tiny-sql-lora";
/** Five retries on a pod take 155 s. */
const EXHAUSTED_S = 230;
/** Ten seconds of being available, twice, and two starts. */
const ROLLOUT_S = 100;

let machine: LocalMachine;
let store: TestServer;
let client: KubeClient & { close(): Promise<void> };

const sh = async (namespace: string, command: string): Promise<string> =>
  (await machine.sh(command, { namespace })).stdout;
/** Waits as a person would. */
const until = (namespace: string, object: string, is: string, seconds = 60) =>
  sh(namespace, `kubectl wait --timeout=${seconds}s --for=jsonpath='${is} ${object}`);
const phase = (namespace: string, name: string, value: string, seconds?: number) =>
  until(namespace, `modeladapter/${name}`, `{.status.phase}'=${value}`, seconds);

/** Both streams, and the status of the last command is no matter; the test's own store has a name on the page. */
async function typed(namespace: string, command: string): Promise<string> {
  const printed = await sh(namespace, `{ ${command}\n} 2>&1 || true`);
  return printed
    .replaceAll(store.url, "http://artifacts.example")
    .replace(/\/\S+\/volumes\/adapter-storage/g, "/tmp/aibrix/adapters")
    .replaceAll(namespace, "default");
}

async function isOnPage(heading: string, namespace: string): Promise<void> {
  const shown = PAGE.get(heading) ?? [];
  assert.ok(shown.length > 0, "the page shows no commands");
  for (const one of shown) await assertShown(one, (command) => typed(namespace, command));
}

const labels = (model: string) => ({
  "model.aibrix.ai/name": model,
  "adapter.model.aibrix.ai/enabled": "true",
});
const volumeMounts = [{ name: "adapter-storage", mountPath: "/tmp/aibrix/adapters" }];
const engine = {
  ...{ name: "vllm", image: "vllm/vllm-openai:latest" },
  env: [{ name: "VLLM_ALLOW_RUNTIME_LORA_UPDATING", value: "True" }],
  readinessProbe: { httpGet: { path: "/health", port: 8000 }, periodSeconds: 1 },
};
const deaf = { ...{ name: "vllm", image: engine.image }, command: ["sleep", "3600"] };
const sidecar = {
  ...{ name: "aibrix-runtime", image: "aibrix/runtime:latest" },
  // The store of these tests has an address of this machine.
  env: [{ name: "ARTIFACT_HTTP_ALLOW_PRIVATE", value: "1" }],
  readinessProbe: { httpGet: { path: "/ready", port: 8080 }, periodSeconds: 1 },
};
const mounted = (container: object) => ({ ...container, volumeMounts });

const pod = (namespace: string, name: string, model: string, containers: object[]) => ({
  ...{ apiVersion: "v1", kind: "Pod", metadata: { name, namespace, labels: labels(model) } },
  spec: {
    ...{ terminationGracePeriodSeconds: 1, containers },
    volumes: [{ name: "adapter-storage", emptyDir: {} }],
  },
});
const adapter = (namespace: string, name: string, model: string, spec: object = {}) => ({
  ...{ apiVersion: "model.aibrix.ai/v1alpha1", kind: "ModelAdapter" },
  metadata: { name, namespace },
  spec: {
    baseModel: model,
    podSelector: { matchLabels: { "model.aibrix.ai/name": model } },
    artifactURL: HUB,
    ...spec,
  },
});
const secret = (namespace: string, name: string, stringData: object) => ({
  ...{ apiVersion: "v1", kind: "Secret", metadata: { name, namespace }, stringData },
});

/** A namespace of the test's own, with these objects in it. */
async function stage(namespace: string, objects: readonly object[]): Promise<void> {
  const space = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
  await machine.apply([space, ...objects]);
}

/** Each provokes its trouble, in the namespace that it is given. */
const MACHINE_TROUBLES: Readonly<Record<string, (namespace: string) => Promise<void>>> = {
  "Retries are used up": async (namespace) => {
    await stage(namespace, [
      pod(namespace, "pod-1", "base", [deaf]),
      adapter(namespace, "my-lora", "base", { replicas: 1 }),
    ]);
    await until(namespace, "modeladapter/my-lora", "{.status.pods[0].state}'=Retrying");
    await machine.apply([pod(namespace, "pod-2", "base", [engine])]);
    await phase(namespace, "my-lora", "Running", EXHAUSTED_S);
  },

  "The sidecar gets no requests": async (namespace) => {
    await stage(namespace, [
      pod(namespace, "vllm-llama3", "llama-3", [mounted(engine), mounted(sidecar)]),
      adapter(namespace, "my-lora", "llama-3"),
    ]);
    await phase(namespace, "my-lora", "Running");
  },

  "A download fails": async (namespace) => {
    const credentialsSecretRef = { name: "s3-credentials" };
    const fails = (name: string, artifactURL: string) =>
      adapter(namespace, name, "llama-3", { artifactURL, credentialsSecretRef });
    await stage(namespace, [
      pod(namespace, "vllm-llama3", "llama-3", [mounted(engine), mounted(sidecar)]),
      secret(namespace, "s3-credentials", { aws_access_key_id: "AKIAIOSFODNN7EXAMPLE" }),
      fails("denied", `${store.url}/denied`),
      fails("invalid", "s3://my-company-bucket/my-lora"),
      fails("missing", `${store.url}/missing`),
    ]);
    for (const name of ["denied", "invalid", "missing"]) {
      await phase(namespace, name, "Failed");
    }
  },

  "The sidecar does not reach the engine": async (namespace) => {
    await stage(namespace, [pod(namespace, "vllm-llama3", "llama-3", [deaf, sidecar])]);
    await until(namespace, "pod/vllm-llama3", "{.status.phase}'=Running");
  },

  "Engine and sidecar share no volume": async (namespace) => {
    await stage(namespace, [
      pod(namespace, "vllm-llama3", "llama-3", [engine, mounted(sidecar)]),
      secret(namespace, "s3-credentials", { aws_access_key_id: "AKIAIOSFODNN7EXAMPLE" }),
      adapter(namespace, "my-lora", "llama-3", {
        artifactURL: "s3://my-company-bucket/my-lora",
        credentialsSecretRef: { name: "s3-credentials" },
      }),
    ]);
    await phase(namespace, "my-lora", "Failed");
  },
};

/** With `minReadySeconds`, as the page says, somebody serves at every moment of a rolling update. */
async function rollingUpdate(namespace: string): Promise<void> {
  const template = {
    metadata: { labels: labels("base") },
    spec: { terminationGracePeriodSeconds: 1, containers: [engine] },
  };
  await stage(namespace, [
    {
      ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "base", namespace } },
      spec: {
        ...{ replicas: 1, minReadySeconds: 10, selector: { matchLabels: labels("base") } },
        template,
      },
    },
    adapter(namespace, "my-lora", "base"),
  ]);
  await phase(namespace, "my-lora", "Running");
  const stop = new AbortController();
  const counts: number[] = [];
  const watching = (async () => {
    const seen = client.watch(ENDPOINT_SLICES, { namespace, resourceVersion: "0" }, stop.signal);
    for await (const { type, object } of seen) {
      if (type !== "BOOKMARK") counts.push((object.endpoints ?? []).length);
    }
  })().catch((error) => assert.ok(stop.signal.aborted, `${error}`));
  await sh(namespace, "kubectl rollout restart deployment/base");
  await sh(namespace, `kubectl rollout status deployment/base --timeout=${ROLLOUT_S}s`);
  stop.abort();
  await watching;
  assert.ok(counts.includes(2), `the new pod served beside the old one: ${counts}`);
  assert.ok(Math.min(...counts) >= 1, `${counts}`);
}

if (canUse("kubectl")) {
  describe("the troubles of the page on one machine", { concurrency: 1 }, () => {
    before(async () => {
      store = await startServer(
        ({ url = "" }, response) => {
          response.writeHead(url.startsWith("/denied") ? 403 : 404).end();
        },
        { host: "127.0.0.2" },
      );
      const place = await newPlace();
      const flags = placeFlags(place.stateDir, place.ports);
      machine = await LocalMachine.start(`exec node bin/loradock up --no-sample ${flags}`, place);
      client = await machineClient(machine.stateDir);
    });
    after(async () => {
      await client?.close();
      await machine?.stop();
      await store?.close();
    });

    describe("at the same time", { concurrency: true }, () => {
      for (const [at, [heading, provoke]] of Object.entries(MACHINE_TROUBLES).entries()) {
        const namespace = `trouble-${at}`;
        it(heading, async () => {
          await provoke(namespace);
          await isOnPage(heading, namespace);
        });
      }

      it("minReadySeconds keeps an adapter served through a rolling update", () =>
        rollingUpdate("rollout"));
    });

    it("no command of the page is left out", () => {
      const provoked = [...Object.keys(TROUBLES), ...Object.keys(MACHINE_TROUBLES)].sort();
      assert.deepEqual([...PAGE.keys()].sort(), provoked);
    });
  });
}
