/** While an adapter does not serve, its status says why, pod by pod, in words that name the cure. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { Reason } from "#api/reasons.ts";
import { SERVICES } from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import type { FakeEngine } from "../support/fake-engine.ts";
import { itWithKubectl } from "../support/programs.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, podLinesOf, type SpecChange, World } from "./world.ts";

const UNAUTHORIZED =
  "Unauthorized: set additionalConfig.api-key (or spec.apiKeySecretRef) to the engine's API key";
const UPDATING_DISABLED =
  "runtime LoRA updating is disabled: set VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in the engine's container";

/** What an engine refuses for good, and what the status then says. */
const REFUSALS: Readonly<
  Record<
    string,
    {
      readonly engine: (engine: FakeEngine) => void;
      readonly spec?: SpecChange;
      readonly reason?: Reason;
      readonly says: RegExp;
    }
  >
> = {
  "a key that the engine asks for": {
    engine: (engine) => {
      engine.apiKey = "sk-secret";
    },
    says: new RegExp(UNAUTHORIZED.replaceAll(/[().]/g, "\\$&")),
  },
  "a key that the engine does not take": {
    engine: (engine) => {
      engine.apiKey = "sk-secret";
    },
    spec: { additionalConfig: { "api-key": "sk-wrong" } },
    says: new RegExp(
      `${UNAUTHORIZED.replaceAll(/[().]/g, "\\$&")}: the one that was sent is refused`,
    ),
  },
  "updating that the engine does not allow": {
    engine: (engine) => {
      engine.isFixed = true;
    },
    says: new RegExp(UPDATING_DISABLED),
  },
  "a rank above the engine's": {
    engine: (engine) => {
      engine.refusal = "main-11-load-bad-rank-64";
    },
    says: /LoRA rank 64 is greater than max_lora_rank 16: start the engine with --max-lora-rank 64 or more/,
  },
  "an artifact that is not there": {
    engine: (engine) => {
      engine.sees = () => false;
    },
    says: /No adapter found for \/adapters\/lora: check spec\.artifactURL/,
  },
  "a URL that is none": {
    engine: () => {},
    spec: { artifactURL: "huggingface://lora" },
    reason: "ValidationFailed",
    says: /artifactURL must be huggingface:\/\/<organisation>\/<repository>/,
  },
  "a bucket without a sidecar": {
    engine: () => {},
    spec: { artifactURL: "s3://bucket/lora" },
    says: /s3:\/\/ needs the runtime sidecar: add a container named aibrix-runtime to the pods and start the controller with --enable-runtime-sidecar/,
  },
  "credentials without a sidecar": {
    engine: () => {},
    spec: { credentialsSecretRef: { name: "hub" }, artifactURL: "huggingface://o/r" },
    says: /credentialsSecretRef needs the runtime sidecar/,
  },
  "a Secret that is not there": {
    engine: () => {},
    spec: { apiKeySecretRef: { name: "keys", key: "vllm" } },
    says: /Secret \S+\/keys does not exist: create it, or correct the reference/,
  },
};

