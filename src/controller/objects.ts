/** The Service and the EndpointSlice of an adapter: what they should be, and whether they are. */
import type { EndpointSlice, ObjectMeta, Service } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { API_VERSION, DEFAULT_ENGINE_PORT, FIELD_MANAGER, KIND, LABEL } from "#api/names.ts";
import { jsonEqual } from "#base/json.ts";
import type { OwnedSeen, PodSeen } from "#core/adapter/seen.ts";

/** The engine's port: the adapter's label, else 8000. */
export function portOf(adapter: ModelAdapter): number {
  const port = Number(adapter.metadata.labels?.[LABEL.modelPort]);
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : DEFAULT_ENGINE_PORT;
}

export function serviceOf(adapter: ModelAdapter): Service {
  const port = portOf(adapter);
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: metaOf(adapter, {}),
    spec: {
      type: "ClusterIP",
      clusterIP: "None",
      publishNotReadyAddresses: true,
      ports: [{ name: "http", port, protocol: "TCP", targetPort: port }],
    },
  };
}

/** A slice holds addresses of one family: the one that most pods have first. */
export function sliceOf(adapter: ModelAdapter, pods: readonly PodSeen[]): EndpointSlice {
  const namespace = adapter.metadata.namespace ?? "";
  const addressed = pods.filter((pod) => pod.ip !== undefined);
  const isV6 = addressed.length > 0 && addressed.every((pod) => pod.ip?.includes(":"));
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: metaOf(adapter, {
      [LABEL.serviceName]: adapter.metadata.name,
      [LABEL.sliceManagedBy]: FIELD_MANAGER,
    }),
    addressType: isV6 ? "IPv6" : "IPv4",
    endpoints: addressed
      .filter((pod) => pod.ip?.includes(":") === isV6)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((pod) => ({
        addresses: [pod.ip ?? ""],
        conditions: { ready: true, serving: true, terminating: false },
        targetRef: { kind: "Pod", name: pod.name, namespace, uid: pod.uid },
      })),
    ports: [{ name: "http", port: portOf(adapter), protocol: "TCP" }],
  };
}

/** The Service that is there, made what it should be; what others added to its metadata stays. */
export function mendedService(present: Service, wanted: Service): Service {
  const { selector: _, externalName: __, ...spec } = present.spec;
  return { ...present, metadata: mendedMeta(present, wanted), spec: { ...spec, ...wanted.spec } };
}

/** The EndpointSlice that is there, made what it should be. The family of its addresses can never change. */
export function mendedSlice(present: EndpointSlice, wanted: EndpointSlice): EndpointSlice {
  const addressType = wanted.endpoints.length === 0 ? present.addressType : wanted.addressType;
  return { ...present, ...wanted, metadata: mendedMeta(present, wanted), addressType };
}

function mendedMeta(
  { metadata: present }: { metadata: ObjectMeta },
  { metadata: wanted }: { metadata: ObjectMeta },
): ObjectMeta {
  return { ...present, ...wanted, labels: { ...present.labels, ...wanted.labels } };
}

function metaOf(adapter: ModelAdapter, labels: Record<string, string>): ObjectMeta {
  const { name, namespace = "", uid = "" } = adapter.metadata;
  const owner = { apiVersion: API_VERSION, kind: KIND, name, uid };
  return {
    name,
    namespace,
    labels: { [LABEL.modelName]: name, [LABEL.adapterName]: name, ...labels },
    ownerReferences: [{ ...owner, controller: true, blockOwnerDeletion: true }],
  };
}

/** The adapter is the controller of the object; a namesake that was deleted is another adapter. */
export const isOurs = (adapter: ModelAdapter, object: { metadata: ObjectMeta }) =>
  object.metadata.ownerReferences?.some(
    (owner) => owner.controller && owner.uid === adapter.metadata.uid,
  ) ?? false;

const isLabelled = (wanted: ObjectMeta, present: ObjectMeta) =>
  Object.entries(wanted.labels ?? {}).every(([key, value]) => present.labels?.[key] === value);

export function seenService(adapter: ModelAdapter, present: Service | undefined): OwnedSeen<null> {
  if (present === undefined) return { state: "absent" };
  if (!isOurs(adapter, present)) return { state: "foreign" };
  const wanted = serviceOf(adapter);
  const ports = (service: Service) =>
    service.spec.ports?.map(({ name, port, targetPort }) => ({ name, port, targetPort }));
  const intact =
    isLabelled(wanted.metadata, present.metadata) &&
    present.spec.type === wanted.spec.type &&
    present.spec.clusterIP === wanted.spec.clusterIP &&
    present.spec.publishNotReadyAddresses === true &&
    jsonEqual(ports(present), ports(wanted)) &&
    Object.keys(present.spec.selector ?? {}).length === 0;
  return { state: "ours", intact, content: null };
}

export function seenSlice(
  adapter: ModelAdapter,
  present: EndpointSlice | undefined,
  pods: readonly PodSeen[],
): OwnedSeen<readonly string[]> {
  if (present === undefined) return { state: "absent" };
  if (!isOurs(adapter, present)) return { state: "foreign" };
  const content = (present.endpoints ?? []).map((endpoint) => endpoint.targetRef?.name ?? "");
  // An address that is no longer the pod's is as wrong as a pod that should not be there.
  const wanted = sliceOf(
    adapter,
    pods.filter((pod) => content.includes(pod.name)),
  );
  const intact =
    isLabelled(wanted.metadata, present.metadata) &&
    jsonEqual(present.ports, wanted.ports) &&
    jsonEqual(present.endpoints ?? [], wanted.endpoints);
  return { state: "ours", intact, content };
}
