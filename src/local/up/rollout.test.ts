import assert from "node:assert/strict";
import { test } from "node:test";
import type { ContainerStatus, Deployment, KubeEvent, Pod } from "#api/kubernetes.ts";
import { describeRollout, podsOf, rolloutOf, troubleOf } from "./rollout.ts";

const deployment: Deployment = {
  metadata: { name: "base", namespace: "default", generation: 2 },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "base" } },
    template: { spec: { containers: [] } },
  },
  status: { observedGeneration: 2, updatedReplicas: 2 },
};

function pod(name: string, ready: boolean, containers: Partial<ContainerStatus>[] = []): Pod {
  return {
    metadata: { name, namespace: "default", uid: name, labels: { app: "base" } },
    spec: { containers: [] },
    status: {
      conditions: [
        {
          type: "Ready",
          status: ready ? "True" : "False",
          lastTransitionTime: "2026-01-01T00:00:10Z",
        },
      ],
      containerStatuses: containers.map((status) => ({
        ...{ name: "main", image: "x", imageID: "", ready: false, restartCount: 0 },
        ...status,
      })),
    },
  };
}

test("a rollout is complete when as many pods as wanted are ready in the present version", () => {
  const two = [pod("a", true), pod("b", true)];
  assert.deepEqual(rolloutOf(deployment, two), {
    ...{ ready: 2, wanted: 2, isComplete: true, isOutdated: false },
    readySinceMs: Date.parse("2026-01-01T00:00:10Z"),
  });
  assert.equal(rolloutOf(deployment, [pod("a", true), pod("b", false)]).ready, 1);
  const changed = { ...deployment, metadata: { ...deployment.metadata, generation: 3 } };
  assert.equal(rolloutOf(changed, two).isComplete, false);
  const half = { ...deployment, status: { observedGeneration: 2, updatedReplicas: 1 } };
  assert.equal(rolloutOf(half, two).isComplete, false);
  assert.equal(
    describeRollout("base", rolloutOf(half, two)),
    "base: 2/2 pods ready, not all of its present version",
  );
  assert.equal(describeRollout("base", rolloutOf(half, [])), "base: 0/2 pods ready");
  const [first] = two;
  const leaving = { ...first, metadata: { ...first?.metadata, deletionTimestamp: "x" } } as Pod;
  assert.equal(rolloutOf(deployment, [leaving, pod("b", true)]).ready, 1);
  const foreign = { ...pod("c", true), metadata: { name: "c", namespace: "other" } };
  assert.deepEqual(podsOf(deployment, [foreign]), []);
});

test("what keeps a pod from being ready is told, the hopeless first", () => {
  const crashed = pod("a", false, [
    {
      state: { waiting: { reason: "CrashLoopBackOff" } },
      lastState: { terminated: { exitCode: 3 } },
    },
  ]);
  const unknown = pod("b", false, [
    { state: { waiting: { reason: "ImagePullBackOff", message: "no such image" } } },
  ]);
  const starting = pod("c", false, [{ state: { waiting: { reason: "ContainerCreating" } } }]);
  assert.equal(troubleOf([starting], []), undefined);
  assert.equal(troubleOf([starting, crashed], [])?.text, "ended with exit code 3");
  const worst = troubleOf([crashed, unknown], []);
  assert.equal(worst?.text, "ImagePullBackOff: no such image");
  assert.equal(worst?.isFinal, true);
  assert.equal(troubleOf([{ ...crashed, status: pod("a", true).status ?? {} }], []), undefined);
});

test("without a word from the containers the latest warning about the pod counts", () => {
  const event = (message: string, lastTimestamp: string): KubeEvent => ({
    metadata: { name: message },
    involvedObject: { uid: "c" },
    ...{ type: "Warning", message, lastTimestamp },
  });
  const events = [event("later", "2026-01-01T00:00:02Z"), event("earlier", "2026-01-01T00:00:01Z")];
  assert.equal(troubleOf([pod("c", false)], events)?.text, "later");
});
