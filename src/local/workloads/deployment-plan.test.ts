import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Deployment, Pod, ReplicaSet } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import { type DeploymentPlan, planDeployment, REVISION } from "./deployment-plan.ts";
import { controllerReference } from "./pod-state.ts";
import { isSameTemplate } from "./pod-template-hash.ts";
import { planReplicaSet } from "./replica-set-plan.ts";
import { rollingLimits } from "./rolling-limits.ts";

const START = Date.parse("2026-01-02T03:04:05Z");

type Spec = Deployment["spec"];

/** A Deployment with its ReplicaSets and pods, moved by the two planners and by us. */
class World {
  deployment: Deployment;
  replicaSets: ReplicaSet[] = [];
  pods: Pod[] = [];
  nowMs = START;
  #serial = 0;

  constructor(spec: Partial<Spec> = {}) {
    this.deployment = {
      metadata: { name: "web", namespace: "ns", uid: "d", generation: 1 },
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: "web" } },
        template: World.template("v1"),
        ...spec,
      },
    };
  }

  static template(image: string): Spec["template"] {
    return {
      metadata: { labels: { app: "web" } },
      spec: { containers: [{ name: "main", image }] },
    };
  }

  use(image: string): void {
    this.deployment.spec.template = World.template(image);
    this.deployment.metadata.generation = (this.deployment.metadata.generation ?? 0) + 1;
  }

  plan(): DeploymentPlan {
    return planDeployment({
      deployment: this.deployment,
      replicaSets: this.replicaSets,
      podsOf: (set) => this.podsOf(set).length,
      nowMs: this.nowMs,
    });
  }

  podsOf(set: ReplicaSet): Pod[] {
    return this.pods.filter((pod) => pod.metadata.ownerReferences?.[0]?.uid === set.metadata.uid);
  }

  /** One pass of the Deployment controller; true when it changed something. */
  deploy(): boolean {
    const plan = this.plan();
    if (plan.create !== undefined) {
      const metadata = {
        ...plan.create.metadata,
        uid: `rs-${this.#serial++}`,
        generation: 1,
        creationTimestamp: toTimestamp(this.nowMs + this.#serial * 1000),
      };
      this.replicaSets.push({ ...plan.create, metadata });
    }
    for (const { replicaSet, to } of plan.scale) replicaSet.spec.replicas = to;
    for (const { replicaSet, annotations } of plan.annotate) {
      replicaSet.metadata.annotations = { ...replicaSet.metadata.annotations, ...annotations };
    }
    this.replicaSets = this.replicaSets.filter((set) => !plan.prune.includes(set));
    if (plan.revision !== undefined) {
      this.deployment.metadata.annotations = {
        ...this.deployment.metadata.annotations,
        [REVISION]: plan.revision,
      };
    }
    this.deployment.status = plan.status;
    return plan.create !== undefined || plan.scale.length > 0;
  }

  /** One pass of the ReplicaSet controller over one ReplicaSet. */
  replicate(set: ReplicaSet): void {
    const plan = planReplicaSet({
      replicaSet: set,
      pods: this.pods,
      deleted: new Set(),
      nowMs: this.nowMs,
    });
    for (let count = 0; count < plan.create; count++) {
      const name = `pod-${this.#serial++}`;
      this.pods.push({
        metadata: {
          name,
          uid: name,
          labels: { ...set.spec.template?.metadata?.labels },
          ownerReferences: [controllerReference(set, "apps/v1", "ReplicaSet")],
        },
        spec: { containers: [], nodeName: "loradock" },
        status: { phase: "Running", conditions: [{ type: "Ready", status: "False" }] },
      });
    }
    this.pods = this.pods.filter((pod) => !plan.delete.includes(pod));
    set.status = planReplicaSet({
      replicaSet: set,
      pods: this.pods,
      deleted: new Set(),
      nowMs: this.nowMs,
    }).status;
  }

  ready(pod: Pod): void {
    pod.status = {
      phase: "Running",
      conditions: [{ type: "Ready", status: "True", lastTransitionTime: toTimestamp(this.nowMs) }],
    };
  }

  get readyPods(): number {
    return this.pods.filter((pod) => pod.status?.conditions?.[0]?.status === "True").length;
  }

  /** Everything moves until nothing does. */
  settle(): void {
    for (let round = 0; round < 200; round++) {
      const changed = this.deploy();
      for (const set of this.replicaSets) this.replicate(set);
      for (const pod of this.pods) this.ready(pod);
      for (const set of this.replicaSets) this.replicate(set);
      if (!changed && this.isComplete) {
        this.deploy();
        return;
      }
    }
    assert.fail("the rollout does not come to an end");
  }

  get isComplete(): boolean {
    const { status, spec } = this.deployment;
    return (
      status?.updatedReplicas === spec.replicas &&
      status?.replicas === spec.replicas &&
      status?.availableReplicas === spec.replicas
    );
  }

  condition(type: string) {
    return this.deployment.status?.conditions?.find((condition) => condition.type === type);
  }
}

