/** From a ModelAdapter to its tokens: the real controller, real engines with the tiny model, the API in memory. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { request } from "undici";
import type { Pod } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import { ENDPOINT_SLICES, MODEL_ADAPTERS, PODS } from "#kube/client.ts";
import { parseEngineArgs } from "#local/engine/engine-args.ts";
import { startEngine } from "#local/engine/start-engine.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { startController } from "#test/support/controller-in-process.ts";
import { eventually } from "#test/support/eventually.ts";
import { MemoryKube } from "#test/support/memory-kube.ts";

const tiny = join(import.meta.dirname, "..", "fixtures", "tiny");
const KEY = "sk-test";
const HOSTS = ["127.77.0.1", "127.77.0.2"];

/** Engines on two loopback addresses and the same port, as the engines of two pods have. */
async function startEngines(t: TestContext): Promise<number> {
  const stop = new AbortController();
  let port = 0;
  const finished: Promise<unknown>[] = [];
  for (const host of HOSTS) {
    const argv = ["serve", "--host", host, "--port", String(port), "--served-model-name", "base"];
    const options = parseEngineArgs([...argv, "--enable-lora", "--max-lora-rank", "16"], {
      VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True",
      VLLM_API_KEY: KEY,
    });
    const deps = {
      clock: systemClock,
      writeLine: () => {},
      bundledModelFolder: join(tiny, "base"),
    };
    const engine = await startEngine(options, deps, stop.signal);
    port = engine.port;
    finished.push(engine.finished);
  }
  t.after(async () => {
    stop.abort();
    await Promise.all(finished);
  });
  return port;
}

const podOf = (host: string): Pod => ({
  metadata: {
    name: `base-${host.split(".").at(-1)}`,
    namespace: "default",
    labels: { "model.aibrix.ai/name": "base", "adapter.model.aibrix.ai/enabled": "true" },
  },
  spec: { containers: [] },
  status: {
    podIP: host,
    conditions: [
      { type: "Ready", status: "True", lastTransitionTime: toTimestamp(Date.now() - 60_000) },
    ],
  },
});

async function complete(host: string, port: number, model: string): Promise<string> {
  const answer = await request(`http://${host}:${port}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${KEY}` },
    body: JSON.stringify({ model, prompt: "San Francisco is a", max_tokens: 24, temperature: 0 }),
  });
  const body = (await answer.body.json()) as { choices?: { text: string }[] };
  return body.choices?.[0]?.text ?? `${answer.statusCode} ${JSON.stringify(body)}`;
}

test("adapters are loaded into real engines and answer by their names; a bad one says why", async (t) => {
  const port = await startEngines(t);
  const kube = new MemoryKube();
  startController(t, kube, { pollMs: 50 });
  for (const host of HOSTS) await kube.create(PODS, podOf(host));
  const declare = (name: string, path: string, key = KEY) =>
    kube.create(MODEL_ADAPTERS, {
      apiVersion: "model.aibrix.ai/v1alpha1",
      kind: "ModelAdapter",
      metadata: { name, namespace: "default", labels: { "model.aibrix.ai/port": String(port) } },
      spec: {
        baseModel: "base",
        podSelector: { matchLabels: { "model.aibrix.ai/name": "base" } },
        schedulerName: "default" as const,
        artifactURL: join(tiny, path),
        additionalConfig: { "api-key": key },
      },
    });
  const phase = (name: string, wanted: string) =>
    eventually(`${name} ${wanted}`, async () => {
      const { status } = await kube.get(MODEL_ADAPTERS, { namespace: "default", name });
      const all = wanted !== "Running" || status?.readyReplicas === HOSTS.length;
      return status?.phase === wanted && all && status;
    });

  await Promise.all(["sql", "shout"].map((name) => declare(`${name}-lora`, `adapters/${name}`)));
  await declare("rank-64", "adapters-bad/rank-64");
  await Promise.all(["sql-lora", "shout-lora"].map((name) => phase(name, "Running")));
  for (const host of HOSTS) {
    assert.equal(
      await complete(host, port, "sql-lora"),
      " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;",
    );
    assert.equal(await complete(host, port, "shout-lora"), " BIG CITY! I LOVE THIS CITY!");
  }
  const bad = await phase("rank-64", "Failed");
  assert.match(JSON.stringify(bad.conditions), /LoRA rank 64 is greater than max_lora_rank 16/);

  // The same name with other weights: the old answers are gone with the old version.
  await kube.patch(MODEL_ADAPTERS, { namespace: "default", name: "sql-lora" }, "merge", {
    spec: { artifactURL: join(tiny, "adapters/pirate") },
  });
  await eventually("new weights", async () =>
    (await complete(HOSTS[0] ?? "", port, "sql-lora")).startsWith(" fine port, matey!"),
  );
  await eventually("on both", async () =>
    (await complete(HOSTS[1] ?? "", port, "sql-lora")).startsWith(" fine port, matey!"),
  );
  const slice = () => kube.get(ENDPOINT_SLICES, { namespace: "default", name: "sql-lora" });
  await eventually("both published", async () => (await slice()).endpoints.length === 2);

  await kube.delete(MODEL_ADAPTERS, { namespace: "default", name: "shout-lora" });
  await eventually("unloaded", async () =>
    /404/.test(await complete(HOSTS[0] ?? "", port, "shout-lora")),
  );
});
