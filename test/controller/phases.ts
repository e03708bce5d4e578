/** What the documentation shows: phases, conditions, Events, and what kubectl prints of them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { it } from "node:test";
import { TINY } from "../support/adapters.ts";
import { eventually } from "../support/eventually.ts";
import { itWithKubectl } from "../support/programs.ts";
import { gate } from "./gate.ts";
import { BASE_LABELS } from "./pods.ts";
import { startRealEngine, TEXTS } from "./real-engine.ts";
import type { Stage } from "./stage.ts";
import { conditionsOf, World } from "./world.ts";

const STABLE_MS = 5000;

export function phaseTests(stage: Stage): void {
  it("an adapter goes through the phases in the documentation's words", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const loading = gate();
    pod.engine.before = () => loading.opened;
    await world.declare("qwen-code-lora");
    const about = `ModelAdapter ${world.namespace}/qwen-code-lora`;
    const begun = [
      "Initialized=Unknown ModelAdapterPending: Starting reconciliation",
      `Scheduled=True Scheduled: ${about} has selected 1 pods for scheduling: [pod-1]`,
    ];
    const during = await world.phase("qwen-code-lora", "Loading");
    assert.deepEqual(conditionsOf(during), [
      ...begun,
      "Loaded=False Loading: Loading adapter on pod pod-1",
    ]);
    assert.equal(await world.service("qwen-code-lora"), undefined);
    loading.open();
    const after = await world.serving("qwen-code-lora", pod);
    assert.deepEqual(conditionsOf(after), [
      ...begun,
      "Loaded=True Loaded: Successfully loaded adapter on pod pod-1",
      `Bound=True Bound: Service and EndpointSlice ${world.namespace}/qwen-code-lora are in place`,
      `Ready=True ModelAdapterAvailable: ${about} is ready`,
    ]);
    const { metadata, status } = after;
    assert.equal(status?.observedGeneration, metadata.generation);
    for (const condition of status?.conditions ?? []) {
      assert.equal(condition.observedGeneration, metadata.generation);
    }
    assert.deepEqual(
      [status?.candidates, status?.desiredReplicas, status?.readyReplicas, status?.instances],
      [1, 1, 1, ["pod-1"]],
    );
    assert.deepEqual(pod.engine.calls, ["load qwen-code-lora /adapters/qwen-code-lora"]);
    await eventually("all is told", async () => {
      const events = await world.events("qwen-code-lora");
      return events.at(-1)?.includes("is ready");
    });
    assert.deepEqual(await world.events("qwen-code-lora"), [
      "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [pod-1]",
      "Normal Loading Loading adapter on pod pod-1",
      "Normal Loaded Successfully loaded adapter on pod pod-1",
      `Normal ModelAdapterAvailable ${about} is ready`,
    ]);
    assert.deepEqual(metadata.annotations ?? {}, {});
  });

  itWithKubectl("kubectl shows it all, and waits for it", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const loading = gate();
    pod.engine.before = () => loading.opened;
    await world.declare("my-lora");
    await world.phase("my-lora", "Loading");
    const waiting = world.kubectl(
      "wait",
      "--for=condition=Ready",
      "modeladapter/my-lora",
      "--timeout=30s",
    );
    const wide = await world.kubectl("get", "modeladapters", "-o", "wide");
    assert.match(
      wide,
      /^NAME +PHASE +DESIRED +READY +CANDIDATES +MODEL PATH +AGE +INSTANCES +REASON +BASE MODEL\n/,
    );
    assert.match(wide, /\nmy-lora +Loading +1 +0 +1 +\/adapters\/my-lora /);
    loading.open();
    assert.match(await waiting, /modeladapter\.model\.aibrix\.ai\/my-lora condition met/);
    const ready = await world.kubectl("get", "modeladapters", "-o", "wide");
    assert.match(
      ready,
      /\nmy-lora +Running +1 +1 +1 +\/adapters\/my-lora +\S+ +\["pod-1"\] +ModelAdapterAvailable +base\n/,
    );
    await eventually("told", async () => (await world.events("my-lora")).length === 4);
    const told = await world.kubectl("describe", "modeladapter", "my-lora");
    const inOrder = [
      "Message:               Starting reconciliation",
      "Reason:                ModelAdapterPending",
      "Status:                Unknown",
      "Type:                  Initialized",
      `Message:               ModelAdapter ${world.namespace}/my-lora has selected 1 pods for scheduling: [pod-1]`,
      "Reason:                Scheduled",
      `Message:               ModelAdapter ${world.namespace}/my-lora is ready`,
      "Reason:                ModelAdapterAvailable",
      "Type:                  Ready",
      "Instances:\n    pod-1",
      "Running",
      "Events:",
      "Scheduled",
      "ModelAdapter has selected 1 pods for scheduling: [pod-1]",
      "Successfully loaded adapter on pod pod-1",
    ];
    let from = 0;
    for (const text of inOrder) {
      const at = told.indexOf(text, from);
      assert.ok(at >= 0, `${text} is not where it should be in:\n${told}`);
      from = at;
    }
    const found = await world.kubectl(
      "get",
      "svc,endpointslices",
      "-l",
      "model.aibrix.ai/name=my-lora",
    );
    assert.match(found, /\nservice\/my-lora +ClusterIP +None +<none> +8000\/TCP/);
    assert.match(
      found,
      new RegExp(`\\nendpointslice.discovery.k8s.io/my-lora +IPv4 +8000 +${pod.host} `),
    );
    assert.match(await world.kubectl("get", "svc", "my-lora"), /\nmy-lora +ClusterIP +None/);
    const events = await world.kubectl(
      "get",
      "events",
      "--field-selector",
      "involvedObject.kind=ModelAdapter",
    );
    assert.match(
      events,
      /Normal +Scheduled +modeladapter\/my-lora +ModelAdapter has selected 1 pods/,
    );
    assert.match(
      events,
      /Normal +Loaded +modeladapter\/my-lora +Successfully loaded adapter on pod pod-1/,
    );
  });

  itWithKubectl("kubectl waits for a new version on every pod", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", ...pods);
    const loading = gate();
    const asked = Promise.withResolvers<void>();
    for (const { engine } of pods) {
      engine.before = () => {
        asked.resolve();
        return loading.opened;
      };
    }
    await world.change("lora", { artifactURL: "/adapters/lora-2" });
    const condition = (type: string) =>
      world.kubectl("wait", `--for=condition=${type}`, "modeladapter/lora", "--timeout=30s");
    await asked.promise;
    await condition("Ready");
    const waiting = condition("Loaded");
    loading.open();
    await waiting;
    const paths = pods.map(({ engine }) => engine.held.get("lora"));
    assert.deepEqual(paths, ["/adapters/lora-2", "/adapters/lora-2"]);
  });

  it("without replicas it is on every pod, and on each that comes", async (t) => {
    const world = await World.make(stage, t);
    const [one, two] = await world.pods("pod-1", "pod-2");
    await world.declare("lora");
    await world.serving("lora", one, two);
    const three = await world.pod("pod-3");
    const { status } = await world.serving("lora", one, two, three);
    assert.deepEqual([status?.desiredReplicas, status?.readyReplicas], [3, 3]);
    assert.deepEqual(one.engine.calls, ["load lora /adapters/lora"]);
  });

  for (const replicas of [undefined, 1] as const) {
    it(`a pod is chosen after five seconds of being Ready, replicas ${replicas ?? "absent"}`, async (t) => {
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1", { readyForMs: undefined });
      let calledMs = 0;
      pod.engine.before = async () => {
        calledMs = Date.now();
      };
      await world.declare("lora", replicas === undefined ? {} : { replicas });
      await world.until("lora", "not Ready", (adapter) =>
        conditionsOf(adapter).includes(
          "Scheduled=False PodNotReady: No pod can host the adapter: pod pod-1 is not Ready",
        ),
      );
      // Kubernetes' times have no fractions: what is kept from here on is a second at most too long.
      const readyMs = Math.floor(Date.now() / 1000) * 1000;
      await pod.ready(0);
      await world.until("lora", "waits", (adapter) =>
        /pod pod-1 is Ready for [0-4] of 5 s/.test(conditionsOf(adapter).join()),
      );
      await world.serving("lora", pod);
      assert.ok(calledMs >= readyMs + STABLE_MS, `loaded after ${calledMs - readyMs} ms`);
      assert.ok(calledMs < readyMs + STABLE_MS + 3000, `loaded after ${calledMs - readyMs} ms`);
    });
  }

  it("one replica moves to another pod when its own is deleted, and stays there", async (t) => {
    const world = await World.make(stage, t);
    const pods = await world.pods("pod-1", "pod-2");
    await world.declare("lora", { replicas: 1 });
    const { status } = await world.phase("lora", "Running");
    const first = pods.find((pod) => pod.name === status?.instances?.[0]);
    const second = pods.find((pod) => pod !== first);
    assert.ok(first !== undefined && second !== undefined);
    assert.deepEqual(second.engine.calls, []);
    await first.delete();
    await world.serving("lora", second);
  });

  it("all pods gone: Pending, not Ready, and nobody is sent requests", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    await world.declare("lora");
    await world.serving("lora", pod);
    await pod.delete();
    const why =
      "No pod matches spec.podSelector: check that the base model's pods run in this namespace and carry its labels";
    const adapter = await world.until("lora", "knows", (seen) =>
      conditionsOf(seen).includes(`Scheduled=False Rescheduling: ${why}`),
    );
    const conditions = conditionsOf(adapter);
    assert.equal(adapter.status?.phase, "Pending");
    assert.equal(conditions.at(-1), `Ready=False ModelAdapterUnavailable: ${why}`);
    assert.deepEqual(adapter.status?.instances, []);
    await world.published("lora");
    await world.serving("lora", await world.pod("pod-2"));
  });

  it("a real engine answers with the adapter that was declared", async (t) => {
    const world = await World.make(stage, t);
    const pod = await world.pod("pod-1");
    const complete = await startRealEngine(t, pod);
    await world.declare("sql-lora", { artifactURL: join(TINY, "adapters/sql") });
    await world.declare("rank-64", { artifactURL: join(TINY, "adapters-bad/rank-64") });
    await world.serving("sql-lora", pod);
    assert.equal(await complete("sql-lora"), TEXTS.sql);
    const failed = await world.phase("rank-64", "Failed");
    assert.match(conditionsOf(failed).join(), /LoRA rank 64 is greater than max_lora_rank 16/);
  });

  it("labels, not names, say which pods", async (t) => {
    const world = await World.make(stage, t);
    const [one] = await world.pods("pod-1", "pod-2");
    await one.label({ tier: "gold" });
    const podSelector = {
      matchLabels: BASE_LABELS,
      matchExpressions: [{ key: "tier", operator: "In" as const, values: ["gold", "silver"] }],
    };
    await world.declare("lora", { podSelector });
    await world.serving("lora", one);
  });
}
