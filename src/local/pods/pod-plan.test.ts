import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Container, Pod, PodStatus } from "#api/kubernetes.ts";
import { type ContainerSeen, NEVER_STARTED, type PodSeen, planPod } from "./pod-plan.ts";
import { qosClassOf, statusOf } from "./pod-status.ts";
import { endsInARow, RESTART_BACKOFF, restartDelayMs } from "./restart-backoff.ts";

const NOW = Date.parse("2026-01-02T03:04:05Z");
const PLACE = { podAddress: "127.20.0.7", hostAddress: "127.0.0.1" };

const main: Container = { name: "main", image: "loradock/loradock:1" };
const side: Container = { name: "side", image: "loradock/runtime:1" };
const init: Container = { name: "init", image: "loradock/loradock:1" };

function running(more: Partial<ContainerSeen> = {}): ContainerSeen {
  return {
    attempt: 0,
    state: { kind: "running", containerId: "loradock://c0", startedAtMs: NOW - 5_000 },
    ends: 0,
    started: true,
    ready: true,
    ...more,
  };
}

function exited(exitCode: number, more: Partial<ContainerSeen> = {}): ContainerSeen {
  const exit = {
    containerId: "loradock://c0",
    exitCode,
    startedAtMs: NOW - 5_000,
    finishedAtMs: NOW - 1_000,
  };
  return {
    attempt: 0,
    state: { kind: "exited", exit },
    ends: 1,
    started: false,
    ready: false,
    ...more,
  };
}

interface World {
  pod?: Partial<Pod["spec"]>;
  meta?: Partial<Pod["metadata"]>;
  status?: PodStatus;
  containers?: Record<string, ContainerSeen>;
  more?: Partial<PodSeen>;
}

function look({ pod, meta, status, containers = {}, more }: World) {
  const seen: PodSeen = {
    pod: {
      metadata: { name: "p", namespace: "ns", uid: "u", ...meta },
      spec: { containers: [main], ...pod },
      ...(status === undefined ? {} : { status }),
    },
    containers: new Map(Object.entries(containers)),
    sandboxReady: true,
    shuttingDown: false,
    nowMs: NOW,
    backoff: RESTART_BACKOFF,
    ...more,
  };
  const plan = planPod(seen);
  return { plan, status: statusOf(seen, plan, PLACE) };
}

const condition = (status: PodStatus, type: string) =>
  status.conditions?.find((entry) => entry.type === type);

