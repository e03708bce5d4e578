import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { versionOf } from "#api/adapter-version.ts";
import { MESSAGE_LENGTH_MAX, type ModelAdapter, SUMMARY_LENGTH_MAX } from "#api/model-adapter.ts";
import { ANNOTATION, FINALIZER } from "#api/names.ts";
import { fromTimestamp } from "#base/clock.ts";
import { eventsOf } from "./events.ts";
import { type Plan, plan } from "./plan.ts";
import { annotationKey, failureAfter, failureFromAnnotations, nextLoadMs } from "./retry.ts";
import type { Failure, PodSeen, Seen } from "./seen.ts";

const NOW = Date.UTC(2025, 1, 16, 19, 14, 50);

function adapter(change: Partial<ModelAdapter["spec"]> = {}): ModelAdapter {
  return {
    apiVersion: "model.aibrix.ai/v1alpha1",
    kind: "ModelAdapter",
    metadata: {
      name: "qwen-code-lora",
      namespace: "default",
      generation: 1,
      finalizers: [FINALIZER],
    },
    spec: {
      baseModel: "qwen",
      podSelector: { matchLabels: { "model.aibrix.ai/name": "qwen" } },
      schedulerName: "default",
      artifactURL: "huggingface://org/lora",
      ...change,
    },
  };
}

function pod(name: string, change: Partial<PodSeen> = {}): PodSeen {
  return {
    name,
    uid: `uid-${name}`,
    ip: "10.0.0.1",
    matches: true,
    enabled: true,
    baseModel: "qwen",
    readySinceMs: NOW - 60_000,
    terminating: false,
    held: "absent",
    path: undefined,
    recorded: true,
    known: true,
    busy: undefined,
    stalledSinceMs: undefined,
    loadingVersion: undefined,
    loadFailure: undefined,
    unloadFailure: undefined,
    lateLoadUntilMs: undefined,
    routedAtMs: undefined,
    otherAdapters: 0,
    ...change,
  };
}

function seen(change: Partial<Seen> = {}): Seen {
  return {
    nowMs: NOW,
    offsetMs: 0,
    adapter: adapter(),
    doomedMs: fromTimestamp(change.adapter?.metadata.deletionTimestamp),
    conditions: change.adapter?.status?.conditions ?? [],
    pods: [],
    publishFailure: undefined,
    service: { state: "absent" },
    slice: { state: "absent" },
    schedulerPolicy: "default",
    ...change,
  };
}

const published = (...names: string[]): Partial<Seen> => ({
  service: { state: "ours", intact: true, content: null },
  slice: { state: "ours", intact: true, content: names },
});

/** The snapshot after the plan's status was written. */
const after = (before: Seen, made: Plan, change: Partial<Seen> = {}): Seen => ({
  ...before,
  ...change,
  conditions: made.status?.conditions ?? before.conditions,
  adapter: { ...before.adapter, ...(made.status === undefined ? {} : { status: made.status }) },
});

const shown = (made: Plan) =>
  made.status?.conditions?.map((one) => `${one.type}=${one.status} ${one.reason}: ${one.message}`);
/** The Events that follow when the status is written. */
const told = (before: Seen, made: Plan) =>
  made.status === undefined
    ? []
    : eventsOf(before.adapter.status, made.status, made.selected).map(
        (one) => `${one.type} ${one.reason} ${one.message}`,
      );
const slice = (made: Plan) => made.publish.slice?.map((one) => one.name);

