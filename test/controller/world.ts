/** What one test has for itself: a namespace, the pods and adapters in it, and all that was ever seen of them. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { EndpointSlice, KubeEvent, KubeObject, Service } from "#api/kubernetes.ts";
import type { ModelAdapter, ModelAdapterSpec, Phase } from "#api/model-adapter.ts";
import { API_VERSION, KIND } from "#api/names.ts";
import {
  CUSTOM_RESOURCE_DEFINITIONS,
  ENDPOINT_SLICES,
  EVENTS,
  isGone,
  isNotFound,
  MODEL_ADAPTERS,
  NAMESPACES,
  type Resource,
  SERVICES,
  type WatchOptions,
} from "#kube/client.ts";
import { eventually } from "../support/eventually.ts";
import { makePod, type PodOptions, type TestPod } from "./pods.ts";
import type { Stage } from "./stage.ts";

/** What happens at once takes this long when a dozen tests share two processors. */
const PATIENCE_MS = 15_000;

export type SpecChange = Partial<ModelAdapterSpec> & Record<string, unknown>;

/** An object as it was at a moment of this process's clock. */
export interface Sight<T> {
  readonly atMs: number;
  readonly object: T;
  readonly isGone: boolean;
}

export class World {
  readonly namespace: string;
  readonly stage: Stage;
  readonly #stop = new AbortController();
  readonly #pods: TestPod[] = [];
  readonly #adapters: Sight<ModelAdapter>[] = [];
  readonly #slices: Sight<EndpointSlice>[] = [];
  readonly #watching: Promise<void>[];

