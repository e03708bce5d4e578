/**
 * Which models can be called, and which pods serve them: a pure function of what the cluster says.
 * A table is never changed; the gateway replaces it by a newer one.
 */
import { redactArtifactUrl } from "#api/artifact-url.ts";
import type { Endpoint, EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { DEFAULT_ENGINE_PORT, LABEL } from "#api/names.ts";
import { fromTimestamp } from "#base/clock.ts";
import { byWeight } from "../schedule/hash.ts";

/** One pod that serves one model. */
export interface RouteEndpoint {
  /** `host:port`; what requests in flight are counted by. */
  readonly address: string;
  /** `namespace/name`. */
  readonly pod: string;
  /** What the engine calls the model: the name, except that SGLang wants `base:adapter`. */
  readonly engineModel: string;
}

export interface Route {
  readonly namespace: string;
  /** What the engine and its answers call the model. */
  readonly name: string;
  readonly kind: "base" | "adapter";
  /** Name of the base model; undefined for a base model, or where nobody says. */
  readonly parent: string | undefined;
  /** Where the model's files come from, without credentials. */
  readonly root: string;
  /** Of an adapter: `status.phase`, for the caller who has to wait. */
  readonly phase: string | undefined;
  /** Seconds since the epoch. */
  readonly createdS: number;
  /**
   * Empty while the model is known but nobody serves it. An adapter's come in an order of its own, home
   * first, that changes little when pods come and go.
   */
  readonly endpoints: readonly RouteEndpoint[];
}

/** What the table is made of; each list in any order. */
export interface RouteSources {
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  /** Those labelled `adapter.model.aibrix.ai/name`. */
  readonly slices: readonly EndpointSlice[];
  readonly adapters: readonly ModelAdapter[];
  /** Whose models answer to their bare name when several namespaces have one of that name. */
  readonly defaultNamespace: string;
}

export interface RouteTable {
  /** By `name` or `namespace/name`. */
  lookup(model: string): Route | undefined;
  /** Every route under the shortest name that leads to it, sorted by that name. */
  readonly names: ReadonlyMap<string, Route>;
}

export const EMPTY_TABLE: RouteTable = { lookup: () => undefined, names: new Map() };

/** Builds the table. The bare name goes to the default namespace, else to the first in the alphabet. */
export function buildRouteTable(sources: RouteSources): RouteTable {
  const qualified = new Map<string, Route>();
  for (const route of adapterRoutes(sources))
    qualified.set(`${route.namespace}/${route.name}`, route);
  // An engine refuses an adapter with its base model's name, so the base model is meant.
  for (const route of baseRoutes(sources)) qualified.set(`${route.namespace}/${route.name}`, route);

  const bare = new Map<string, Route>();
  for (const route of qualified.values()) {
    const held = bare.get(route.name);
    if (held === undefined || precedes(route, held, sources.defaultNamespace)) {
      bare.set(route.name, route);
    }
  }
  const names = [...qualified].map(
    ([name, route]) => [bare.get(route.name) === route ? route.name : name, route] as const,
  );
  names.sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    lookup: (model) => bare.get(model) ?? qualified.get(model),
    names: new Map(names),
  };
}

function precedes(a: Route, b: Route, defaultNamespace: string): boolean {
  if (a.namespace === defaultNamespace || b.namespace === defaultNamespace) {
    return a.namespace === defaultNamespace;
  }
  return a.namespace < b.namespace;
}

const namespaceOf = (object: { metadata: { namespace?: string } }) =>
  object.metadata.namespace ?? "default";

function* baseRoutes(sources: RouteSources): Generator<Route> {
  const services = new Map(
    sources.services.map((service) => [
      `${namespaceOf(service)}/${service.metadata.name}`,
      service,
    ]),
  );
  const models = new Map<string, Pod[]>();
  for (const pod of sources.pods) {
    const name = pod.metadata.labels?.[LABEL.modelName];
    if (name === undefined || name === "") continue;
    const key = `${namespaceOf(pod)}/${name}`;
    const pods = models.get(key) ?? [];
    models.set(key, pods);
    pods.push(pod);
  }
  for (const [key, pods] of models) {
    const name = key.slice(key.indexOf("/") + 1);
    const endpoints: RouteEndpoint[] = [];
    for (const pod of pods) {
      const ip = servingIp(pod);
      if (ip === undefined) continue;
      endpoints.push({
        address: hostPort(ip, basePort(pod, services.get(key))),
        pod: `${namespaceOf(pod)}/${pod.metadata.name}`,
        engineModel: name,
      });
    }
    yield {
      namespace: key.slice(0, key.indexOf("/")),
      name,
      kind: "base",
      parent: undefined,
      root: name,
      phase: undefined,
      createdS: Math.min(...pods.map(createdS)),
      endpoints: endpoints.sort(byAddress),
    };
  }
}

