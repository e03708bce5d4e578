/** The controller as a process that is watched, doubled, stopped, killed, and left without its API server. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { Agent, request } from "undici";
import { CONTROLLER_NAME, SYSTEM_NAMESPACE } from "#api/names.ts";
import { LEASES } from "#kube/client.ts";
import { prepare } from "../conformance/prepare.ts";
import { eventually } from "../support/eventually.ts";
import type { Controller, Stage } from "./stage.ts";
import { World } from "./world.ts";

const PATIENCE_MS = 20_000;
const LEASE_MS = 4000;
const ELECTION = [
  "--leader-elect=true",
  `--leader-election-lease-duration=${LEASE_MS}ms`,
  "--leader-election-renew-deadline=3s",
];
/** A candidate looks at the lease every two seconds, give or take a fifth. */
const TRY_MS = 2400;
const BUSY_MS = 2000;
/** A few requests a second. */
const SLOW_MS = 60_000;

export function operationTests(stage: Stage): void {
  // Each has the cluster's adapters for itself: two controllers that do not know of each other would fight.
  describe("operation", () => {
    it("probes and metrics tell how it is", async (t) => {
      const controller = await started(stage, t);
      const world = await World.make(stage, t);
      const [pod, bad] = await world.pods("pod-1", "pod-2");
      bad.engine.fault = { status: 503, body: "" };
      await world.declare("lora");
      await world.serving("lora", pod);
      bad.engine.fault = undefined;
      await world.serving("lora", pod, bad);
      pod.engine.held.delete("lora");
      await eventually("loaded again", () => pod.engine.held.has("lora"), PATIENCE_MS);
      const [health, ready, metrics] = await Promise.all([
        fetch(`${controller.probes}/healthz`),
        fetch(`${controller.probes}/readyz`),
        fetch(`${controller.metrics}/metrics`),
      ]);
      assert.deepEqual([health.status, ready.status, metrics.status], [200, 200, 200]);
      const text = await metrics.text();
      for (const line of [
        /^controller_runtime_reconcile_total\{controller="model-adapter-controller",result="success"\} [1-9]/m,
        /^controller_runtime_reconcile_errors_total\{controller="model-adapter-controller"\} 0$/m,
        /^controller_runtime_reconcile_time_seconds_count\{controller="model-adapter-controller"\} [1-9]/m,
        /^controller_runtime_active_workers\{controller="model-adapter-controller"\} \d/m,
        /^controller_runtime_max_concurrent_reconciles\{controller="model-adapter-controller"\} [1-9]/m,
        /^workqueue_depth\{name="model-adapter-controller",controller="model-adapter-controller"\} \d/m,
        /^workqueue_adds_total\{name="model-adapter-controller",controller="model-adapter-controller"\} [1-9]/m,
        /^workqueue_queue_duration_seconds_count\{.*\} [1-9]/m,
        /^workqueue_work_duration_seconds_count\{.*\} [1-9]/m,
        /^workqueue_unfinished_work_seconds\{.*\} \d/m,
        /^workqueue_longest_running_processor_seconds\{.*\} \d/m,
        /^workqueue_retries_total\{.*\} \d/m,
        /^rest_client_requests_total\{code="200",method="GET",host="127.0.0.1:\d+"\} [1-9]/m,
        /^process_resident_memory_bytes [1-9]/m,
        /^loradock_adapters\{phase="Running"\} [1-9]/m,
        /^loradock_engine_operation_seconds_count\{kind="load",result="success"\} [1-9]/m,
        /^loradock_load_retries_total [1-9]/m,
        /^loradock_drift_repairs_total [1-9]/m,
        new RegExp(
          `^loradock_inventory_age_seconds\\{namespace="${world.namespace}",pod="pod-1"\\} \\d`,
          "m",
        ),
      ]) {
        assert.match(text, line);
      }
    });

    it("metrics are encrypted, and decisions told, when that is asked for", async (t) => {
      const controller = await started(stage, t, "--metrics-secure", "--debug-mode");
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      await world.declare("lora");
      await world.serving("lora", pod);
      const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
      t.after(() => dispatcher.close());
      const url = controller.metrics.replace("http:", "https:");
      const answer = await request(`${url}/metrics`, { dispatcher });
      assert.match(await answer.body.text(), /^loradock_adapters\{phase="Running"\} [1-9]/m);
      await assert.rejects(fetch(`${controller.metrics}/metrics`));
      const decision = `"Decided" ModelAdapter="${world.namespace}/lora" phase="Running"`;
      await eventually("it is told", () => controller.log().includes(decision));
    });

    it("leaves adapters alone when AIBrix's list of controllers leaves it out", async (t) => {
      const idle = await started(stage, t, "--controllers=*,-model-adapter-controller");
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      await world.declare("lora");
      await started(stage, t);
      await world.serving("lora", pod);
      assert.doesNotMatch(idle.log(), new RegExp(world.namespace));
      assert.deepEqual(pod.engine.calls, ["load lora /adapters/lora"]);
    });

    it("a graceful stop unloads nothing, and releases the lease", async (t) => {
      const controller = await started(stage, t, ...ELECTION);
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      await world.declare("lora");
      await world.serving("lora", pod);
      assert.notEqual(await holder(stage), "");
      await controller.stop();
      assert.equal(await controller.exited, 0);
      assert.equal(await holder(stage), "");
      assert.deepEqual(pod.engine.calls, ["load lora /adapters/lora"]);
      const next = await started(stage, t, ...ELECTION);
      await eventually("it leads", () => /This instance leads/.test(next.log()), LEASE_MS);
      await world.declare("other");
      await world.serving("other", pod);
    });

    it("when the leader is killed, another leads within the lease's time", async (t) => {
      const first = await leading(stage, t);
      const second = await standby(stage, t);
      assert.match(await scraped(second), /^leader_election_master_status\{.*\} 0$/m);
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      await world.declare("lora");
      await world.serving("lora", pod);
      const killedMs = Date.now();
      await first.kill();
      await eventually(
        "the other leads",
        () => /This instance leads/.test(second.log()),
        PATIENCE_MS,
      );
      const tookMs = Date.now() - killedMs;
      assert.ok(tookMs < LEASE_MS + TRY_MS + BUSY_MS, `${tookMs} ms`);
      assert.match(await scraped(second), /^leader_election_master_status\{.*\} 1$/m);
      await world.declare("other");
      await world.serving("other", pod);
      assert.deepEqual(pod.engine.calls, [
        "load lora /adapters/lora",
        "load other /adapters/other",
      ]);
    });

    it("a leader that stood still does nothing when it wakes up", async (t) => {
      const first = await leading(stage, t);
      const second = await standby(stage, t);
      first.child.kill("SIGSTOP");
      await eventually(
        "the other leads",
        () => /This instance leads/.test(second.log()),
        PATIENCE_MS,
      );
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      first.child.kill("SIGCONT");
      await world.declare("lora");
      await world.serving("lora", pod);
      assert.equal(await first.exited, 1);
      assert.match(
        first.log(),
        /lease aibrix-system\/aibrix-controller-manager was not renewed in time|went to/,
      );
      assert.deepEqual(pod.engine.calls, ["load lora /adapters/lora"]);
      assert.doesNotMatch(first.log(), new RegExp(world.namespace));
    });

    it("leads on when its own requests have to wait for one another", async (t) => {
      const limits = ["--kube-api-qps=4", "--kube-api-burst=1"];
      const controller = await started(stage, t, ...ELECTION, ...limits);
      const world = await World.make(stage, t);
      const pod = await world.pod("pod-1");
      const names = Array.from({ length: 20 }, (_, at) => `lora-${at}`);
      for (const name of names) await world.declare(name);
      await eventually("all are loaded", () => pod.engine.held.size === names.length, SLOW_MS);
      assert.equal(controller.child.exitCode, null, controller.log());
    });

    it("goes on when the definition of ModelAdapters is deleted, with all of them, and made again", async (t) => {
      const controller = await started(stage, t);
      const world = await World.make(stage, t);
      const pods = await world.pods("pod-1", "pod-2");
      await world.declare("lora");
      await world.declare("other");
      for (const name of ["lora", "other"]) await world.serving(name, ...pods);
      await world.removeDefinition();
      await eventually("unloaded", () => pods.every(({ engine }) => engine.held.size === 0));
      await eventually("nothing stays", async () => {
        const slices = [await world.slice("lora"), await world.slice("other")];
        return slices.every((slice) => slice === undefined) && !(await world.service("lora"));
      });
      await prepare(stage.target);
      await world.declare("lora");
      await eventually(
        "loaded again",
        () => pods.every(({ engine }) => engine.held.has("lora")),
        PATIENCE_MS,
      );
      await world.serving("lora", ...pods);
      assert.equal(controller.child.exitCode, null);
    });

    it("without an API server it waits; when there is one it works, and goes on after its restart", async (t) => {
      const world = await World.make(stage, t);
      const pods = await world.pods("pod-1", "pod-2");
      const [one] = pods;
      await world.declare("lora");
      await stage.api.halt();
      const controller = await stage.start();
      t.after(() => controller.stop());
      await eventually(
        "it says so",
        async () => {
          const answer = await fetch(`${controller.probes}/readyz`).catch(() => undefined);
          return answer?.status === 503 && /waiting for the API server/.test(await answer.text());
        },
        PATIENCE_MS,
      );
      assert.equal((await fetch(`${controller.probes}/healthz`)).status, 200);
      await stage.api.resume();
      await controller.ready();
      await world.serving("lora", ...pods);
      await stage.api.halt();
      const listsBefore = one.engine.lists;
      one.engine.held.delete("lora");
      await eventually("it asks on", () => one.engine.lists > listsBefore + 1, PATIENCE_MS);
      await stage.api.resume();
      await eventually("mended", () => one.engine.held.has("lora"), PATIENCE_MS);
      await world.serving("lora", ...pods);
      await world.declare("other");
      await world.serving("other", ...pods);
      assert.equal(controller.child.exitCode, null);
      const [, two] = pods;
      assert.deepEqual(two.engine.calls, [
        "load lora /adapters/lora",
        "load other /adapters/other",
      ]);
    });
  });
}

async function started(stage: Stage, t: TestContext, ...args: string[]): Promise<Controller> {
  const controller = await stage.start(...args);
  t.after(() => controller.stop());
  await controller.ready();
  return controller;
}

async function leading(stage: Stage, t: TestContext): Promise<Controller> {
  const controller = await started(stage, t, ...ELECTION);
  const leads = () => /This instance leads/.test(controller.log());
  // The lease of the test before may be somebody's who was killed.
  await eventually("it leads", leads, PATIENCE_MS);
  await controller.ready();
  return controller;
}

async function standby(stage: Stage, t: TestContext): Promise<Controller> {
  const controller = await started(stage, t, ...ELECTION);
  const says = /Another instance leads; its log has the work/;
  await eventually("it stands by", () => says.test(controller.log()), PATIENCE_MS);
  return controller;
}

async function scraped(controller: Controller): Promise<string> {
  return (await fetch(`${controller.metrics}/metrics`)).text();
}

async function holder(stage: Stage): Promise<string> {
  const name = { namespace: SYSTEM_NAMESPACE, name: CONTROLLER_NAME };
  return (await stage.client.get(LEASES, name)).spec.holderIdentity ?? "";
}
