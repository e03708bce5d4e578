/** What is told to those who send requests: EndpointSlice and status name pods that serve, and no others. */

import { isTrue } from "#api/conditions.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { keyOf } from "#kube/client.ts";
import { readySinceMs } from "../facts.ts";
import type { SimPod } from "../sim-pod.ts";
import { type CheckContext, Lasting } from "./context.ts";

/** One poll, its answer, and the write. */
const LOST_MS = 2600;
/** An engine that gives no list is trusted for a while. */
const SILENT_MS = 20_000;
const NOT_READY_MS = 1000;
/** A status may wait a little for what is about to change. */
const STATUS_MS = 400;
const SPEC_MS = 1000;

export class PublishedChecks {
  readonly #context: CheckContext;
  readonly #lacks = new Lasting();
  readonly #unready = new Lasting();
  readonly #crowds = new Lasting();
  readonly #claims = new Lasting();

  constructor(context: CheckContext) {
    this.#context = context;
  }

  step(): void {
    const { facts } = this.#context;
    for (const adapter of facts.adapters()) {
      const name = keyOf(adapter);
      const published = facts.published(adapter);
      for (const pod of published) this.#checkPod(adapter, pod, "EndpointSlice", 0);
      this.#checkGone(adapter, published);
      const { status } = adapter;
      for (const pod of status?.instances ?? []) this.#checkPod(adapter, pod, "status", STATUS_MS);
      this.#checkCrowd(adapter, "EndpointSlice", published.length, 0);
      this.#checkCrowd(adapter, "status", status?.instances?.length ?? 0, STATUS_MS);
      const isClaimed =
        status?.phase === "Running" && adapter.metadata.deletionTimestamp === undefined;
      const isServed = (status?.instances ?? []).some((pod) => published.includes(pod));
      this.#tooLong(
        this.#claims,
        `${name} ${adapter.metadata.uid}`,
        isClaimed && (!isServed || facts.service(name) === undefined),
        NOT_READY_MS + STATUS_MS,
        this.#context.calm.sinceMs,
        "status-lies",
        `${name} is Running, but no instance is published`,
      );
    }
    this.#endLook();
  }

  #endLook(): void {
    for (const one of [this.#lacks, this.#unready, this.#crowds, this.#claims]) one.endLook();
  }

  /** A status as it is written by a controller. */
  written(adapter: ModelAdapter): void {
    const { report } = this.#context;
    const name = keyOf(adapter);
    const {
      phase,
      conditions,
      instances = [],
      readyReplicas,
      observedGeneration,
    } = adapter.status ?? {};
    const isRunning = phase === "Running";
    if (isRunning && instances.length === 0) {
      report("status-lies", `${name} is Running without an instance`);
    }
    if (isTrue(conditions, "Ready") !== isRunning) {
      report("status-lies", `${name}: phase ${phase} and condition Ready differ`);
    }
    if (readyReplicas !== instances.length) {
      report("status-lies", `${name}: readyReplicas ${readyReplicas}, instances ${instances}`);
    }
    if ((observedGeneration ?? 0) > (adapter.metadata.generation ?? 0)) {
      report("status-lies", `${name}: observedGeneration ${observedGeneration} is of the future`);
    }
  }

  /** The EndpointSlice as it is written by a controller. */
  wrote(adapter: ModelAdapter, pods: readonly string[]): void {
    const { time, history, calm, controllers, report } = this.#context;
    if (adapter.spec.replicas !== 1 || pods.length < 2) return;
    const changedMs = history.specChangedMs(adapter.metadata.uid);
    const askedMs = controllers().leader()?.askedAtMs ?? Number.POSITIVE_INFINITY;
    const isOld = changedMs + SPEC_MS < Math.min(askedMs, time.now());
    if (isOld || time.now() - Math.max(changedMs, calm.sinceMs) > SPEC_MS) {
      report("two-published", `${adapter.metadata.name}: [${pods}] where one was asked for`);
    }
  }

  /** Nobody but the garbage collector may keep on publishing what is gone. */
  #checkGone(adapter: ModelAdapter, published: readonly string[]): void {
    const { calm, facts } = this.#context;
    for (const name of published) {
      const pod = facts.pod(name);
      const object = pod && facts.kubelet.object(pod);
      const isOut =
        object === undefined ||
        object.metadata.deletionTimestamp !== undefined ||
        readySinceMs(object) === undefined;
      this.#tooLong(
        this.#unready,
        `${adapter.metadata.uid} ${name}`,
        isOut,
        NOT_READY_MS,
        calm.sinceMs,
        "published-not-ready",
        `${adapter.metadata.name} is published on ${name}, which is not Ready, ending or gone`,
      );
    }
  }

  #checkPod(adapter: ModelAdapter, name: string, where: string, moreMs: number): void {
    const { calm, facts, time } = this.#context;
    const pod = facts.pod(name);
    if (pod === undefined) return;
    const lacks = this.#isWrong(adapter, pod);
    const lastedMs = this.#lacks.lastedMs(
      `${where} ${adapter.metadata.uid} ${name}`,
      lacks,
      time.now(),
      calm.sinceMs,
    );
    const sinceMs = time.now() - lastedMs;
    const isLate = time.now() - Math.max(sinceMs, pod.answersSinceMs) > LOST_MS + moreMs;
    if (lastedMs > SILENT_MS + moreMs || isLate) {
      this.#context.report(
        "published-lacks",
        `${where} of ${adapter.metadata.name} names ${name} for ${lastedMs} ms, whose engine lacks it`,
      );
    }
  }

  /** The engine does not have it, or has what somebody else put there. */
  #isWrong(adapter: ModelAdapter, pod: SimPod): boolean {
    const held = pod.engine.held.get(adapter.metadata.name);
    return (
      held === undefined || (held.by === "hand" && !this.#context.facts.isCurrent(adapter, pod))
    );
  }

  #checkCrowd(adapter: ModelAdapter, where: string, count: number, moreMs: number): void {
    const { calm, history } = this.#context;
    const { name, uid } = adapter.metadata;
    this.#tooLong(
      this.#crowds,
      `${where} ${uid}`,
      adapter.spec.replicas === 1 && count > 1,
      SPEC_MS + moreMs,
      Math.max(calm.sinceMs, history.specChangedMs(uid)),
      "two-published",
      `${where} of ${name} names ${count} pods where one was asked for`,
    );
  }

  #tooLong(
    lasting: Lasting,
    key: string,
    isSo: boolean,
    maxMs: number,
    excusedMs: number,
    invariant: string,
    text: string,
  ): void {
    const lastedMs = lasting.lastedMs(key, isSo, this.#context.time.now(), excusedMs);
    if (lastedMs > maxMs) this.#context.report(invariant, `${text}, for ${lastedMs} ms`);
  }
}