test("one adapter on one pod goes through the documented phases, in the documented words", () => {
  let now = seen({ pods: [pod("pod-1", { recorded: false })] });
  const scheduled = plan(now);
  assert.equal(scheduled.status?.phase, "Scheduled");
  assert.deepEqual(scheduled.operations, [{ kind: "load", pod: "pod-1" }]);
  assert.deepEqual(shown(scheduled)?.slice(0, 2), [
    "Initialized=Unknown ModelAdapterPending: Starting reconciliation",
    "Scheduled=True Scheduled: ModelAdapter default/qwen-code-lora has selected 1 pods for scheduling: [pod-1]",
  ]);
  assert.deepEqual(told(now, scheduled), [
    "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [pod-1]",
  ]);
  assert.equal(scheduled.metadata.annotations[ANNOTATION.scheduledPods], "pod-1");

  now = after(now, scheduled, {
    pods: [pod("pod-1", { busy: "loading", loadingVersion: versionOf(now.adapter.spec) })],
  });
  const loading = plan(now);
  assert.equal(loading.status?.phase, "Loading");
  assert.deepEqual(loading.operations, []);

  now = after(now, loading, { pods: [pod("pod-1", { held: "current" })] });
  const bound = plan(now);
  assert.equal(bound.status?.phase, "Bound");
  assert.deepEqual(slice(bound), ["pod-1"]);
  assert.deepEqual(told(now, bound), ["Normal Loaded Successfully loaded adapter on pod pod-1"]);

  now = after(now, bound, published("pod-1"));
  const running = plan(now);
  assert.equal(running.status?.phase, "Running");
  assert.deepEqual(running.status?.instances, ["pod-1"]);
  assert.deepEqual(shown(running)?.slice(2), [
    "Loaded=True Loaded: Successfully loaded adapter on pod pod-1",
    "Bound=True Bound: Service and EndpointSlice default/qwen-code-lora are in place",
    "Ready=True ModelAdapterAvailable: ModelAdapter default/qwen-code-lora is ready",
  ]);
  assert.equal(running.status?.observedGeneration, 1);

  const settled = plan(after(now, running));
  assert.deepEqual(settled.status, running.status);
  assert.deepEqual(settled.publish, { service: false, slice: undefined, withdraw: false });
  assert.deepEqual(
    [settled.operations, settled.isMoving, settled.wakeAtMs],
    [[], false, undefined],
  );
});

const waiting: [string, PodSeen[], RegExp][] = [
  ["no pod matches", [], /No pod matches spec\.podSelector/],
  [
    "a pod lacks the label",
    [pod("p", { enabled: false })],
    /p lacks the label adapter.model.aibrix.ai\/enabled=true/,
  ],
  ["a pod is not Ready", [pod("p", { readySinceMs: undefined })], /pod p is not Ready/],
  [
    "a pod is Ready for 2 of 5 s",
    [pod("p", { readySinceMs: NOW - 2500 })],
    /p is Ready for 2 of 5 s/,
  ],
  ["a pod is terminating", [pod("p", { terminating: true })], /p is terminating/],
];
for (const [name, pods, why] of waiting) {
  test(`Pending says the exact reason: ${name}`, () => {
    const made = plan(seen({ pods }));
    assert.equal(made.status?.phase, "Pending");
    assert.deepEqual(made.operations, []);
    const scheduled = made.status?.conditions?.find((one) => one.type === "Scheduled");
    assert.match(scheduled?.message ?? "", why);
  });
}

test("a pod that is not stable yet is looked at again when it is", () => {
  for (const replicas of [undefined, 1 as const]) {
    const spec = replicas === undefined ? {} : { replicas };
    const made = plan(
      seen({ adapter: adapter(spec), pods: [pod("p", { readySinceMs: NOW - 2000 })] }),
    );
    assert.equal(made.wakeAtMs, NOW + 3000);
  }
});

test("retries come after 5, 10, 20, 40 and 80 s; then the pod is given up and the next is chosen", () => {
  const fails = (atMs: number, before?: Failure) =>
    failureAfter(before, { atMs, retriable: true, message: "connection refused" });
  let failure = fails(0);
  const waits: number[] = [];
  for (let retry = 0; retry < 5; retry++) {
    waits.push(nextLoadMs(failure) - failure.atMs);
    failure = fails(nextLoadMs(failure), failure);
  }
  assert.deepEqual(waits, [5000, 10_000, 20_000, 40_000, 80_000]);
  assert.equal(failure.retries, 5);

  const given = { ...failure, atMs: NOW };
  const one = adapter({ replicas: 1 });
  one.metadata.annotations = { [ANNOTATION.scheduledPods]: "pod-1" };
  // An engine that answered is rid of it; from one that never did it has to be unloaded, if it comes back.
  for (const held of ["absent", "silent"] as const) {
    const failed = pod("pod-1", { loadFailure: given, held });
    const before = seen({ adapter: one, pods: [failed, pod("pod-2")] });
    const made = plan(before);
    const loads = made.operations.filter(({ kind }) => kind === "load");
    assert.deepEqual(loads, [{ kind: "load", pod: "pod-2" }]);
    assert.deepEqual(told(before, made), [
      "Warning MaxRetriesExceeded Max retries exceeded for pod pod-1: connection refused",
      "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [pod-2]",
    ]);
    assert.equal(made.metadata.annotations[`${ANNOTATION.retryCountPrefix}pod-1`], "5");
  }
});