  private constructor(stage: Stage, namespace: string) {
    this.stage = stage;
    this.namespace = namespace;
    this.#watching = [
      this.#watch(MODEL_ADAPTERS, this.#adapters),
      this.#watch(ENDPOINT_SLICES, this.#slices),
    ];
  }

  /** A new world, which ends with its test, and in which no status ever claimed too much. */
  static async make(stage: Stage, t?: TestContext): Promise<World> {
    const world = new World(stage, await stage.target.namespace());
    t?.after(() => world.close());
    return world;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#watching);
    await Promise.all(this.#pods.map((pod) => pod.engine.close()));
    for (const { object } of this.#adapters) assertHonest(object);
  }

  async pod(name: string, options?: PodOptions): Promise<TestPod> {
    const { client, addresses } = this.stage;
    const pod = await makePod(client, this.namespace, name, addresses.next(), options);
    this.#pods.push(pod);
    return pod;
  }

  /** Pods of these names, as in most fleets all alike. */
  async pods<const Names extends readonly string[]>(
    ...names: Names
  ): Promise<{ [K in keyof Names]: TestPod }> {
    const pods = await Promise.all(names.map((name) => this.pod(name)));
    return pods as { [K in keyof Names]: TestPod };
  }

  /** Declares an adapter for all pods of the base model, from `/adapters/<name>` unless told otherwise. */
  async declare(
    name: string,
    spec: SpecChange = {},
    meta: Partial<ModelAdapter["metadata"]> = {},
  ): Promise<ModelAdapter> {
    return await this.stage.client.create(MODEL_ADAPTERS, {
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name, namespace: this.namespace, ...meta },
      spec: {
        baseModel: "base",
        podSelector: { matchLabels: { "model.aibrix.ai/name": "base" } },
        schedulerName: "default",
        artifactURL: `/adapters/${name}`,
        ...spec,
      },
    });
  }

  async change(name: string, spec: Record<string, unknown>): Promise<ModelAdapter> {
    return await this.stage.client.patch(MODEL_ADAPTERS, this.named(name), "merge", { spec });
  }

  async label(name: string, labels: Readonly<Record<string, string>>): Promise<void> {
    await this.stage.client.patch(MODEL_ADAPTERS, this.named(name), "merge", {
      metadata: { labels },
    });
  }

  /** Deletes the namespace with all that is in it. The real API server has no controller for that: what it would do is done here. */
  async remove(): Promise<void> {
    const { client, target } = this.stage;
    await client.delete(NAMESPACES, { name: this.namespace });
    if (target.isEmbedded) return;
    for (const { group, version, plural } of [SERVICES, ENDPOINT_SLICES, MODEL_ADAPTERS]) {
      const root = group === "" ? "/api" : `/apis/${group}`;
      const path = `${root}/${version}/namespaces/${this.namespace}/${plural}`;
      (await target.delete(path)).expect(200);
    }
  }

  /** Deletes the definition of ModelAdapters, which waits for the last of them to go. */
  async removeDefinition(): Promise<void> {
    const { client } = this.stage;
    const name = `${MODEL_ADAPTERS.plural}.${MODEL_ADAPTERS.group}`;
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, { name });
    const isGone = () =>
      client.get(CUSTOM_RESOURCE_DEFINITIONS, { name }).then(() => false, isNotFound);
    await eventually("the definition is gone", isGone, PATIENCE_MS);
  }

  named(name: string) {
    return { namespace: this.namespace, name };
  }

  /** The adapter as it is, once `check` holds for it. */
  async until(
    name: string,
    what: string,
    check: (adapter: ModelAdapter) => unknown,
    timeoutMs = PATIENCE_MS,
  ): Promise<ModelAdapter> {
    let last: ModelAdapter | undefined;
    try {
      return await eventually(
        `${name}: ${what}`,
        () => {
          last = this.#latest(name);
          return last !== undefined && Boolean(check(last)) && last;
        },
        timeoutMs,
      );
    } catch (error) {
      const status = JSON.stringify(last?.status, undefined, 1);
      throw new Error(`${error instanceof Error ? error.message : error}, but ${status}`);
    }
  }

  /** Waits for the phase, in a status that is about the spec as it is. */
  async phase(name: string, phase: Phase, timeoutMs?: number): Promise<ModelAdapter> {
    const { metadata } = await this.stage.client.get(MODEL_ADAPTERS, this.named(name));
    const isSo = ({ status }: ModelAdapter) =>
      status?.phase === phase && (status.observedGeneration ?? 0) >= (metadata.generation ?? 0);
    return await this.until(name, phase, isSo, timeoutMs);
  }

  /** Waits until the adapter serves on exactly these pods, and its EndpointSlice names them. */
  async serving(name: string, ...pods: TestPod[]): Promise<ModelAdapter> {
    const names = pods.map((pod) => pod.name).sort();
    const isSo = ({ status }: ModelAdapter) =>
      status?.phase === "Running" && status.instances?.join() === names.join();
    const adapter = await this.until(name, `serves on ${names.join()}`, isSo);
    await this.published(name, ...pods);
    return adapter;
  }

  async published(name: string, ...pods: TestPod[]): Promise<void> {
    const wanted = pods.map((pod) => pod.host).sort();
    await eventually(
      `the EndpointSlice of ${name} names ${wanted.join()}`,
      () => this.endpoints(name).join() === wanted.join(),
      PATIENCE_MS,
    );
  }

  /** The addresses that requests are sent to now, as a proxy that watches knows them. */
  endpoints(name: string): string[] {
    const slice = this.#slices.findLast(({ object }) => object.metadata.name === name);
    if (slice === undefined || slice.isGone) return [];
    return (slice.object.endpoints ?? []).flatMap((endpoint) => endpoint.addresses).sort();
  }

  /** Waits until the object is gone from the API; how long that took, milliseconds. */
  async gone(name: string, timeoutMs = PATIENCE_MS): Promise<number> {
    const startedMs = Date.now();
    const isGone = () => this.#adapters.findLast(isAbout(name))?.isGone;
    await eventually(`${name} is gone`, isGone, timeoutMs);
    return Date.now() - startedMs;
  }

  /** Everything that was seen of an adapter. */
  history(name: string): Sight<ModelAdapter>[] {
    return this.#adapters.filter(isAbout(name));
  }

  slices(name: string): Sight<EndpointSlice>[] {
    return this.#slices.filter(isAbout(name));
  }

  /** `<type> <reason> <message>` of each Event, in the order in which they were made. */
  async events(name: string): Promise<string[]> {
    const { items } = await this.stage.client.list(EVENTS, { namespace: this.namespace });
    const versionOf = (event: KubeEvent) => Number(event.metadata.resourceVersion);
    return items
      .filter((event) => event.involvedObject.name === name)
      .sort((a, b) => versionOf(a) - versionOf(b))
      .map((event) => `${event.type} ${event.reason} ${event.message}`);
  }

  async service(name: string): Promise<Service | undefined> {
    return await this.#find(SERVICES, name);
  }

  async slice(name: string): Promise<EndpointSlice | undefined> {
    return await this.#find(ENDPOINT_SLICES, name);
  }

  /** Runs kubectl as a user of this namespace would, who sees this on stdout. */
  async kubectl(...args: string[]): Promise<string> {
    const printed = await this.stage.target.kubectl(args, { namespace: this.namespace });
    assert.equal(printed.code, 0, `kubectl ${args.join(" ")}: ${printed.stderr}`);
    return printed.stdout;
  }

  async #find<T extends KubeObject>(resource: Resource<T>, name: string): Promise<T | undefined> {
    try {
      return await this.stage.client.get(resource, this.named(name));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #latest(name: string): ModelAdapter | undefined {
    const sight = this.#adapters.findLast(isAbout(name));
    return sight?.isGone ? undefined : sight?.object;
  }

  /** Goes on whatever becomes of the server: a watch that ends is opened again where it was. */
  async #watch<T extends KubeObject>(resource: Resource<T>, seen: Sight<T>[]): Promise<void> {
    const { signal } = this.#stop;
    const { namespace } = this;
    let resourceVersion: string | undefined = "0";
    while (!signal.aborted) {
      try {
        const options: WatchOptions = { namespace, resourceVersion };
        for await (const { type, object } of this.stage.client.watch(resource, options, signal)) {
          resourceVersion = object.metadata.resourceVersion;
          if (type === "BOOKMARK") continue;
          seen.push({ atMs: Date.now(), object, isGone: type === "DELETED" });
        }
      } catch (error) {
        if (signal.aborted) return;
        // A server that began anew may know no history.
        if (isGone(error)) resourceVersion = "0";
        await eventually(
          "the API answers",
          async () => {
            const answer = await this.stage.target.get("/readyz").catch(() => undefined);
            return signal.aborted || answer?.status === 200;
          },
          60_000,
        );
      }
    }
  }
}