describe("planDeployment", () => {
  it("creates a ReplicaSet named after its template and rolls it out", () => {
    const world = new World();
    world.settle();
    const [set] = world.replicaSets;
    assert.match(set?.metadata.name ?? "", /^web-[bcdfghjklmnpqrstvwxz2456789]{1,10}$/);
    const hash = set?.metadata.labels?.["pod-template-hash"];
    assert.equal(set?.metadata.name, `web-${hash}`);
    assert.equal(set?.spec.selector.matchLabels?.["pod-template-hash"], hash);
    assert.equal(set?.metadata.annotations?.[REVISION], "1");
    assert.equal(world.deployment.metadata.annotations?.[REVISION], "1");
    assert.deepEqual(
      world.deployment.status?.conditions?.map(({ type, status, reason }) => [
        type,
        status,
        reason,
      ]),
      [
        ["Available", "True", "MinimumReplicasAvailable"],
        ["Progressing", "True", "NewReplicaSetAvailable"],
      ],
    );
    assert.equal(world.deployment.status?.observedGeneration, 1);
  });

  it("rolls to a new template and back, counting revisions as kubectl shows them", () => {
    const world = new World();
    world.settle();
    world.use("v2");
    world.settle();
    const revisions = () =>
      Object.fromEntries(
        world.replicaSets.map((set) => [
          set.spec.template?.spec.containers[0]?.image,
          set.metadata.annotations?.[REVISION],
        ]),
      );
    assert.deepEqual(revisions(), { v1: "1", v2: "2" });
    world.use("v1");
    world.settle();
    assert.deepEqual(revisions(), { v1: "3", v2: "2" });
    assert.equal(world.deployment.metadata.annotations?.[REVISION], "3");
    assert.deepEqual(
      world.replicaSets.map((set) => set.spec.replicas),
      [3, 0],
    );
  });

  it("never has too many or too few pods while it rolls", () => {
    const share = fc.oneof(
      fc.integer({ min: 0, max: 4 }),
      fc.constantFrom("0%", "25%", "50%", "100%"),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        share,
        share,
        fc.array(fc.nat(1_000), { minLength: 40, maxLength: 120 }),
        (replicas, maxSurge, maxUnavailable, steps) => {
          const strategy = { rollingUpdate: { maxSurge, maxUnavailable } };
          const world = new World({ replicas, strategy });
          world.settle();
          const { surge, unavailable } = rollingLimits(world.deployment);
          for (const [index, step] of steps.entries()) {
            if (index % 30 === 0) world.use(`v${index}`);
            const set = world.replicaSets[step % world.replicaSets.length];
            const pod = world.pods[step % world.pods.length];
            if (step % 3 === 0) world.deploy();
            else if (step % 3 === 1 && set !== undefined) world.replicate(set);
            else if (pod !== undefined) world.ready(pod);
            // Old pods may still be there beside those of several templates begun since, but the
            // ReplicaSets never ask for more than the surge allows.
            const asked = world.replicaSets.reduce((sum, one) => sum + (one.spec.replicas ?? 0), 0);
            assert.ok(asked <= replicas + surge, `${asked} asked of ${replicas}+${surge}`);
            assert.ok(
              world.readyPods >= replicas - unavailable,
              `${world.readyPods} ready of ${replicas}-${unavailable}`,
            );
          }
          world.settle();
          const current = world.replicaSets.filter((one) => (one.spec.replicas ?? 0) > 0);
          assert.equal(current.length, 1);
          assert.ok(
            isSameTemplate(
              current[0]?.spec.template ?? { spec: { containers: [] } },
              world.deployment.spec.template,
            ),
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  it("replaces pods that never became ready without waiting for them", () => {
    const world = new World();
    world.settle();
    world.use("broken");
    for (let round = 0; round < 5; round++) {
      world.deploy();
      for (const set of world.replicaSets) world.replicate(set);
    }
    assert.equal(world.readyPods, 3, "the old ones serve on");
    world.use("v3");
    world.settle();
    assert.equal(world.pods.length, 3);
  });

  it("waits for the end of all old pods when it recreates", () => {
    const world = new World({ strategy: { type: "Recreate" } });
    world.settle();
    world.use("v2");
    world.deploy();
    world.deploy();
    assert.deepEqual(
      world.replicaSets.map((set) => set.spec.replicas),
      [0, 0],
    );
    world.deploy();
    assert.deepEqual(
      world.replicaSets.map((set) => set.spec.replicas),
      [0, 0],
      "pods are there",
    );
    for (const set of world.replicaSets) world.replicate(set);
    world.deploy();
    assert.deepEqual(
      world.replicaSets.map((set) => set.spec.replicas),
      [0, 3],
    );
    world.settle();
  });

  it("follows its scale, and nothing else while it is paused", () => {
    const world = new World();
    world.settle();
    world.deployment.spec.paused = true;
    world.deployment.spec.replicas = 5;
    world.use("v2");
    world.deploy();
    assert.deepEqual(
      world.replicaSets.map((set) => set.spec.replicas),
      [5],
    );
    assert.equal(world.condition("Progressing")?.reason, "DeploymentPaused");
    world.deployment.spec.paused = false;
    world.settle();
    assert.deepEqual(
      world.replicaSets.map((set) => set.spec.replicas),
      [0, 5],
    );
    world.deployment.spec.replicas = 0;
    world.settle();
    assert.equal(world.pods.length, 0);
  });

  it("keeps revisionHistoryLimit old ReplicaSets", () => {
    const world = new World({ revisionHistoryLimit: 2 });
    for (const image of ["a", "b", "c", "d", "e"]) {
      world.use(image);
      world.settle();
    }
    const images = world.replicaSets.map((set) => set.spec.template?.spec.containers[0]?.image);
    assert.deepEqual(images, ["c", "d", "e"]);
  });

  it("says that it is stuck after progressDeadlineSeconds, and that it goes on again", () => {
    const world = new World({ progressDeadlineSeconds: 60 });
    world.deploy();
    for (const set of world.replicaSets) world.replicate(set);
    world.deploy();
    assert.equal(world.condition("Progressing")?.status, "True");
    assert.equal(world.condition("Available")?.status, "False");
    const { wakeAtMs } = world.plan();
    assert.equal(wakeAtMs, START + 60_000);
    world.nowMs = START + 60_000;
    world.deploy();
    assert.equal(world.condition("Progressing")?.reason, "ProgressDeadlineExceeded");
    world.settle();
    assert.equal(world.condition("Progressing")?.reason, "NewReplicaSetAvailable");
  });

  it("rounds shares as Kubernetes does and never to a standstill", () => {
    const limits = (replicas: number, rollingUpdate?: object) =>
      rollingLimits(
        new World({ replicas, ...(rollingUpdate && { strategy: { rollingUpdate } }) }).deployment,
      );
    assert.deepEqual(limits(3), { surge: 1, unavailable: 0 });
    assert.deepEqual(limits(10), { surge: 3, unavailable: 2 });
    assert.deepEqual(limits(3, { maxSurge: "0%", maxUnavailable: "10%" }), {
      surge: 0,
      unavailable: 1,
    });
  });
});