test("a final error is Failed with the engine's words, and tried again slowly", () => {
  const failure = { atMs: NOW, retries: 0, retriable: false, message: "rank 64 > 16" };
  const made = plan(seen({ pods: [pod("p", { loadFailure: failure })] }));
  assert.equal(made.status?.phase, "Failed");
  assert.deepEqual(made.operations, []);
  assert.equal(made.wakeAtMs, NOW + 300_000);
  const ready = made.status?.conditions?.find((one) => one.type === "Ready");
  assert.equal(ready?.reason, "ModelAdapterLoadingError");
  assert.match(ready?.message ?? "", /Loading failed on all pods: pod p: rank 64 > 16/);
});

test("every condition is about the spec as it is, whatever the phase", () => {
  const loading = pod("p", { busy: "loading" });
  const failed = pod("p", {
    loadFailure: { atMs: NOW, retries: 0, retriable: false, message: "rank 64 > 16" },
  });
  const served = { pods: [pod("p", { held: "current" })], ...published("p") };
  for (const first of [seen(served), seen({ pods: [failed] })]) {
    for (const pods of [[], [loading], [pod("p", { held: "outdated", known: true })]]) {
      const next = after(first, plan(first), { pods });
      const metadata = { ...next.adapter.metadata, generation: 2 };
      const made = plan({ ...next, adapter: { ...next.adapter, metadata } });
      const generations = made.status?.conditions?.map((one) => one.observedGeneration);
      assert.deepEqual(new Set(generations), new Set([2]), `${shown(made)?.join("\n")}`);
    }
  }
});

test("one pod that refuses does not keep the others from serving", () => {
  const failure = { atMs: NOW, retries: 0, retriable: false, message: "out of memory" };
  const pods = [pod("bad", { loadFailure: failure }), pod("good", { held: "current" })];
  const made = plan(seen({ pods, ...published("good") }));
  assert.equal(made.status?.phase, "Running");
  assert.equal(made.status?.readyReplicas, 1);
  assert.equal(made.status?.desiredReplicas, 2);
  assert.deepEqual(
    made.status?.pods?.map((one) => [one.name, one.state]),
    [
      ["bad", "Failed"],
      ["good", "Loaded"],
    ],
  );
});

test("a pod that is given up while others serve is told of; all of them are told of once", () => {
  const failure = { atMs: NOW, retries: 0, retriable: false, message: "out of memory" };
  const bad = pod("bad", { loadFailure: failure });
  const good = pod("good", { held: "current" });
  const running = seen({ pods: [pod("bad", { busy: "loading" }), good], ...published("good") });
  const served = after(running, plan(running), { pods: [bad, good] });
  assert.deepEqual(told(served, plan(served)), [
    "Warning ModelAdapterLoadingError pod bad: out of memory",
  ]);
  const settled = after(served, plan(served));
  assert.deepEqual(told(settled, plan(settled)), []);
  const loading = seen({ pods: [pod("bad", { busy: "loading" })] });
  const failed = after(loading, plan(loading), { pods: [bad] });
  assert.deepEqual(told(failed, plan(failed)), [
    "Warning ModelAdapterLoadingError Loading failed on all pods: pod bad: out of memory",
  ]);
});

test("a spec that cannot be meant is told apart from a load that failed", () => {
  const message = "artifactURL must be huggingface://<organisation>/<repository>";
  const loadFailure = { atMs: NOW, retries: 0, retriable: false, message };
  const made = plan(
    seen({
      adapter: adapter({ artifactURL: "huggingface://gpt2" }),
      pods: [pod("p", { loadFailure })],
    }),
  );
  assert.deepEqual(shown(made)?.slice(2), [
    `Loaded=False ValidationFailed: pod p: ${message}`,
    `Bound=False ValidationFailed: Loading failed on all pods: pod p: ${message}`,
    `Ready=False ValidationFailed: Loading failed on all pods: pod p: ${message}`,
  ]);
  assert.equal(made.status?.pods?.[0]?.reason, "ValidationFailed");
});

