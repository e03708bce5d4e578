/** What engines are asked: only what is written down, only by who leads, never what is somebody else's, and not too often. */
import type { ModelAdapter } from "#api/model-adapter.ts";
import { FINALIZER } from "#api/names.ts";
import { TOMBSTONES_NAME } from "#controller/tombstones.ts";
import { CONFIG_MAPS, keyOf, LEASES } from "#kube/client.ts";
import type { Sent } from "../api-network.ts";
import { LEASE, RENEW_DEADLINE_MS, SYSTEM } from "../controllers.ts";
import type { Call } from "../engine-network.ts";
import { readySinceMs, recordedOn } from "../facts.ts";
import { namesIn } from "../history.ts";
import type { Host } from "../host.ts";
import type { SimPod } from "../sim-pod.ts";
import type { CheckContext } from "./context.ts";

const STABLE_MS = 5000;
const DRAIN_MS = 1000;
const HEARD_MS = 1000;
const KNOWN_MS = 5000;
const WINDOW_MS = 10_000;
/** Polls of a window, with as many hints as a busy pod gives reason to. */
const LISTS_MAX = 45;

export class CallChecks {
  readonly #context: CheckContext;
  readonly #isElected: boolean;
  readonly #loadingSinceMs: (name: string, pod: SimPod) => number | undefined;
  readonly #lists = new Map<string, number[]>();
  /** Pods on which a controller loaded an adapter, by name. */
  readonly #touched = new Set<string>();
  /** When each process last sent a write of the lease. */
  readonly #leaseSentMs = new Map<string, number>();
  /** When the renewal was sent that counts. */
  #renewedMs = Number.NEGATIVE_INFINITY;

  constructor(
    context: CheckContext,
    isElected: boolean,
    loadingSinceMs: (name: string, pod: SimPod) => number | undefined,
  ) {
    this.#context = context;
    this.#loadingSinceMs = loadingSinceMs;
    this.#isElected = isElected;
  }

  sent({ host, verb, plural, key, isWrite }: Sent): void {
    if (!isWrite) return;
    if (plural === "leases") this.#leaseSentMs.set(host.name, this.#context.time.now());
    else this.#checkLease(host, `${verb} ${plural} ${key}`);
  }

  renewed(holder: string): void {
    this.#renewedMs = this.#leaseSentMs.get(holder) ?? Number.NEGATIVE_INFINITY;
  }

  called(call: Call): void {
    const { host, pod, kind, name } = call;
    if (kind === "list") {
      this.#countList(call);
      return;
    }
    this.#checkLease(host, `${kind} ${name} on ${pod?.name}`);
    if (pod === undefined) return;
    const { facts, history, report } = this.#context;
    const key = pod.keyOf(name);
    const adapter = facts.adapter(key);
    const held = pod.engine.held.get(name);
    const isMeant = adapter !== undefined && facts.isMeant(adapter, pod);
    const isForeign =
      held?.by === "hand" &&
      !isMeant &&
      !this.#touched.has(`${pod.uid} ${name}`) &&
      !history.wasRecorded(key, pod.name);
    if (isForeign) {
      report("foreign-adapter", `${kind} of ${name} on ${pod.name}, where somebody else loaded it`);
    }
    if (kind === "load") {
      this.#touched.add(`${pod.uid} ${name}`);
      this.#checkLoad(adapter, pod, name);
    } else this.#checkUnload(pod, name);
  }

