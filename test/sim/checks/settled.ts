/** What a world must come to once nothing goes wrong any more, and by when. */
import type { ModelAdapter } from "#api/model-adapter.ts";
import { ANNOTATION, LABEL } from "#api/names.ts";
import { TOMBSTONES_NAME } from "#controller/tombstones.ts";
import { CONFIG_MAPS, ENDPOINT_SLICES, keyOf, SERVICES } from "#kube/client.ts";
import { SYSTEM } from "../controllers.ts";
import { isOwned } from "../facts.ts";
import { namesIn } from "../history.ts";
import type { SimPod } from "../sim-pod.ts";
import { type CheckContext, Lasting } from "./context.ts";
import type { RetryChecks } from "./retries.ts";

/** A look at a pod, five seconds of its being Ready, a load, a few writes. */
const SLACK_MS = 20_000;
/** The collector's longest delay. */
const COLLECTED_MS = 35_000;
/** A load that was broken off may come late; only then is a tombstone let go. */
const MOMENT_MS = 3000;
const LATE_MS = 65_000;
const UNLOAD_BACKOFF_MS = 80_000;

interface Problem {
  readonly text: string;
  readonly dueMs: number;
}

export class SettledChecks {
  readonly #context: CheckContext;
  readonly #retries: RetryChecks;
  readonly #lasting = new Lasting();
  /** When a name was last somebody else's. */
  readonly #takenMs = new Map<string, number>();
  /** When an adapter was last seen on a pod that should not have it. */
  readonly #leftMs = new Map<string, number>();

  constructor(context: CheckContext, retries: RetryChecks) {
    this.#context = context;
    this.#retries = retries;
  }