const isAbout =
  (name: string) =>
  <T extends KubeObject>({ object }: Sight<T>) =>
    object.metadata.name === name;

/** Running and Ready=True are promises to whoever sends requests. */
function assertHonest({ metadata, status }: ModelAdapter): void {
  if (status === undefined) return;
  const ready = status.conditions?.find((condition) => condition.type === "Ready");
  const serves = (status.instances ?? []).length > 0;
  const told = `${metadata.name}: ${JSON.stringify(status)}`;
  assert.equal(status.readyReplicas ?? 0, status.instances?.length ?? 0, told);
  if (status.phase === "Running") assert.ok(serves && ready?.status === "True", told);
  if (ready?.status === "True") assert.ok(serves && status.phase === "Running", told);
}

/** `type=status reason: message` of each condition, in their order. */
export function conditionsOf({ status }: ModelAdapter): string[] {
  return (status?.conditions ?? []).map(
    ({ type, status: is, reason, message }) => `${type}=${is} ${reason}: ${message}`,
  );
}

/** `name state reason: message` of each pod's line. */
export function podLinesOf({ status }: ModelAdapter): string[] {
  return (status?.pods ?? []).map(
    ({ name, state, reason = "", message = "" }) => `${name} ${state} ${reason}: ${message}`,
  );
}
