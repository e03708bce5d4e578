import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Pod, ReplicaSet } from "#api/kubernetes.ts";
import { planReplicaSet } from "./replica-set-plan.ts";

const NOW = Date.parse("2026-01-02T03:04:05Z");

const replicaSet = (more: Partial<ReplicaSet["spec"]> = {}): ReplicaSet => ({
  metadata: { name: "web-1", namespace: "ns", uid: "rs", generation: 4 },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "web" } },
    template: { metadata: { labels: { app: "web" } }, spec: { containers: [] } },
    ...more,
  },
});

const owner = {
  apiVersion: "apps/v1",
  kind: "ReplicaSet",
  name: "web-1",
  uid: "rs",
  controller: true,
};

function pod(name: string, more: Partial<Pod["metadata"]> = {}, readySince?: string): Pod {
  return {
    metadata: { name, uid: name, labels: { app: "web" }, ownerReferences: [owner], ...more },
    spec: { containers: [], nodeName: "loradock" },
    status: {
      phase: "Running",
      conditions: readySince
        ? [{ type: "Ready", status: "True", lastTransitionTime: readySince }]
        : [],
    },
  };
}

function plan(set: ReplicaSet, pods: Pod[], deleted: string[] = []) {
  return planReplicaSet({ replicaSet: set, pods, deleted: new Set(deleted), nowMs: NOW });
}

const names = (pods: readonly Pod[]) => pods.map((one) => one.metadata.name);

describe("planReplicaSet", () => {
  it("replaces pods that are over or on their way out", () => {
    const failed = { ...pod("failed"), status: { phase: "Failed" as const } };
    const leaving = pod("leaving", { deletionTimestamp: "2026-01-02T03:04:00Z" });
    const result = plan(replicaSet(), [failed, leaving, pod("fine", {}, "2026-01-01T00:00:00Z")]);
    assert.equal(result.create, 1);
    assert.deepEqual(result.status, {
      replicas: 1,
      fullyLabeledReplicas: 1,
      readyReplicas: 1,
      availableReplicas: 1,
      observedGeneration: 4,
    });
  });

  it("does not replace twice what it deleted and has not seen go", () => {
    const result = plan(replicaSet({ replicas: 1 }), [pod("a"), pod("b")], ["a"]);
    assert.deepEqual([result.create, names(result.delete)], [0, []]);
  });

  it("deletes what is least useful first", () => {
    const cost = (value: string) => ({
      annotations: { "controller.kubernetes.io/pod-deletion-cost": value },
    });
    const at = "2026-01-01T00:00:00Z";
    const pods = [
      pod("old", { creationTimestamp: "2026-01-01T00:00:00Z" }, at),
      pod("young", { creationTimestamp: "2026-01-02T00:00:00Z" }, at),
      pod("dear", cost("5"), at),
      pod("cheap", cost("-5"), at),
      pod("unready"),
      { ...pod("unscheduled"), spec: { containers: [] } },
    ];
    const deleted = names(plan(replicaSet({ replicas: 0 }), pods).delete);
    assert.deepEqual(deleted, ["unscheduled", "unready", "cheap", "young", "old", "dear"]);
  });

  it("adopts what nobody controls and releases what matches no more", () => {
    const orphan = pod("orphan", { ownerReferences: [] });
    const foreign = pod("foreign", { ownerReferences: [{ ...owner, uid: "other" }] });
    const relabeled = pod("relabeled", { labels: { app: "else" } });
    const result = plan(replicaSet(), [orphan, foreign, relabeled]);
    assert.deepEqual(
      [names(result.adopt), names(result.release), result.create],
      [["orphan"], ["relabeled"], 1],
    );
  });

  it("counts a pod as available only after minReadySeconds and says when", () => {
    const result = plan(replicaSet({ minReadySeconds: 10 }), [
      pod("a", {}, "2026-01-02T03:03:00Z"),
      pod("b", {}, "2026-01-02T03:04:00Z"),
    ]);
    assert.deepEqual([result.status.readyReplicas, result.status.availableReplicas], [2, 1]);
    assert.equal(result.wakeAtMs, NOW + 5_000);
  });

  it("leaves pods to the garbage collector once it is deleted itself", () => {
    const set = replicaSet();
    set.metadata.deletionTimestamp = "2026-01-02T03:04:00Z";
    const result = plan(set, [pod("a")]);
    assert.deepEqual([result.create, result.delete], [0, []]);
  });
});