test("an engine's words are told without their noise", () => {
  const said: [string, string][] = [
    [
      "the engine answered 500: Call to add_lora method failed: Worker failed with error 'LoRA rank 64 is greater than max_lora_rank 16.', please check the stack trace above for the root cause: start the engine with --max-lora-rank 64",
      "the engine refuses the adapter: LoRA rank 64 is greater than max_lora_rank 16: start the engine with --max-lora-rank 64",
    ],
    ["connection refused", "connection refused"],
  ];
  for (const [words, ours] of said) {
    // A controller that comes after finds what this one wrote.
    for (const message of [words, ours]) {
      const loadFailure = { atMs: NOW, retries: 0, retriable: false, message };
      const { status } = plan(seen({ pods: [pod("p", { loadFailure })] }));
      assert.equal(status?.pods?.[0]?.message, ours);
      assert.equal(
        status?.conditions?.at(-1)?.message,
        `Loading failed on all pods: pod p: ${ours}`,
      );
    }
  }
});

const refused = { atMs: NOW, retries: 1, retriable: true, message: "connection refused" };
const final = { atMs: NOW, retries: 0, retriable: false, message: "rank 64 > 16" };
const served = pod("ok", { held: "current" });
const summaries: [string, Partial<Seen>, string][] = [
  [
    "no pod matches",
    {},
    "PodNotReady: No pod matches spec.podSelector: check that the base model's pods run in this namespace and carry its labels",
  ],
  [
    "pods of which the same is to be told stand together",
    {
      pods: [
        ...["a", "b", "c"].map((name) => pod(name, { readySinceMs: undefined })),
        pod("d", { enabled: false }),
      ],
    },
    "PodNotReady: a and 2 more: The pod is not Ready; d: The pod lacks the label adapter.model.aibrix.ai/enabled=true",
  ],
  ["a load is under way", { pods: [pod("a", { busy: "loading" })] }, "Loading"],
  [
    "a retry follows, another pod has failed for good",
    { pods: [pod("a", { loadFailure: refused }), pod("b", { loadFailure: final })] },
    "ModelAdapterLoadingError: b: rank 64 > 16; a: connection refused (retry 2 of 5 follows)",
  ],
  [
    "all have failed",
    { pods: [pod("a", { loadFailure: final })] },
    "ModelAdapterLoadingError: a: rank 64 > 16",
  ],
  ["it serves", { pods: [served], ...published("ok") }, "ModelAdapterAvailable"],
  [
    "it serves, not everywhere",
    { pods: [served, pod("a", { loadFailure: final })], ...published("ok") },
    "ModelAdapterAvailable, but a: rank 64 > 16",
  ],
  [
    "it serves on the one pod that was asked for",
    {
      adapter: adapter({ replicas: 1 }),
      pods: [served, pod("a", { readySinceMs: undefined })],
      ...published("ok"),
    },
    "ModelAdapterAvailable",
  ],
  [
    "the name is somebody else's",
    { pods: [served], service: { state: "foreign" } },
    "ServiceCreateError: Service default/qwen-code-lora exists and belongs to somebody else: delete or rename it, or give the adapter another name",
  ],
];
for (const [name, change, text] of summaries) {
  test(`one line says why: ${name}`, () => {
    assert.equal(plan(seen(change)).status?.summary, text);
  });
}

test("what is told of a thousand pods fits into the status", () => {
  const pods = Array.from({ length: 1000 }, (_, at) =>
    pod(`pod-${at}`, { loadFailure: { ...final, message: `${at} ${"x".repeat(1000)}` } }),
  );
  const { status } = plan(seen({ pods }));
  const lengths = status?.conditions?.map(({ message }) => message.length) ?? [];
  assert(Math.max(...lengths) <= MESSAGE_LENGTH_MAX, `${lengths}`);
  assert((status?.summary?.length ?? 0) <= SUMMARY_LENGTH_MAX);
});

test("all pods gone after Running: Pending, not ready, nothing published", () => {
  const now = seen({ pods: [pod("p", { held: "current" })], ...published("p") });
  const running = plan(now);
  const made = plan(after(now, running, { pods: [] }));
  assert.equal(made.status?.phase, "Pending");
  assert.deepEqual(made.status?.instances, []);
  assert.deepEqual(slice(made), []);
  assert(shown(made)?.some((text) => text.startsWith("Ready=False ModelAdapterUnavailable")));
});