  #checkLoad(adapter: ModelAdapter | undefined, pod: SimPod, name: string): void {
    const { facts, report, time, history, calm, controllers } = this.#context;
    if (adapter === undefined) {
      // It was let go while the load was under way, and that is written down.
      const map = facts.server.find(CONFIG_MAPS, { namespace: SYSTEM, name: TOMBSTONES_NAME });
      const isBuried = (text: string) => text.includes(`"${name}"`) && text.includes(pod.uid);
      if (Object.values(map?.data ?? {}).some(isBuried)) return;
      report("unrecorded-load", `load of ${name}, which there is not`);
      return;
    }
    if (!adapter.metadata.finalizers?.includes(FINALIZER)) {
      report("unrecorded-load", `load of ${name} before the finalizer is there`);
    } else if (!recordedOn(adapter, pod.name)) {
      report("unrecorded-load", `load of ${name} on ${pod.name}, which is not on record`);
    }
    const object = facts.kubelet.object(pod);
    const since = object && readySinceMs(object);
    const heardMs = Math.max(history.podChangedMs(pod.uid), calm.sinceMs) + HEARD_MS;
    // A load that takes several requests goes on when its pod is not Ready for a while.
    const isFirst = this.#loadingSinceMs(name, pod) === time.now();
    const isUnstable = since === undefined || time.now() < since + STABLE_MS;
    // By the clock of a machine that is ahead a pod is Ready for longer.
    const isSure = isFirst && !controllers().wereClocksSet;
    if (isSure && isUnstable && time.now() > heardMs) {
      report("unstable-load", `load of ${name} on ${pod.name}, Ready since ${since}`);
    }
    if (isFirst) this.#checkNeed(adapter, pod);
    this.#checkReplacement(adapter, pod);
  }

  /** What an engine has, as is known and written down, is not loaded again. */
  #checkNeed(adapter: ModelAdapter, pod: SimPod): void {
    const { facts, report, time, history, calm } = this.#context;
    const { name, uid } = adapter.metadata;
    const line = adapter.status?.pods?.find((one) => one.name === pod.name);
    if (!facts.isCurrent(adapter, pod) || line?.state !== "Loaded") return;
    const sinceMs = Math.max(
      history.heldChangedMs(keyOf(adapter)),
      history.specChangedMs(uid),
      history.podChangedMs(pod.uid),
      pod.answersSinceMs,
      calm.sinceMs,
    );
    if (time.now() < sinceMs + KNOWN_MS) return;
    report("needless-load", `load of ${name} on ${pod.name}, which has had it for long`);
  }

  /** Where others can take over, a pod is out of traffic before its version is replaced. */
  #checkReplacement(adapter: ModelAdapter, pod: SimPod): void {
    const { facts, report, time, history, calm } = this.#context;
    const { name, uid } = adapter.metadata;
    const published = facts.published(adapter);
    if (!pod.engine.held.has(name) || !published.includes(pod.name)) return;
    const others = published.filter((one) => {
      const other = facts.pod(one);
      return one !== pod.name && other?.answers && other.engine.held.has(name);
    });
    const heardMs = Math.max(history.specChangedMs(uid), calm.sinceMs) + HEARD_MS;
    const isFresh = history.sliceWritten(keyOf(adapter)).atMs + HEARD_MS > time.now();
    if (others.length > 0 && time.now() > heardMs && !isFresh) {
      report("replaced-under-traffic", `load of ${name} on ${pod.name}, beside [${others}]`);
    }
  }

  #checkUnload(pod: SimPod, name: string): void {
    const { calm, facts, report, time, history } = this.#context;
    // An engine that cannot replace in place is made to unload first, where nobody can take over.
    if (this.#loadingSinceMs(name, pod) !== undefined) return;
    const key = pod.keyOf(name);
    const wrote = history.sliceWritten(key);
    // Somebody may have edited it a moment ago, or while nobody heard.
    const heardMs = Math.max(wrote.atMs, calm.sinceMs) + HEARD_MS;
    const isStrange = !wrote.actor.startsWith("controller") || history.isLost(key);
    const isEdited = isStrange && time.now() < heardMs;
    if (namesIn(facts.slice(key)).includes(pod.name) && !isEdited) {
      report("unloaded-under-traffic", `unload of ${name} on ${pod.name}, which is published`);
    }
    const left = history.unpublished(key, pod.name);
    if (
      left.actor.startsWith("controller") &&
      calm.sinceMs <= left.atMs &&
      time.now() < left.atMs + DRAIN_MS
    ) {
      report("unloaded-under-traffic", `unload of ${name} on ${pod.name} before it is drained`);
    }
  }

  /** Only who holds the lease, and within the time for which it was renewed. */
  #checkLease(host: Host, what: string): void {
    if (!this.#isElected) return;
    const { facts, report, time } = this.#context;
    const lease = facts.server.find(LEASES, LEASE);
    const isHolder = lease?.spec.holderIdentity === host.name;
    if (isHolder && time.now() < this.#renewedMs + RENEW_DEADLINE_MS) return;
    report("fence", `${host.name}: ${what}; the lease is ${lease?.spec.holderIdentity}'s`);
  }

  #countList({ host, pod }: Call): void {
    if (pod === undefined) return;
    const { time, report } = this.#context;
    const key = `${host.name} ${pod.uid}`;
    const times = this.#lists.get(key) ?? [];
    this.#lists.set(key, times);
    times.push(time.now());
    while ((times[0] ?? 0) < time.now() - WINDOW_MS) times.shift();
    if (times.length > LISTS_MAX) {
      report("too-many-lists", `${times.length} lists of ${pod.name} within ${WINDOW_MS} ms`);
      times.length = 0;
    }
  }
}
