/**
 * A world for the planner: pods that come, go, flap and forget, engines that refuse, lose their replies or stay silent, a
 * controller that forgets all it learned, a spec that changes, a deletion at a random moment. Every plan is carried out as the
 * acting side would, step by step, and the invariants are checked at each.
 */
import assert from "node:assert/strict";
import { versionOf } from "#api/adapter-version.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { ANNOTATION, API_VERSION, FINALIZER, KIND } from "#api/names.ts";
import { fromTimestamp, toTimestamp } from "#base/clock.ts";
import { jsonEqual } from "#base/json.ts";
import type { Operation } from "#core/adapter/operations.ts";
import { type Plan, plan } from "#core/adapter/plan.ts";
import { failureAfter, failureFromAnnotations } from "#core/adapter/retry.ts";
import type { Failure, Held, OwnedSeen, PodSeen, Seen } from "#core/adapter/seen.ts";
import { seededRandom } from "./random.ts";

const TICK_MS = 1000;
const CHAOS_TICKS = 150;
/** Calm afterwards: longer than a whole series of retries and the slow one after it. */
const CALM_TICKS = 700;

interface WorldPod {
  name: string;
  readySinceMs: number | undefined;
  terminating: boolean;
  enabled: boolean;
  /** The artifact's version that the engine lists; undefined: it does not list the adapter. */
  holds: number | undefined;
  /** The engine refuses loads: for a while (retriable) or in principle. */
  refuses: "no" | "retriable" | "final";
}

/** What the controller knows of a pod; lost when it restarts. */
interface Memory {
  held: Held;
  busy: "loading" | "unloading" | undefined;
  stalledSinceMs: number | undefined;
  doneAtMs: number;
  loadingVersion: string | undefined;
  loadsVersion: number;
  loadFailure: Failure | undefined;
  /** Which spec the failure belongs to: it says nothing of another one. */
  failedVersion: number;
  unloadFailure: Failure | undefined;
  /** We loaded it here, or began to. */
  touched: boolean;
  routedAtMs: number | undefined;
}

/** What a run did, to see that it did something. */
export interface Outcome {
  readonly operations: number;
  readonly statusWrites: number;
}

/** Replaces the planner, to see whether the simulation notices a bug in it. */
export type Planner = (seen: Seen) => Plan;

/** Runs one seed; throws at the first invariant that does not hold. */
export function runPlannerWorld(seed: number, planner: Planner = plan): Outcome {
  const world = new PlannerWorld(seed, planner);
  for (let tick = 0; tick < CHAOS_TICKS + CALM_TICKS && !world.gone; tick++) {
    world.tick(tick < CHAOS_TICKS);
    if (tick > CHAOS_TICKS && world.settled) break;
  }
  world.checkEnd();
  return world.outcome;
}

function isEmpty(made: Plan, status: ModelAdapter["status"]): boolean {
  const { finalizer, annotations } = made.metadata;
  return (
    finalizer === undefined &&
    Object.keys(annotations).length === 0 &&
    made.operations.length === 0 &&
    !made.publish.service &&
    made.publish.slice === undefined &&
    !made.publish.withdraw &&
    (made.status === undefined || jsonEqual(made.status, status)) &&
    made.wakeAtMs === undefined
  );
}

class PlannerWorld {
  readonly outcome = { operations: 0, statusWrites: 0 };
  gone = false;
  readonly #random: () => number;
  readonly #planner: Planner;
  readonly #seed: number;
  readonly #deleteAtTick: number;
  /** Nothing is under way, and only a new event could change that. */
  #settled = false;
  #nowMs = Date.UTC(2026, 0, 1);
  #tick = 0;
  #podCount = 0;
  #version = 1;
  #pods: WorldPod[] = [];
  #memory = new Map<string, Memory>();
  #service: OwnedSeen<null> = { state: "absent" };
  #slice: OwnedSeen<readonly string[]> = { state: "absent" };
  #adapter: ModelAdapter;