function* adapterRoutes(sources: RouteSources): Generator<Route> {
  const serving = servingAdapters(sources);
  for (const adapter of sources.adapters) {
    const { name } = adapter.metadata;
    const namespace = namespaceOf(adapter);
    const found = serving.get(`${namespace}/${name}`);
    // On its way out and already without a pod: gone, as far as callers are concerned.
    if (found === undefined && adapter.metadata.deletionTimestamp !== undefined) continue;
    yield {
      namespace,
      name,
      kind: "adapter",
      parent: adapter.spec.baseModel ?? found?.parent,
      root: redactArtifactUrl(adapter.spec.artifactURL),
      phase: adapter.status?.phase,
      createdS: createdS(adapter),
      endpoints: inOwnOrder(`${namespace}/${name}`, found?.endpoints ?? []),
    };
  }
}

const inOwnOrder = (key: string, endpoints: readonly RouteEndpoint[]) =>
  byWeight(
    key,
    endpoints.map((endpoint) => ({ name: endpoint.pod, endpoint })),
  ).map(({ endpoint }) => endpoint);

interface Serving {
  endpoints: RouteEndpoint[];
  /** The base model of the pods. */
  parent: string | undefined;
}

/** By `namespace/adapter`, what the slices say. */
function servingAdapters(sources: RouteSources): Map<string, Serving> {
  const pods = new Map(
    sources.pods.map((pod) => [`${namespaceOf(pod)}/${pod.metadata.name}`, pod]),
  );
  const result = new Map<string, Serving>();
  for (const slice of sources.slices) {
    const adapter = slice.metadata.labels?.[LABEL.adapterName];
    if (adapter === undefined || slice.metadata.deletionTimestamp !== undefined) continue;
    const key = `${namespaceOf(slice)}/${adapter}`;
    const serving = result.get(key) ?? { endpoints: [], parent: undefined };
    for (const endpoint of slice.endpoints ?? []) {
      const pod = pods.get(`${namespaceOf(slice)}/${endpoint.targetRef?.name}`);
      if (!isServing(endpoint, pod)) continue;
      serving.parent ??= pod?.metadata.labels?.[LABEL.modelName];
      serving.endpoints.push(adapterEndpoint(adapter, slice, endpoint, pod));
    }
    if (serving.endpoints.length > 0) result.set(key, serving);
  }
  return result;
}

function adapterEndpoint(
  adapter: string,
  slice: EndpointSlice,
  endpoint: Endpoint,
  pod: Pod | undefined,
): RouteEndpoint {
  const ip = endpoint.addresses[0] ?? "";
  const base = pod?.metadata.labels?.[LABEL.modelName];
  const isSglang = pod?.metadata.labels?.[LABEL.modelEngine] === "sglang";
  return {
    address: hostPort(ip, slice.ports?.[0]?.port ?? DEFAULT_ENGINE_PORT),
    pod: `${namespaceOf(slice)}/${endpoint.targetRef?.name ?? ip}`,
    engineModel: isSglang && base !== undefined ? `${base}:${adapter}` : adapter,
  };
}

/** The pod's own word counts beside the slice's, which may lag behind it. */
function isServing(endpoint: Endpoint, pod: Pod | undefined): boolean {
  const { conditions, targetRef } = endpoint;
  const ip = endpoint.addresses[0];
  if (ip === undefined || conditions?.ready === false || conditions?.terminating === true)
    return false;
  if (pod === undefined) return true;
  // A pod of the same name that came after it holds nothing yet.
  if (targetRef?.uid !== undefined && targetRef.uid !== pod.metadata.uid) return false;
  const ips = pod.status?.podIPs?.map((entry) => entry.ip) ?? [];
  return servingIp(pod) !== undefined && (ip === pod.status?.podIP || ips.includes(ip));
}

/** The address of a pod that requests may go to; undefined for any other pod. */
function servingIp(pod: Pod): string | undefined {
  if (pod.metadata.deletionTimestamp !== undefined) return undefined;
  const isReady = pod.status?.conditions?.some(
    (condition) => condition.type === "Ready" && condition.status === "True",
  );
  return isReady === true ? pod.status?.podIP : undefined;
}

/** The pod's own label, else the port `serve` of the Service of that name, else 8000. */
function basePort(pod: Pod, service: Service | undefined): number {
  const label = Number(pod.metadata.labels?.[LABEL.modelPort]);
  if (Number.isInteger(label) && label > 0 && label < 65_536) return label;
  const serve = service?.spec.ports?.find((port) => port.name === "serve");
  if (serve === undefined) return DEFAULT_ENGINE_PORT;
  if (typeof serve.targetPort === "number") return serve.targetPort;
  if (serve.targetPort === undefined) return serve.port;
  const ports = pod.spec.containers.flatMap((container) => container.ports ?? []);
  const named = ports.find((port) => port.name === serve.targetPort);
  return named?.containerPort ?? DEFAULT_ENGINE_PORT;
}

const hostPort = (ip: string, port: number) =>
  ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
const byAddress = (a: RouteEndpoint, b: RouteEndpoint) => (a.address < b.address ? -1 : 1);
const createdS = (object: { metadata: { creationTimestamp?: string } }) =>
  Math.floor((fromTimestamp(object.metadata.creationTimestamp) ?? 0) / 1000);