describe("planPod", () => {
  it("waits for volumes and address, then starts all containers at once", () => {
    const world = { pod: { containers: [main, side] } };
    const before = look({ ...world, more: { sandboxReady: false } });
    assert.deepEqual(before.plan.start, []);
    assert.equal(before.status.phase, "Pending");
    assert.equal(condition(before.status, "PodReadyToStartContainers")?.status, "False");
    assert.deepEqual(look(world).plan.start, ["main", "side"]);
  });

  it("runs init containers one after the other before the others", () => {
    const second = { ...init, name: "init2" };
    const pod = { initContainers: [init, second] };
    assert.deepEqual(look({ pod }).plan.start, ["init"]);
    assert.deepEqual(look({ pod, containers: { init: running() } }).plan.start, []);
    const half = look({ pod, containers: { init: exited(0) } });
    assert.deepEqual(half.plan.start, ["init2"]);
    assert.equal(half.status.phase, "Pending");
    assert.equal(
      condition(half.status, "Initialized")?.message,
      "containers with incomplete status: [init2]",
    );
    assert.equal(half.status.containerStatuses?.[0]?.state?.waiting?.reason, "PodInitializing");
    const done = look({ pod, containers: { init: exited(0), init2: exited(0) } });
    assert.deepEqual(done.plan.start, ["main"]);
    assert.equal(done.status.initContainerStatuses?.[1]?.ready, true);
  });

  it("fails a pod that never restarts when its init container fails", () => {
    const pod = { initContainers: [init], restartPolicy: "Never" as const };
    assert.equal(look({ pod, containers: { init: exited(3) } }).status.phase, "Failed");
  });

  it("restarts at once after the first end, then backs off and says so", () => {
    assert.deepEqual(look({ containers: { main: exited(1) } }).plan.start, ["main"]);
    const { plan, status } = look({ containers: { main: exited(1, { attempt: 3, ends: 4 }) } });
    assert.deepEqual(plan.start, []);
    assert.equal(plan.wakeAtMs, NOW - 1_000 + 40_000);
    const main = status.containerStatuses?.[0];
    assert.deepEqual(main?.state?.waiting, {
      reason: "CrashLoopBackOff",
      message: "back-off 40s restarting failed container=main pod=p_ns(u)",
    });
    assert.equal(main?.restartCount, 3);
    assert.equal(main?.lastState?.terminated?.exitCode, 1);
    assert.equal(main?.lastState?.terminated?.reason, "Error");
    assert.equal(status.phase, "Running");
  });

  const policies: ["Always" | "OnFailure" | "Never", number, "restart" | PodStatus["phase"]][] = [
    ["Always", 0, "restart"],
    ["Always", 1, "restart"],
    ["OnFailure", 0, "Succeeded"],
    ["OnFailure", 1, "restart"],
    ["Never", 0, "Succeeded"],
    ["Never", 1, "Failed"],
  ];
  for (const [restartPolicy, exitCode, outcome] of policies) {
    it(`restartPolicy ${restartPolicy}, exit code ${exitCode}: ${outcome}`, () => {
      const { plan, status } = look({
        pod: { restartPolicy },
        containers: { main: exited(exitCode) },
      });
      if (outcome === "restart") assert.deepEqual(plan.start, ["main"]);
      else assert.deepEqual([plan.start, status.phase], [[], outcome]);
    });
  }

  it("goes on while one container of a Job-like pod still runs", () => {
    const { plan, status } = look({
      pod: { containers: [main, side], restartPolicy: "Never" },
      containers: { main: exited(0), side: running() },
    });
    assert.equal(plan.finished, undefined);
    assert.equal(status.phase, "Running");
    assert.equal(condition(status, "Ready")?.message, "containers with unready status: [main]");
  });

  it("never starts a finished pod again", () => {
    const { plan, status } = look({ status: { phase: "Succeeded" } });
    assert.deepEqual(plan.start, []);
    assert.equal(status.phase, "Succeeded");
    assert.equal(condition(status, "Ready")?.reason, "PodCompleted");
  });

  it("stops a container whose liveness probe gave up, or whose image changed", () => {
    const failed = look({ containers: { main: running({ failedProbe: "liveness" }) } });
    assert.deepEqual(failed.plan.stop, [
      { name: "main", message: "Container main failed liveness probe, will be restarted" },
    ]);
    const changed = look({ containers: { main: running({ image: "loradock/loradock:0" }) } });
    assert.equal(
      changed.plan.stop[0]?.message,
      "Container main definition changed, will be restarted",
    );
  });

  it("tries a container that could not be started again when its time has come", () => {
    const blocked = { reason: "ImagePullBackOff", message: "no", retryAtMs: NOW + 10 };
    const { plan, status } = look({ containers: { main: { ...NEVER_STARTED, blocked } } });
    assert.deepEqual([plan.start, plan.wakeAtMs], [[], NOW + 10]);
    assert.deepEqual(status.containerStatuses?.[0]?.state, {
      waiting: { reason: "ImagePullBackOff", message: "no" },
    });
    assert.equal(status.phase, "Pending");
    const due = { ...blocked, retryAtMs: NOW };
    const again = look({ containers: { main: { ...NEVER_STARTED, blocked: due } } });
    assert.deepEqual(again.plan.start, ["main"]);
  });

  it("stops a deleted pod and lets go only when nothing of it runs", () => {
    const meta = { deletionTimestamp: "2026-01-02T03:04:00Z" };
    const stopping = look({ meta, containers: { main: running() } });
    assert.deepEqual(stopping.plan.stop, [{ name: "main", message: "Stopping container main" }]);
    assert.equal(stopping.plan.gone, false);
    assert.equal(stopping.status.containerStatuses?.[0]?.ready, false);
    const gone = look({ meta, containers: { main: exited(0) } });
    assert.deepEqual([gone.plan.gone, gone.plan.start], [true, []]);
  });

  it("starts nothing and stops everything while the kubelet goes down, without an end of the pod", () => {
    const { plan } = look({ containers: { main: running() }, more: { shuttingDown: true } });
    assert.deepEqual([plan.start, plan.stop.length, plan.gone], [[], 1, false]);
  });
});