  constructor(seed: number, planner: Planner) {
    this.#seed = seed;
    this.#planner = planner;
    this.#random = seededRandom(seed);
    this.#deleteAtTick = this.#chance(0.4) ? Math.floor(this.#random() * CHAOS_TICKS) : -1;
    this.#adapter = {
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name: "lora", namespace: "default", generation: 1 },
      spec: {
        podSelector: {},
        schedulerName: "default",
        artifactURL: "s3://bucket/lora",
        ...(this.#chance(0.5) ? { replicas: 1 as const } : {}),
      },
    };
    for (let index = 0; index < 3; index++) this.#addPod();
  }

  /** True once nothing will happen any more by itself. */
  get settled(): boolean {
    return this.#settled;
  }

  tick(chaos: boolean): void {
    this.#nowMs += TICK_MS;
    this.#tick++;
    if (this.#tick === this.#deleteAtTick && this.#adapter.metadata.finalizers !== undefined) {
      this.#adapter.metadata.deletionTimestamp = toTimestamp(this.#nowMs);
    }
    if (chaos) this.#disturb();
    else this.#calm();
    this.#finishOperations(chaos);
    this.#poll(chaos);
    // Level-triggered: several passes a tick, as the writes of one wake the next.
    for (let pass = 0; pass < 3 && !this.gone; pass++) this.#reconcile(chaos);
    this.#checkTick();
  }

  #disturb(): void {
    if (this.#chance(0.03) && this.#pods.length < 6) this.#addPod();
    if (this.#chance(0.02) && this.#pods.length > 1) this.#pods.splice(this.#index(), 1);
    const pod = this.#pods[this.#index()];
    if (pod === undefined) return;
    if (this.#chance(0.04))
      pod.readySinceMs = pod.readySinceMs === undefined ? this.#nowMs : undefined;
    if (this.#chance(0.03)) pod.holds = undefined;
    if (this.#chance(0.03)) pod.refuses = this.#chance(0.7) ? "retriable" : "final";
    if (this.#chance(0.05)) pod.refuses = "no";
    if (this.#chance(0.01)) pod.enabled = !pod.enabled;
    // A restarted controller knows nothing but what the API holds.
    if (this.#chance(0.02)) this.#memory.clear();
    if (this.#chance(0.02)) this.#changeSpec();
  }

  #calm(): void {
    for (const pod of this.#pods) {
      pod.readySinceMs ??= this.#nowMs;
      pod.refuses = "no";
      pod.enabled = true;
    }
  }

  #changeSpec(): void {
    this.#version++;
    this.#adapter.metadata.generation = (this.#adapter.metadata.generation ?? 0) + 1;
    this.#adapter.spec = {
      ...this.#adapter.spec,
      artifactURL: `s3://bucket/lora-${this.#version}`,
    };
  }

  /** Asks each engine what it lists; in chaos some do not answer. */
  #poll(chaos: boolean): void {
    for (const pod of this.#pods) {
      const memory = this.#memoryOf(pod.name);
      if (pod.readySinceMs === undefined || (chaos && this.#chance(0.1))) {
        if (this.#chance(0.3)) memory.held = this.#chance(0.5) ? "unknown" : "silent";
        continue;
      }
      memory.held =
        pod.holds === undefined ? "absent" : pod.holds === this.#version ? "current" : "outdated";
      if (memory.held === "current") memory.loadFailure = undefined;
      if (memory.held === "absent") memory.unloadFailure = undefined;
    }
  }

  #finishOperations(chaos: boolean): void {
    for (const [name, memory] of this.#memory) {
      if (memory.busy === undefined || memory.doneAtMs > this.#nowMs) continue;
      const pod = this.#pods.find((one) => one.name === name);
      const kind = memory.busy;
      memory.busy = undefined;
      if (pod === undefined) continue;
      const lost = chaos && this.#chance(0.1);
      if (kind === "loading") this.#finishLoad(pod, memory, lost);
      else this.#finishUnload(pod, memory, lost);
      if (lost) memory.held = "unknown";
    }
  }

  #finishLoad(pod: WorldPod, memory: Memory, lost: boolean): void {
    const refused = pod.refuses !== "no" || pod.readySinceMs === undefined;
    // A lost reply may hide a success as well as a failure.
    if (!refused && (!lost || this.#chance(0.5))) pod.holds = memory.loadsVersion;
    if (!refused && !lost) {
      memory.held = pod.holds === this.#version ? "current" : "outdated";
      memory.loadFailure = undefined;
      return;
    }
    const before = memory.failedVersion === this.#version ? memory.loadFailure : undefined;
    memory.failedVersion = this.#version;
    memory.loadFailure = failureAfter(before, {
      atMs: this.#nowMs,
      retriable: pod.refuses !== "final",
      message: pod.refuses === "final" ? "rank 64 > 16" : "connection refused",
    });
  }

  #finishUnload(pod: WorldPod, memory: Memory, lost: boolean): void {
    if (!lost && pod.readySinceMs !== undefined) {
      pod.holds = undefined;
      memory.held = "absent";
      memory.unloadFailure = undefined;
      return;
    }
    const setback = { atMs: this.#nowMs, retriable: true, message: "timeout" };
    memory.unloadFailure = failureAfter(memory.unloadFailure, setback);
  }

  #reconcile(chaos: boolean): void {
    const seen = this.#observe();
    const made = this.#planner(seen);
    if (this.#chance(0.05)) {
      const again = this.#planner(structuredClone(seen));
      assert.deepEqual(again, made, "a plan repeats from its snapshot");
    }
    const idle = seen.pods.every(
      (pod) => pod.busy === undefined && !["unasked", "unknown", "silent"].includes(pod.held),
    );
    this.#settled = idle && isEmpty(made, this.#adapter.status);
    this.#checkPlan(made);
    // Any write may be refused or lost: the rest of the plan is then left to the next pass.
    const fails = () => chaos && this.#chance(0.05);
    if (fails()) return;
    this.#writeMetadata(made);
    if (this.gone) return;
    if (made.publish.service || made.publish.slice !== undefined) {
      if (fails()) return;
      if (made.publish.service) this.#service = { state: "ours", intact: true, content: null };
      if (made.publish.slice !== undefined) {
        const content = made.publish.slice.map((pod) => pod.name);
        this.#slice = { state: "ours", intact: true, content };
      }
    }
    if (made.publish.withdraw) {
      if (fails()) return;
      this.#service = { state: "absent" };
      this.#slice = { state: "absent" };
    }
    this.#noteRoutes();
    for (const operation of made.operations) this.#start(operation.kind, operation.pod);
    if (made.status === undefined || jsonEqual(made.status, this.#adapter.status) || fails())
      return;
    this.outcome.statusWrites++;
    this.#adapter = { ...this.#adapter, status: made.status };
  }

  /** Requests come for as long as the slice names a pod. */
  #noteRoutes(): void {
    if (this.#slice.state !== "ours") return;
    for (const name of this.#slice.content) this.#memoryOf(name).routedAtMs = this.#nowMs;
  }

  #writeMetadata(made: Plan): void {
    const { metadata } = this.#adapter;
    for (const [key, value] of Object.entries(made.metadata.annotations)) {
      metadata.annotations ??= {};
      if (value === null) delete metadata.annotations[key];
      else metadata.annotations[key] = value;
    }
    if (made.metadata.finalizer === "add") metadata.finalizers = [FINALIZER];
    if (made.metadata.finalizer === "remove") this.#letGo(made);
  }

  #letGo(made: Plan): void {
    const written = made.tombstones.map((pod) => pod.name);
    for (const pod of this.#pods.filter((one) => one.holds !== undefined)) {
      // An engine that forgot its answer to a load is asked again before the object goes.
      assert(written.includes(pod.name), `${pod.name} still holds it and is forgotten`);
    }
    this.gone = true;
  }

  #start(kind: Operation["kind"], name: string): void {
    const memory = this.#memoryOf(name);
    if (kind === "cancel") {
      assert.equal(memory.busy, "loading", `cancel on ${name} while ${memory.busy}`);
      memory.busy = undefined;
      memory.held = "unknown";
      return;
    }
    const pod = this.#pods.find((one) => one.name === name);
    // An unload breaks off a load.
    const free = memory.busy === undefined || (kind === "unload" && memory.busy === "loading");
    assert(free, `${kind} on ${name} while ${memory.busy}`);
    assert(this.#adapter.metadata.finalizers?.includes(FINALIZER), `${kind} before the finalizer`);
    const published = this.#slice.state === "ours" ? this.#slice.content : [];
    if (kind === "unload") assert(!published.includes(name), `unload on ${name} under traffic`);
    if (kind === "load" && pod?.holds !== undefined && published.includes(name)) {
      const other = published.filter((one) => one !== name);
      assert.equal(other.length, 0, `replaced on ${name} under traffic, with others to take over`);
    }
    this.outcome.operations++;
    memory.busy = kind === "load" ? "loading" : "unloading";
    memory.stalledSinceMs = this.#nowMs;
    memory.touched = true;
    memory.loadsVersion = this.#version;
    memory.loadingVersion = kind === "load" ? versionOf(this.#adapter.spec) : undefined;
    memory.doneAtMs = this.#nowMs + Math.floor(this.#random() * 3) * TICK_MS;
  }

  #observe(): Seen {
    const pods = this.#pods.map((pod): PodSeen => {
      const memory = this.#memoryOf(pod.name);
      return {
        name: pod.name,
        uid: pod.name,
        ip: "127.0.0.2",
        matches: true,
        enabled: pod.enabled,
        baseModel: undefined,
        readySinceMs: pod.readySinceMs,
        terminating: pod.terminating,
        held: memory.held,
        path: undefined,
        known: true,
        recorded: memory.touched || this.#recorded().has(pod.name),
        busy: memory.busy,
        stalledSinceMs: memory.busy && memory.stalledSinceMs,
        loadingVersion: memory.loadingVersion,
        loadFailure: memory.failedVersion === this.#version ? memory.loadFailure : undefined,
        unloadFailure: memory.unloadFailure,
        lateLoadUntilMs: undefined,
        routedAtMs: memory.routedAtMs,
        otherAdapters: 0,
      };
    });
    return {
      nowMs: this.#nowMs,
      offsetMs: 0,
      adapter: this.#adapter,
      doomedMs: fromTimestamp(this.#adapter.metadata.deletionTimestamp),
      conditions: this.#adapter.status?.conditions ?? [],
      publishFailure: undefined,
      pods,
      service: this.#service,
      slice: this.#slice,
      schedulerPolicy: "default",
    };
  }

  #checkPlan(made: Plan): void {
    const { status } = made;
    if (status === undefined) return;
    if (status.phase === "Running") assert(status.instances?.length, "Running without an instance");
    const ready = status.conditions?.find((one) => one.type === "Ready")?.status === "True";
    assert.equal(ready, status.phase === "Running", "Ready and Running agree");
    if (this.#adapter.spec.replicas === 1) {
      assert((status.instances?.length ?? 0) <= 1, "two instances where one was asked for");
    }
  }

  /** What is published may lag behind an engine that forgets by one poll, never behind what the controller knows. */
  #checkTick(): void {
    if (this.#slice.state !== "ours") return;
    for (const name of this.#slice.content) {
      const memory = this.#memory.get(name);
      const pod = this.#pods.find((one) => one.name === name);
      if (pod === undefined || memory === undefined) continue;
      const failed = memory.loadFailure !== undefined && memory.held === "absent";
      assert(!failed, `${name} lacks it, published`);
    }
  }

  checkEnd(): void {
    if (this.#adapter.metadata.deletionTimestamp !== undefined) {
      assert(this.gone, `seed ${this.#seed}: the deletion never ended`);
      return;
    }
    const { status, spec, metadata } = this.#adapter;
    const holding = this.#pods.filter((pod) => pod.holds === this.#version).map((pod) => pod.name);
    const wanted = spec.replicas ?? this.#pods.length;
    assert.equal(status?.phase, "Running", `seed ${this.#seed}: ${JSON.stringify(status)}`);
    assert.equal(holding.length, wanted, `seed ${this.#seed}: held by ${holding}`);
    assert.deepEqual([...(status?.instances ?? [])].sort(), holding.sort());
    assert.equal(
      this.#slice.state === "ours" && [...this.#slice.content].sort().join(),
      holding.join(),
    );
    assert.equal(this.#pods.filter((pod) => pod.holds !== undefined).length, wanted, "a leftover");
    assert.equal(Object.keys(metadata.annotations ?? {}).length, 0, "annotations are left");
    assert.equal(status?.observedGeneration, metadata.generation);
    assert(this.outcome.statusWrites < 400, `${this.outcome.statusWrites} status writes`);
  }

  /** What is written down of the pods on which the adapter was loaded, or begun to be. */
  #recorded(): Set<string> {
    const { metadata, status } = this.#adapter;
    const lines = (status?.pods ?? []).filter((line) => line.state !== "Waiting");
    const scheduled = (metadata.annotations?.[ANNOTATION.scheduledPods] ?? "").split(",");
    return new Set([...lines.map((line) => line.name), ...scheduled]);
  }

  #memoryOf(name: string): Memory {
    const known = this.#memory.get(name);
    if (known !== undefined) return known;
    const { metadata, status } = this.#adapter;
    const written = failureFromAnnotations(metadata.annotations, name);
    const isOld = status?.observedGeneration !== metadata.generation;
    const fresh: Memory = {
      held: "unasked",
      busy: undefined,
      stalledSinceMs: undefined,
      doneAtMs: 0,
      loadingVersion: undefined,
      loadsVersion: 0,
      loadFailure:
        written === undefined || isOld ? undefined : { ...written, message: "before a restart" },
      failedVersion: this.#version,
      unloadFailure: undefined,
      touched: false,
      routedAtMs: undefined,
    };
    this.#memory.set(name, fresh);
    return fresh;
  }

  #addPod(): void {
    this.#pods.push({
      name: `pod-${this.#podCount++}`,
      readySinceMs: this.#nowMs,
      terminating: false,
      enabled: true,
      holds: undefined,
      refuses: "no",
    });
  }

  #index = () => Math.floor(this.#random() * this.#pods.length);
  #chance = (share: number) => this.#random() < share;
}
