import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Lease } from "#api/kubernetes.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { KubeApiError, type KubeClient } from "./client.ts";
import { LeaderElector, LeadershipLost } from "./lease.ts";

/** A Lease with optimistic concurrency, behind a network that can fail for one client at a time. */
class LeaseApi {
  lease: Lease | undefined;
  #version = 0;
  readonly cutOff = new Set<string>();
  readonly hanging = new Set<string>();

  clientFor(identity: string): KubeClient {
    const reach = (signal?: AbortSignal) => {
      if (this.cutOff.has(identity)) return Promise.reject(new Error("connection refused"));
      if (!this.hanging.has(identity)) return Promise.resolve();
      return new Promise<void>((_, reject) =>
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true }),
      );
    };
    const write = async (lease: Lease, signal?: AbortSignal) => {
      await reach(signal);
      const held = this.lease?.metadata.resourceVersion;
      if (lease.metadata.resourceVersion !== held) throw new KubeApiError(409, "Conflict", "stale");
      const metadata = { ...lease.metadata, resourceVersion: String(++this.#version) };
      this.lease = structuredClone({ ...lease, metadata });
      return this.lease;
    };
    const client = {
      get: async (_resource: unknown, _name: unknown, signal?: AbortSignal) => {
        await reach(signal);
        if (this.lease === undefined) throw new KubeApiError(404, "NotFound", "none");
        return this.lease;
      },
      create: (_r: unknown, lease: Lease, o?: { signal?: AbortSignal }) => write(lease, o?.signal),
      update: (_r: unknown, lease: Lease, o?: { signal?: AbortSignal }) => write(lease, o?.signal),
    };
    return client as unknown as KubeClient;
  }
}

function candidate(api: LeaseApi, clock: ManualClock, identity: string) {
  const deps = { client: api.clientFor(identity), clock, log: silentLog, random: () => 0.5 };
  const elector = new LeaderElector(deps, { namespace: "sys", name: "lock", identity });
  const stop = new AbortController();
  const state = { isActing: false, outcome: undefined as unknown };
  const done = elector
    .run(async (signal) => {
      state.isActing = true;
      await new Promise<void>((resolve) =>
        signal.aborted
          ? resolve()
          : signal.addEventListener("abort", () => resolve(), { once: true }),
      );
      state.isActing = false;
    }, stop.signal)
    .then(
      () => {
        state.outcome = "stopped";
      },
      (error: unknown) => {
        state.outcome = error;
      },
    );
  return { elector, stop, state, done };
}

test("one leads, the other follows when it is released, at once", async () => {
  const [api, clock] = [new LeaseApi(), new ManualClock()];
  const a = candidate(api, clock, "a");
  await clock.advance(0);
  const b = candidate(api, clock, "b_0815");
  await clock.advance(60_000);
  assert.deepEqual([a.elector.isLeader(), b.elector.isLeader()], [true, false]);
  assert.equal(b.elector.leader(), "a");
  a.stop.abort();
  await clock.advance(0);
  await clock.advance(2_500);
  assert.equal(a.state.outcome, "stopped");
  assert.deepEqual([a.state.isActing, b.state.isActing], [false, true]);
  assert.equal(api.lease?.spec.holderIdentity, "b_0815");
  b.stop.abort();
  await clock.advance(0);
  assert.equal(api.lease?.spec.holderIdentity, "");
  assert.equal(api.lease?.spec.leaseTransitions, 1);
  assert.equal(clock.pending, 0);
});

for (const fault of ["cutOff", "hanging"] as const) {
  test(`a leader whose requests are ${fault} stops before another can begin`, async () => {
    const [api, clock] = [new LeaseApi(), new ManualClock()];
    const a = candidate(api, clock, "a");
    await clock.advance(0);
    const b = candidate(api, clock, "b");
    await clock.advance(4_000);
    api[fault].add("a");
    await clock.advance(10_000);
    assert.deepEqual([a.state.isActing, a.elector.isLeader()], [false, false]);
    assert.ok(a.state.outcome instanceof LeadershipLost);
    assert.equal(b.state.isActing, false, "the lease itself is not over yet");
    await clock.advance(8_000);
    assert.equal(b.state.isActing, true);
    b.stop.abort();
    await clock.advance(0);
  });
}

test("a leader comes through short failures, and a lease deleted by hand", async () => {
  const [api, clock] = [new LeaseApi(), new ManualClock()];
  const a = candidate(api, clock, "a");
  await clock.advance(3_000);
  api.cutOff.add("a");
  await clock.advance(6_500);
  api.cutOff.clear();
  await clock.advance(5_000);
  assert.equal(a.elector.isLeader(), true);
  api.lease = undefined;
  await clock.advance(5_000);
  assert.equal(a.elector.isLeader(), true);
  assert.equal((api.lease as Lease | undefined)?.spec.holderIdentity, "a");
  a.stop.abort();
  await a.done;
});

test("the same identity takes its own lease up again at once: a restarted container", async () => {
  const [api, clock] = [new LeaseApi(), new ManualClock()];
  const first = candidate(api, clock, "pod-0");
  await clock.advance(1_000);
  api.cutOff.add("pod-0");
  first.stop.abort();
  await clock.advance(3_000);
  api.cutOff.clear();
  const second = candidate(api, clock, "pod-0");
  await clock.advance(0);
  assert.equal(second.elector.isLeader(), true);
  second.stop.abort();
  await second.done;
});

test("property: whatever the network does, never two act, and somebody does in the end", async () => {
  const fault = fc.record({
    who: fc.constantFrom("a", "b", "c"),
    kind: fc.constantFrom("cutOff", "hanging", "heal", "restart"),
    forMs: fc.integer({ min: 100, max: 12_000 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fault, { maxLength: 8 }), async (faults) => {
      const [api, clock] = [new LeaseApi(), new ManualClock()];
      const running = new Map(["a", "b", "c"].map((id) => [id, candidate(api, clock, id)]));
      const step = async (ms: number) => {
        for (let passed = 0; passed < ms; passed += 500) {
          await clock.advance(Math.min(500, ms - passed));
          const acting = [...running.values()].filter((one) => one.state.isActing);
          assert.ok(acting.length <= 1, "two leaders");
          for (const one of running.values())
            assert.ok(one.state.isActing || !one.elector.isLeader());
        }
      };
      for (const { who, kind, forMs } of faults) {
        if (kind === "heal") {
          api.cutOff.delete(who);
          api.hanging.delete(who);
        } else if (kind === "restart") {
          if (running.get(who)?.state.outcome !== undefined)
            running.set(who, candidate(api, clock, who));
        } else api[kind].add(who);
        await step(forMs);
      }
      api.cutOff.clear();
      api.hanging.clear();
      for (const [who, one] of running) {
        if (one.state.outcome !== undefined) running.set(who, candidate(api, clock, who));
      }
      await step(40_000);
      assert.equal([...running.values()].filter((one) => one.state.isActing).length, 1);
      for (const one of running.values()) one.stop.abort();
      await clock.advance(5_000);
    }),
    { numRuns: 15 },
  );
});