export function reasonTests(stage: Stage): void {
  for (const [what, refusal] of Object.entries(REFUSALS)) {
    const { engine, spec, reason = "ModelAdapterLoadingError", says } = refusal;
    it(`Failed says the cure: ${what}`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      engine(pod.engine);
      await world.declare("lora", spec);
      const adapter = await world.phase("lora", "Failed");
      const [, scheduled, loaded, bound, ready, ...more] = conditionsOf(adapter);
      assert.match(scheduled ?? "", /^Scheduled=True/);
      const all = "Loading failed on all pods: pod pod-1: ";
      assert.ok(loaded?.startsWith(`Loaded=False ${reason}: pod pod-1: `), loaded);
      assert.ok(bound?.startsWith(`Bound=False ${reason}: ${all}`), bound);
      assert.ok(ready?.startsWith(`Ready=False ${reason}: ${all}`), ready);
      assert.deepEqual(more, []);
      const [line] = podLinesOf(adapter);
      const { summary } = adapter.status ?? {};
      for (const text of [loaded, bound, ready, line, summary]) assert.match(text ?? "", says);
      assert.ok(line?.startsWith(`pod-1 Failed ${reason}: `), line);
      assert.ok(summary?.startsWith(`${reason}: pod-1: `), summary);
      await eventually("told", async () => {
        const last = (await world.events("lora")).at(-1) ?? "";
        return says.test(last) && last.startsWith(`Warning ${reason} `);
      });
      assert.equal(await world.service("lora"), undefined);
    });
  }

  itWithKubectl("the cure is applied with kubectl, and works at once", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    pod.engine.apiKey = "sk-secret";
    await world.declare("lora");
    await world.phase("lora", "Failed");
    const wide = await world.kubectl("get", "modeladapters", "-o", "wide");
    const reason = `ModelAdapterLoadingError: pod-1: ${UNAUTHORIZED}`;
    assert.match(wide, /\nlora +Failed +1 +0 +1 /);
    assert.ok(wide.includes(` ${reason}   base\n`), wide);
    const told = await world.kubectl("describe", "modeladapter", "lora");
    assert.ok(told.includes(UNAUTHORIZED), told);
    const cure = JSON.stringify({ spec: { additionalConfig: { "api-key": "sk-secret" } } });
    await world.kubectl("patch", "modeladapter", "lora", "--type=merge", "-p", cure);
    await world.serving("lora", pod);
    const shown = await world.kubectl("describe", "modeladapter", "lora");
    assert.equal(shown.split("sk-secret").length, 2, "the key is in the spec alone");
  });

  it("no pod matches", async (t) => {
    const world = await World.make(stage, t);
    await world.declare("lora");
    const adapter = await world.phase("lora", "Pending");
    assert.deepEqual(conditionsOf(adapter), [
      "Initialized=Unknown ModelAdapterPending: Starting reconciliation",
      ...["Scheduled=False PodNotReady: ", "Ready=False ModelAdapterUnavailable: "].map(
        (what) =>
          `${what}No pod matches spec.podSelector: check that the base model's pods run in this namespace and carry its labels`,
      ),
    ]);
    assert.deepEqual(adapter.status?.candidates, 0);
  });

  it("each pod that matches and cannot host it says what it lacks", async (t) => {
    const world = await World.make(stage, t);
    const only = { "model.aibrix.ai/name": "base" };
    await world.pod("pod-1", { labels: only });
    await world.pod("pod-2", { readyForMs: undefined });
    const third = await world.pod("pod-3", { isBound: true });
    await third.delete({ gracePeriodSeconds: 600 });
    await world.declare("lora");
    const lacks = [
      "pod pod-1 lacks the label adapter.model.aibrix.ai/enabled=true",
      "pod pod-2 is not Ready",
      "pod pod-3 is terminating",
    ];
    // It may hear of the adapter before it hears of the last pod.
    const adapter = await world.until("lora", "tells of all three", (seen) =>
      conditionsOf(seen).includes(
        `Scheduled=False PodNotReady: No pod can host the adapter: ${lacks.join("; ")}`,
      ),
    );
    assert.equal(adapter.status?.phase, "Pending");
    assert.deepEqual(podLinesOf(adapter), [
      "pod-1 Waiting PodNotReady: The pod lacks the label adapter.model.aibrix.ai/enabled=true",
      "pod-2 Waiting PodNotReady: The pod is not Ready",
      "pod-3 Waiting PodNotReady: The pod is terminating",
    ]);
  });

  it("another base model on the pod is a warning", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora", { baseModel: "other" });
    assert.deepEqual(podLinesOf(await world.serving("lora", pod)), [
      "pod-1 Loaded BaseModelMismatch: spec.baseModel is other, but the pod's label model.aibrix.ai/name is base",
    ]);
  });

  it("somebody else's Service of that name is reported, and left alone", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const spec = { ports: [{ port: 80 }], selector: { app: "shop" } };
    await stage.client.create(SERVICES, { metadata: world.named("lora"), spec });
    await world.declare("lora");
    const adapter = await world.phase("lora", "Bound");
    const why = `Service ${world.namespace}/lora exists and belongs to somebody else: delete or rename it, or give the adapter another name`;
    assert.deepEqual(conditionsOf(adapter).slice(3), [
      `Bound=False ServiceCreateError: ${why}`,
      `Ready=False ServiceCreateError: ${why}`,
    ]);
    assert.deepEqual((await world.service("lora"))?.spec.selector, { app: "shop" });
    await stage.client.delete(SERVICES, world.named("lora"));
    await world.serving("lora", pod);
  });
}