  /** True when all is as it should be. Reports what is not, once its time is over. */
  step(calmSinceMs: number): boolean {
    const { facts, time, report, calm } = this.#context;
    const since = Math.max(calmSinceMs, calm.sinceMs);
    const problems = [
      ...facts.adapters().flatMap((adapter) => this.#adapter(adapter, since)),
      ...this.#leftovers(since),
    ];
    for (const { text, dueMs } of problems) {
      // What has just come about, at whatever moment, is seen to in the next.
      const lastedMs = this.#lasting.lastedMs(text, true, time.now(), 0);
      if (time.now() > dueMs && lastedMs > MOMENT_MS) report("not-converged", text);
    }
    this.#lasting.endLook();
    return problems.length === 0;
  }

  #adapter(adapter: ModelAdapter, since: number): Problem[] {
    const { facts, history, time } = this.#context;
    const { metadata, spec, status } = adapter;
    const { uid } = metadata;
    const name = keyOf(adapter);
    if (metadata.deletionTimestamp !== undefined) {
      return [{ text: `${name} is still being deleted`, dueMs: since + SLACK_MS }];
    }
    const pods = facts.kubelet.present();
    const eligible = pods.filter((pod) => facts.isEligible(adapter, pod));
    const holding = eligible.filter((pod) => facts.isCurrent(adapter, pod));
    const names = holding.map((pod) => pod.name).sort();
    const wanted = spec.replicas === 1 ? Math.min(1, eligible.length) : eligible.length;
    const texts: string[] = [];
    const expect = (isSo: boolean, text: string) => {
      if (!isSo) texts.push(`${name}: ${text}`);
    };
    const published = facts.published(adapter).sort().join();
    expect(names.length === wanted, `held by [${names}] of [${eligible.map((pod) => pod.name)}]`);
    expect(published === names.join(), `published: [${published}], held by [${names}]`);
    expect(status?.phase === (wanted > 0 ? "Running" : "Pending"), `phase ${status?.phase}`);
    expect(
      [...(status?.instances ?? [])].sort().join() === names.join(),
      `instances [${status?.instances}], held by [${names}]`,
    );
    expect(status?.observedGeneration === metadata.generation, "observedGeneration is old");
    const ours = Object.keys(metadata.annotations ?? {}).filter((key) =>
      Object.values(ANNOTATION).some((prefix) => key.startsWith(prefix)),
    );
    expect(ours.length === 0, `annotations [${ours}]`);
    if (wanted > 0) this.#checkObjects(adapter, expect);
    const elsewhere = pods.filter((pod) => {
      if (pod.namespace !== metadata.namespace) return false;
      const held = pod.engine.held.get(metadata.name);
      return held?.by.startsWith("controller") && !holding.includes(pod);
    });
    const dues = pods.map((pod) => this.#retries.dueMs(adapter, pod));
    // What a namesake left is the collector's to take away.
    const isTaken = [facts.service(name), facts.slice(name)].some(
      (object) => object !== undefined && !isOwned(object, adapter),
    );
    if (isTaken) this.#takenMs.set(name, time.now());
    const freeMs = this.#takenMs.get(name) ?? 0;
    if (isTaken && time.now() < since + COLLECTED_MS) return [{ text: "taken", dueMs: time.now() }];
    // A load may have come late.
    const heldMs = history.heldChangedMs(name);
    const fromMs = Math.max(since, freeMs, heldMs, history.specChangedMs(uid), ...dues);
    // An engine may still come to a load of a namesake that is gone.
    const left = elsewhere.map((pod) => ({
      text: `${name}: left on ${pod.name}`,
      dueMs: fromMs + LATE_MS,
    }));
    if (left.length > 0) this.#leftMs.set(name, time.now());
    const dueMs = Math.max(fromMs, this.#leftMs.get(name) ?? 0) + SLACK_MS;
    return [...texts.map((text) => ({ text, dueMs })), ...left];
  }

  #checkObjects(adapter: ModelAdapter, expect: (isSo: boolean, text: string) => void): void {
    const { facts } = this.#context;
    const { name } = adapter.metadata;
    const key = keyOf(adapter);
    const service = facts.service(key);
    expect(service !== undefined && isOwned(service, adapter), "the Service is not its own");
    const labels = [LABEL.modelName, LABEL.adapterName];
    for (const object of [service, facts.slice(key)]) {
      const isLabelled = labels.every((label) => object?.metadata.labels?.[label] === name);
      expect(isLabelled, "a label of Service or EndpointSlice is wrong");
    }
    const ports = service?.spec.ports ?? [];
    expect(
      ports.length === 1 && ports[0]?.port === 8000,
      `Service has ports ${JSON.stringify(ports)}`,
    );
    expect(Object.keys(service?.spec.selector ?? {}).length === 0, "the Service has a selector");
    const sliced = facts.slice(key)?.ports ?? [];
    expect(sliced.length === 1 && sliced[0]?.port === 8000, "the EndpointSlice's ports are wrong");
    for (const endpoint of facts.slice(key)?.endpoints ?? []) {
      const pod = facts.pod(endpoint.targetRef?.name ?? "");
      expect(pod?.ip === endpoint.addresses[0], "an address of the EndpointSlice is wrong");
    }
  }

  /** What nobody asked for. */
  #leftovers(since: number): Problem[] {
    const { facts } = this.#context;
    const { server } = facts;
    const orphans = [...server.list(SERVICES), ...server.list(ENDPOINT_SLICES)]
      .filter((object) => object.metadata.ownerReferences !== undefined)
      .filter((object) => {
        const adapter = facts.adapter(keyOf(object));
        return adapter === undefined || !isOwned(object, adapter);
      })
      .map((object) => ({
        text: `${keyOf(object)} [${namesIn(object)}] is left without its adapter`,
        dueMs: since + COLLECTED_MS,
      }));
    // Where nobody is left who knows the engine's key, it cannot be asked.
    const isLocked = (pod: SimPod | undefined) =>
      pod?.engine.apiKey !== undefined &&
      !facts.adapters().some((adapter) => facts.isMeant(adapter, pod));
    const held = facts.kubelet.present().flatMap((pod) =>
      [...pod.engine.held]
        .filter(([name, one]) => one.by.startsWith("controller") && !facts.adapter(pod.keyOf(name)))
        .filter(() => !isLocked(pod))
        .map(([name]) => ({
          text: `${name} is left on ${pod.name}`,
          dueMs: Math.max(since, this.#retries.unloadDueMs(name, pod)) + LATE_MS,
        })),
    );
    const map = server.find(CONFIG_MAPS, { namespace: SYSTEM, name: TOMBSTONES_NAME });
    const tombstones = Object.values(map?.data ?? {}).flatMap((text) => {
      const { namespace, adapter: name, pod: podName } = JSON.parse(text);
      const pod = facts.pod(podName);
      if (isLocked(pod)) return [];
      // Until a namesake has replaced what is left, the tombstone tells that it is not its own: a load that failed for good takes its time.
      const heir = facts.adapter(`${namespace}/${name}`);
      const heirMs =
        pod === undefined || heir === undefined ? 0 : this.#retries.dueMs(heir, pod) + SLACK_MS;
      const dueMs = Math.max(since, heirMs) + LATE_MS + UNLOAD_BACKOFF_MS;
      return [{ text: `tombstone ${text}`, dueMs }];
    });
    return [...orphans, ...held, ...tombstones];
  }
}