test("a new controller claims of an engine that it has not asked only what was told before", () => {
  const loadedOf = (instances: string[]) => {
    const of = { ...adapter(), status: { phase: "Loading" as const, instances } };
    const pods = [pod("p1", { held: "unasked" })];
    return plan(seen({ adapter: of, pods })).status?.conditions?.find(
      ({ type }) => type === "Loaded",
    );
  };
  assert.equal(loadedOf([])?.status, "False");
  assert.equal(loadedOf(["p1"])?.status, "True");
});

test("a new controller tells first that a pod was given up, whatever its engine may hold", () => {
  const loadFailure = { atMs: NOW, retries: 5, retriable: true, message: "connection refused" };
  const lateLoadUntilMs = NOW + 60_000;
  for (const held of ["unasked", "absent"] as const) {
    const now = seen({
      adapter: { ...adapter(), spec: { ...adapter().spec, replicas: 1 } },
      pods: [pod("p1", { held, loadFailure, lateLoadUntilMs }), pod("p2", { recorded: false })],
    });
    const made = plan(now);
    assert.deepEqual(made.status?.pods?.[0]?.reason, "MaxRetriesExceeded");
    assert.deepEqual(told(now, made).slice(0, 2), [
      "Warning MaxRetriesExceeded Max retries exceeded for pod p1: connection refused",
      "Normal Scheduled ModelAdapter has selected 1 pods for scheduling: [p2]",
    ]);
  }
});

test("a Service of somebody else is reported and left alone", () => {
  const made = plan(seen({ pods: [pod("p", { held: "current" })], service: { state: "foreign" } }));
  assert.deepEqual(made.publish, { service: false, slice: undefined, withdraw: false });
  assert.equal(made.status?.phase, "Bound");
  const ready = made.status?.conditions?.find((one) => one.type === "Ready");
  assert.equal(ready?.reason, "ServiceCreateError");
  assert.match(ready?.message ?? "", /Service default\/qwen-code-lora exists.*delete or rename/);
});

test("deletion: out of traffic, drained, unloaded, let go; an engine that is silent is waited for, not for ever", () => {
  const dying = adapter();
  dying.metadata.deletionTimestamp = "2025-02-16T19:14:50Z";
  const holds = [pod("a", { held: "current" }), pod("b", { held: "silent" })];
  const first = plan(seen({ adapter: dying, pods: holds, ...published("a") }));
  assert.deepEqual([first.publish.withdraw, first.operations], [true, []]);
  assert.equal(first.status?.phase, "Pending");
  assert.deepEqual(first.status?.instances, []);
  assert.equal(first.status?.summary, "ModelAdapterUnavailable: The adapter is being deleted");

  const alive = seen({ pods: [pod("a", { held: "current" })], ...published("a") });
  const served = after(alive, plan(alive));
  const ending = { ...served, adapter: { ...served.adapter, metadata: dying.metadata } };
  assert.deepEqual(told(ending, plan(ending)), []);

  const left = { held: "current", routedAtMs: NOW } as const;
  const draining = [pod("a", left), pod("b", { held: "absent" })];
  const drained = plan(seen({ adapter: dying, pods: draining, ...published() }));
  assert.deepEqual([drained.operations, drained.wakeAtMs], [[], NOW + 1000]);

  const second = plan(seen({ adapter: dying, pods: holds, ...published() }));
  assert.deepEqual(second.operations, [
    { kind: "unload", pod: "a" },
    { kind: "unload", pod: "b" },
  ]);
  assert.equal(second.metadata.finalizer, undefined);

  const rest = [pod("a"), pod("b", { held: "silent" })];
  const late = plan(seen({ adapter: dying, pods: rest, ...published(), nowMs: NOW + 8000 }));
  assert.equal(late.metadata.finalizer, "remove");
  assert.deepEqual(
    late.tombstones.map((one) => one.name),
    ["b"],
  );
});