describe("statusOf", () => {
  it("shows a ready pod as kubectl users know it", () => {
    const { status } = look({ containers: { main: running({ image: main.image }) } });
    assert.deepEqual(status, {
      phase: "Running",
      conditions: [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
      ].map((type) => ({
        type,
        status: "True",
        lastProbeTime: null,
        lastTransitionTime: "2026-01-02T03:04:05Z",
      })),
      hostIP: "127.0.0.1",
      hostIPs: [{ ip: "127.0.0.1" }],
      podIP: "127.20.0.7",
      podIPs: [{ ip: "127.20.0.7" }],
      startTime: "2026-01-02T03:04:05Z",
      containerStatuses: [
        {
          name: "main",
          image: "loradock/loradock:1",
          imageID: "loradock://loradock/loradock:1",
          containerID: "loradock://c0",
          ready: true,
          started: true,
          restartCount: 0,
          state: { running: { startedAt: "2026-01-02T03:04:00Z" } },
          lastState: {},
        },
      ],
      qosClass: "BestEffort",
    });
  });

  it("keeps transition times of what did not change, and conditions that are not ours", () => {
    const first = look({ containers: { main: running() } }).status;
    const foreign = { type: "example.com/gate", status: "True" as const };
    const before = { ...first, conditions: [...(first.conditions ?? []), foreign] };
    const later = look({
      status: before,
      containers: { main: running({ ready: false }) },
      more: { nowMs: NOW + 60_000 },
    }).status;
    assert.equal(condition(later, "Initialized")?.lastTransitionTime, "2026-01-02T03:04:05Z");
    assert.equal(condition(later, "Ready")?.lastTransitionTime, "2026-01-02T03:05:05Z");
    assert.deepEqual(condition(later, "example.com/gate"), foreign);
    assert.equal(later.startTime, first.startTime);
  });

  const figures = (limits?: Record<string, string>, requests?: Record<string, string>): Pod => ({
    metadata: { name: "p" },
    spec: {
      containers: [
        { ...main, resources: { ...(limits && { limits }), ...(requests && { requests }) } },
      ],
    },
  });
  it("computes the quality of service class", () => {
    assert.equal(qosClassOf(figures()), "BestEffort");
    assert.equal(qosClassOf(figures({ "nvidia.com/gpu": "1" })), "BestEffort");
    assert.equal(qosClassOf(figures({ cpu: "1", memory: "1Gi" })), "Guaranteed");
    assert.equal(qosClassOf(figures({ cpu: "1" }, { cpu: "500m" })), "Burstable");
  });
});

describe("restart back-off", () => {
  it("waits 0, 10, 20, 40, ... 300 s and starts over after ten minutes of running", () => {
    const delays = [1, 2, 3, 4, 5, 6, 7, 50].map((ends) => restartDelayMs(ends, RESTART_BACKOFF));
    assert.deepEqual(
      delays,
      [0, 10, 20, 40, 80, 160, 300, 300].map((seconds) => seconds * 1000),
    );
    assert.equal(endsInARow(6, 599_999, RESTART_BACKOFF), 7);
    assert.equal(endsInARow(6, 600_000, RESTART_BACKOFF), 1);
  });
});
