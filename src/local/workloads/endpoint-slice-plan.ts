import { createHash } from "node:crypto";
import type { Endpoint, EndpointSlice, Pod, Service, ServicePort } from "#api/kubernetes.ts";
import { LABEL } from "#api/names.ts";
import { jsonEqual } from "#base/json.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { controllerReference, isReady } from "./pod-state.ts";

/** Who manages the slices of Services with a selector, in a cluster as here. */
export const SLICE_MANAGER = "endpointslice-controller.k8s.io";
const HEADLESS = "service.kubernetes.io/headless";
/** Kubernetes' own limit for a slice that it writes. */
const ENDPOINTS_PER_SLICE = 100;

/** What has to change so that a Service's slices tell which pods serve it. */
export interface SlicePlan {
  readonly create: readonly EndpointSlice[];
  /** With the resourceVersion that was seen. */
  readonly update: readonly EndpointSlice[];
  readonly delete: readonly EndpointSlice[];
}

/** True for Services whose slices come from a selector; others' are somebody else's. */
export function hasSelector(service: Service): boolean {
  const { selector, type } = service.spec;
  return type !== "ExternalName" && selector !== undefined && Object.keys(selector).length > 0;
}

/**
 * Compares the slices that a Service should have with those that it has. Pure.
 * `slices`: those of the Service that we manage. A Service that is gone or has no selector has none.
 */
export function planSlices(
  service: Service | undefined,
  pods: readonly Pod[],
  slices: readonly EndpointSlice[],
): SlicePlan {
  const isServed =
    service !== undefined &&
    service.metadata.deletionTimestamp === undefined &&
    hasSelector(service);
  const wanted = isServed ? wantedSlices(service, pods) : [];
  const names = new Set(wanted.map((slice) => slice.metadata.name));
  const held = new Map(slices.map((slice) => [slice.metadata.name, slice]));
  const create: EndpointSlice[] = [];
  const update: EndpointSlice[] = [];
  for (const slice of wanted) {
    const current = held.get(slice.metadata.name);
    if (current === undefined) create.push(slice);
    else if (!isSameSlice(current, slice)) {
      const { resourceVersion } = current.metadata;
      const metadata = { ...slice.metadata, ...(resourceVersion && { resourceVersion }) };
      update.push({ ...slice, metadata });
    }
  }
  return { create, update, delete: slices.filter((slice) => !names.has(slice.metadata.name)) };
}

function isSameSlice(current: EndpointSlice, wanted: EndpointSlice): boolean {
  return (
    jsonEqual(current.metadata.labels, wanted.metadata.labels) &&
    jsonEqual(current.ports ?? [], wanted.ports ?? []) &&
    jsonEqual(current.endpoints ?? [], wanted.endpoints)
  );
}

type SlicePorts = NonNullable<EndpointSlice["ports"]>;

function wantedSlices(service: Service, pods: readonly Pod[]): EndpointSlice[] {
  // Pods may give a named port different numbers; each set of numbers has slices of its own.
  const groups = new Map<string, { ports: SlicePorts; pods: Pod[] }>();
  const selector = { matchLabels: service.spec.selector };
  for (const pod of pods) {
    const phase = pod.status?.phase;
    const isOver = phase === "Succeeded" || phase === "Failed";
    if (isOver || pod.status?.podIP === undefined) continue;
    if (!matchesSelector(selector, pod.metadata.labels)) continue;
    const ports = portsOf(service, pod);
    const key = JSON.stringify(ports);
    const group = groups.get(key) ?? { ports, pods: [] };
    group.pods.push(pod);
    groups.set(key, group);
  }
  // A Service without pods still has a slice, so that clients see it as empty rather than absent.
  if (groups.size === 0) groups.set("", { ports: [], pods: [] });
  return [...groups].flatMap(([key, group]) => {
    const sorted = [...group.pods].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    const count = Math.max(1, Math.ceil(sorted.length / ENDPOINTS_PER_SLICE));
    return Array.from({ length: count }, (_, index) =>
      sliceOf(service, {
        name: sliceName(service, `${key}/${index}`),
        ports: group.ports,
        pods: sorted.slice(index * ENDPOINTS_PER_SLICE, (index + 1) * ENDPOINTS_PER_SLICE),
      }),
    );
  });
}

/** The same slice has the same name in each pass, so that none is ever made twice. */
function sliceName(service: Service, key: string): string {
  const digest = createHash("sha256").update(`${service.metadata.uid}/${key}`).digest("hex");
  return `${service.metadata.name}-${digest.slice(0, 5)}`;
}

function portsOf(service: Service, pod: Pod): SlicePorts {
  return (service.spec.ports ?? []).flatMap((port) => {
    const number = targetPort(port, pod);
    if (number === undefined) return [];
    return [{ name: port.name ?? "", port: number, protocol: port.protocol ?? "TCP" }];
  });
}

function targetPort(port: ServicePort, pod: Pod): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === "number") return target;
  for (const container of pod.spec.containers) {
    for (const { name, containerPort } of container.ports ?? []) {
      if (name === target) return containerPort;
    }
  }
  return /^\d+$/.test(target) ? Number(target) : undefined;
}

function sliceOf(
  service: Service,
  content: { name: string; ports: SlicePorts; pods: readonly Pod[] },
): EndpointSlice {
  const { namespace, name, labels } = service.metadata;
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: content.name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: {
        ...labels,
        [LABEL.serviceName]: name,
        [LABEL.sliceManagedBy]: SLICE_MANAGER,
        ...(service.spec.clusterIP === "None" ? { [HEADLESS]: "" } : {}),
      },
      ownerReferences: [controllerReference(service, "v1", "Service")],
    },
    addressType: "IPv4",
    endpoints: content.pods.map((pod) => endpointOf(service, pod)),
    ports: content.ports,
  };
}

function endpointOf(service: Service, pod: Pod): Endpoint {
  const { name, namespace, uid, deletionTimestamp } = pod.metadata;
  const terminating = deletionTimestamp !== undefined;
  const serving = isReady(pod);
  const ready = service.spec.publishNotReadyAddresses === true || (serving && !terminating);
  return {
    addresses: [pod.status?.podIP ?? ""],
    conditions: { ready, serving, terminating },
    ...(pod.spec.nodeName === undefined ? {} : { nodeName: pod.spec.nodeName }),
    targetRef: { kind: "Pod", name, ...(namespace && { namespace }), ...(uid && { uid }) },
  };
}
