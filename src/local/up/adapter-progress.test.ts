import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter, ModelAdapterStatus } from "#api/model-adapter.ts";
import { adapterProgress, describeAdapters } from "./adapter-progress.ts";

const SINCE_MS = Date.parse("2026-01-01T00:00:10.700Z");

function adapter(status: ModelAdapterStatus, replicas?: 1): ModelAdapter {
  return {
    ...{ apiVersion: "model.aibrix.ai/v1alpha1", kind: "ModelAdapter" },
    metadata: { name: "sql", namespace: "default", generation: 1 },
    spec: {
      ...{ schedulerName: "default" as const, artifactURL: "/a" },
      podSelector: { matchLabels: { app: "base" } },
      ...(replicas === undefined ? {} : { replicas }),
    },
    status: { observedGeneration: 1, ...status },
  };
}

const ready = (status: "True" | "False", lastTransitionTime: string, message = "") => ({
  conditions: [{ type: "Ready", reason: "X", status, lastTransitionTime, message }],
});
const NOW = "2026-01-01T00:00:10Z";
const BEFORE = "2026-01-01T00:00:09Z";

const pods = ["a", "b"].map(
  (name): Pod => ({
    metadata: {
      ...{ name, namespace: "default" },
      labels: { app: "base", "adapter.model.aibrix.ai/enabled": "true" },
    },
    spec: { containers: [] },
    status: { conditions: [{ type: "Ready", status: "True" }] },
  }),
);
const isRunning = (status: ModelAdapterStatus, replicas?: 1) =>
  adapterProgress(adapter(status, replicas), pods, SINCE_MS).isRunning;

test("an adapter runs when it has become ready in this run on all pods that it should be on", () => {
  const running = { phase: "Running", readyReplicas: 2, ...ready("True", NOW) } as const;
  assert.equal(isRunning(running), true);
  assert.equal(isRunning({ ...running, ...ready("True", BEFORE) }), false);
  assert.equal(isRunning({ ...running, readyReplicas: 1 }), false);
  assert.equal(isRunning({ ...running, readyReplicas: 1 }, 1), true);
  assert.equal(isRunning({ ...running, observedGeneration: 0 }), false);
  assert.equal(isRunning({}), false);
});

test("a failed adapter says why, its pod's words first", () => {
  const failed = { phase: "Failed", ...ready("False", NOW, "failed everywhere") } as const;
  const progress = adapterProgress(adapter(failed), pods, SINCE_MS);
  assert.equal(progress.isFailed, true);
  assert.equal(progress.holdUp, "failed everywhere");
  const told = { ...failed, pods: [{ name: "a", state: "Failed" as const, message: "rank 64" }] };
  assert.equal(adapterProgress(adapter(told), pods, SINCE_MS).holdUp, "rank 64");
  const stale = { ...failed, ...ready("False", BEFORE) };
  assert.equal(adapterProgress(adapter(stale), pods, SINCE_MS).isFailed, false);
});

test("waiting for adapters says which are where", () => {
  const one = adapterProgress(
    adapter({ phase: "Running", readyReplicas: 2, ...ready("True", NOW) }),
    pods,
    SINCE_MS,
  );
  const two = { ...adapterProgress(adapter({}), pods, SINCE_MS), name: "shout" };
  assert.equal(describeAdapters([one, two]), "1/2 running, shout Pending");
  assert.equal(describeAdapters([one]), "1/1 running");
});
