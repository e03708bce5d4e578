import type { Clock } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import type { JsonObject } from "#base/json.ts";
import type { Log } from "#telemetry/log.ts";
import { serviceAddress } from "./admission/service-address.ts";
import { createAdmission } from "./admission/webhooks.ts";
import { runClaimProtection } from "./controllers/claims.ts";
import { runCustomResourceController } from "./controllers/custom-resources.ts";
import { runGarbageCollector } from "./controllers/garbage-collector.ts";
import { runNamespaceController } from "./controllers/namespaces.ts";
import { objectAt, stringAt, stringsAt } from "./json-access.ts";
import { ApiError } from "./registry/api-error.ts";
import { localApi } from "./registry/local-api.ts";
import { metadataOf } from "./registry/meta.ts";
import type { ObjectApi } from "./registry/object-api.ts";
import type { Registry } from "./registry/registry.ts";

export interface SystemOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Log;
  /** PEM of the authority that signed the server's certificate; undefined: namespaces begin empty. */
  readonly ca: string | undefined;
}

/** Namespaces that every cluster has. */
const NAMESPACES = ["default", "kube-system", "kube-public", "kube-node-lease"];
/** Events are news: what is older is dropped, as by a real API server. */
const EVENT_LIFETIME_MS = 60 * 60_000;
const PURGE_INTERVAL_MS = 60_000;

/**
 * Starts what a cluster's API server and its controllers do by themselves: the first namespaces, garbage
 * collection, namespaces and definitions that go, events that grow old.
 */
export function startSystem(
  options: SystemOptions,
  signal: AbortSignal,
): { readonly stopped: Promise<void> } {
  const { registry, clock, log } = options;
  const api = localApi(registry, "loradock-apiserver");
  makeNamespaces(api);
  const namespaces = api.kindNamed("v1", "Namespace");
  const finalizeNamespace = (name: string) => {
    if (namespaces === undefined) return;
    const held = stringsAt(
      objectAt(registry.get(namespaces, { namespace: "", name }), "spec"),
      "finalizers",
    );
    registry.finalizeNamespace(
      namespaces,
      name,
      held.filter((finalizer) => finalizer !== "kubernetes"),
    );
  };
  registry.useAdmission(
    createAdmission({
      configurations: () => ({
        mutating: configurationsOf(api, "MutatingWebhookConfiguration"),
        validating: configurationsOf(api, "ValidatingWebhookConfiguration"),
      }),
      namespaceLabels: (name) => namespaceLabels(api, name),
      serviceAddress: (reference) => serviceAddress(api, reference),
      clock,
      log,
    }),
  );
  const deps = { api, clock, log };
  const tasks: { readonly [what: string]: Promise<void> } = {
    "custom resources": runCustomResourceController(deps, signal),
    "claims in use": runClaimProtection(deps, signal),
    "garbage collection": runGarbageCollector(deps, signal),
    namespaces: runNamespaceController({ ...deps, ca: options.ca, finalizeNamespace }, signal),
    "old events": purgeEvents(api, clock, signal),
  };
  const ends = Object.entries(tasks).map(([what, task]) =>
    task.catch((error: unknown) => {
      if (!signal.aborted) log.error("Stopped working", { what, error: messageOf(error) });
    }),
  );
  return { stopped: Promise.all(ends).then(() => {}) };
}

function configurationsOf(api: ObjectApi, name: string): readonly JsonObject[] {
  const kind = api.kindNamed("admissionregistration.k8s.io/v1", name);
  return kind === undefined ? [] : api.list(kind);
}

function namespaceLabels(api: ObjectApi, name: string): Record<string, string> | undefined {
  const kind = api.kindNamed("v1", "Namespace");
  const found = kind === undefined ? undefined : api.get(kind, { namespace: "", name });
  if (found === undefined) return undefined;
  const labels = Object.entries(objectAt(metadataOf(found), "labels"));
  return Object.fromEntries(labels.map(([key, value]) => [key, String(value)]));
}

function makeNamespaces(api: ObjectApi): void {
  const kind = api.kindNamed("v1", "Namespace");
  if (kind === undefined) return;
  for (const name of NAMESPACES) {
    if (api.get(kind, { namespace: "", name }) !== undefined) continue;
    api.create(kind, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
}

/** The first address of the Services' range, as in every cluster. */
const API_CLUSTER_IP = "127.96.0.1";
const API_PORT = 443;

/** Makes the Service `kubernetes`, by which programs find the API, lead to where it is now. */
export function publishApi(registry: Registry, address: string, port: number): void {
  const api = localApi(registry, "loradock-apiserver");
  const services = api.kindNamed("v1", "Service");
  const slices = api.kindNamed("discovery.k8s.io/v1", "EndpointSlice");
  if (services === undefined || slices === undefined) return;
  const name = { namespace: "default", name: "kubernetes" };
  const ports = [{ name: "https", protocol: "TCP", port: API_PORT, targetPort: port }];
  if (api.get(services, name) === undefined) {
    const labels = { component: "apiserver", provider: "kubernetes" };
    const spec = { type: "ClusterIP", clusterIP: API_CLUSTER_IP, ports };
    api.create(services, {
      apiVersion: "v1",
      kind: "Service",
      metadata: { ...name, labels },
      spec,
    });
  } else api.patch(services, name, { spec: { ports } });
  const slice = {
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
    ports: [{ name: "https", port, protocol: "TCP" }],
  };
  if (api.get(slices, name) === undefined) {
    api.create(slices, {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { ...name, labels: { "kubernetes.io/service-name": name.name } },
      addressType: "IPv4",
      ...slice,
    });
  } else api.patch(slices, name, slice);
}

async function purgeEvents(api: ObjectApi, clock: Clock, signal: AbortSignal): Promise<void> {
  for (;;) {
    const events = api.kindNamed("v1", "Event");
    const oldest = clock.now() - EVENT_LIFETIME_MS;
    for (const event of events === undefined ? [] : api.list(events)) {
      if (events === undefined || lastSeenMs(event) >= oldest) continue;
      const metadata = metadataOf(event);
      const name = { namespace: stringAt(metadata, "namespace"), name: stringAt(metadata, "name") };
      try {
        api.delete(events, name, {});
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== 404) throw error;
      }
    }
    try {
      await clock.sleep(PURGE_INTERVAL_MS, signal);
    } catch {
      return;
    }
  }
}

function lastSeenMs(event: JsonObject): number {
  const texts = [
    event["lastTimestamp"],
    event["eventTime"],
    metadataOf(event)["creationTimestamp"],
  ];
  const times = texts.map((text) => (typeof text === "string" ? Date.parse(text) : Number.NaN));
  return Math.max(0, ...times.filter((time) => !Number.isNaN(time)));
}