test("deletion, when many were deleted at once: an engine that answers has its turn however late, for a moment", () => {
  const dying = adapter();
  dying.metadata.deletionTimestamp = "2025-02-16T19:14:50Z";
  const nowMs = NOW + 20_000;
  const look = (change: Partial<PodSeen>) =>
    plan(seen({ adapter: dying, nowMs, pods: [pod("a", { held: "current", ...change })] }));
  const untried = look({});
  assert.deepEqual(untried.operations, [{ kind: "unload", pod: "a" }]);
  assert.equal(untried.metadata.finalizer, undefined);
  const trying = look({ busy: "unloading", stalledSinceMs: nowMs - 2000 });
  assert.deepEqual([trying.metadata.finalizer, trying.wakeAtMs], [undefined, nowMs + 1000]);
  const hanging = look({ busy: "unloading", stalledSinceMs: nowMs - 3000 });
  assert.deepEqual([hanging.metadata.finalizer, hanging.tombstones.length], ["remove", 1]);
});

test("deletion in the middle of a load: the load is broken off, and remembered while it may still come", () => {
  const dying = adapter();
  dying.metadata.deletionTimestamp = "2025-02-16T19:14:50Z";
  const loading = plan(seen({ adapter: dying, pods: [pod("a", { busy: "loading" })] }));
  assert.deepEqual(loading.operations, [{ kind: "unload", pod: "a" }]);
  const late = { lateLoadUntilMs: NOW + 60_000 };
  const after = plan(seen({ adapter: dying, pods: [pod("a", late)] }));
  assert.equal(after.metadata.finalizer, "remove");
  assert.deepEqual(
    after.tombstones.map((one) => one.name),
    ["a"],
  );
  const settled = plan(seen({ adapter: dying, pods: [pod("a"), pod("b", { recorded: false })] }));
  assert.deepEqual([settled.metadata.finalizer, settled.tombstones], ["remove", []]);
});

test("a new version goes out pod by pod, out of traffic and drained, and a bad one stops at the first", () => {
  const old = { held: "outdated" } as const;
  const pods = [pod("a", old), pod("b", old)];
  const first = plan(seen({ pods, ...published("a", "b") }));
  assert.deepEqual([slice(first), first.operations], [["b"], []]);
  const leaving = [pod("a", { ...old, routedAtMs: NOW - 400 }), pod("b", old)];
  const second = plan(seen({ pods: leaving, ...published("b") }));
  assert.deepEqual([second.operations, second.wakeAtMs], [[], NOW + 600]);
  const third = plan(seen({ pods: leaving, ...published("b"), nowMs: NOW + 600 }));
  assert.deepEqual(third.operations, [{ kind: "load", pod: "a" }]);

  const loadFailure = { atMs: NOW, retries: 0, retriable: false, message: "bad weights" };
  const failed = [pod("a", { ...old, loadFailure }), pod("b", old)];
  const stopped = plan(seen({ pods: failed, ...published("b") }));
  assert.deepEqual([stopped.operations, slice(stopped)], [[], ["a", "b"]]);
  assert.deepEqual(stopped.status?.instances, ["a", "b"]);
  assert.equal(stopped.status?.phase, "Running");
  assert.equal(stopped.status?.pods?.[0]?.message, "bad weights");
  assert(shown(stopped)?.includes("Loaded=False ModelAdapterLoadingError: pod a: bad weights"));
  assert.equal(
    stopped.status?.summary,
    "ModelAdapterAvailable, but a: bad weights; b: It serves the earlier version until its turn comes",
  );
});

test("the only pod that serves is replaced in place", () => {
  const made = plan(seen({ pods: [pod("a", { held: "outdated" })], ...published("a") }));
  assert.deepEqual(made.operations, [{ kind: "load", pod: "a" }]);
  assert.equal(slice(made), undefined);
});

test("retry annotations are valid for pod names of any length, and read back as they were written", () => {
  const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?$/);
  fc.assert(
    fc.property(name, name, fc.nat(5), (one, other, retries) => {
      const failure = { atMs: NOW, retries, retriable: true, message: "timeout" };
      const made = plan(seen({ pods: [pod(one, { loadFailure: failure })] }));
      const annotations = Object.fromEntries(
        Object.entries(made.metadata.annotations).filter(
          (entry): entry is [string, string] => entry[1] !== null,
        ),
      );
      for (const key of Object.keys(annotations)) {
        assert.match(
          key.slice(key.indexOf("/") + 1),
          /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
        );
      }
      const { message: _, ...written } = failure;
      assert.deepEqual(failureFromAnnotations(annotations, one), written);
      const keys = [one, other].map((pod) => annotationKey(ANNOTATION.retryCountPrefix, pod));
      assert.equal(keys[0] === keys[1], one === other);
    }),
  );
});
