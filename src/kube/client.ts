import type {
  ConfigMap,
  Deployment,
  EndpointSlice,
  KubeEvent,
  KubeList,
  KubeObject,
  Lease,
  Pod,
  ReplicaSet,
  Secret,
  Service,
} from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { GROUP, KIND, PLURAL, VERSION } from "#api/names.ts";

/** One kind of object: where the API serves it. `T` is what its objects look like. */
export interface Resource<T extends KubeObject> {
  /** API group; empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Only carries the type; never set. */
  readonly type?: T;
}

const core = <T extends KubeObject>(plural: string, kind: string): Resource<T> => ({
  group: "",
  version: "v1",
  plural,
  kind,
  namespaced: true,
});

export const PODS = core<Pod>("pods", "Pod");
export const SERVICES = core<Service>("services", "Service");
export const SECRETS = core<Secret>("secrets", "Secret");
export const CONFIG_MAPS = core<ConfigMap>("configmaps", "ConfigMap");
export const EVENTS = core<KubeEvent>("events", "Event");
export const NODES: Resource<KubeObject> = { ...core("nodes", "Node"), namespaced: false };
export const NAMESPACES: Resource<KubeObject> = {
  ...core("namespaces", "Namespace"),
  namespaced: false,
};
export const SERVICE_ACCOUNTS = core<KubeObject>("serviceaccounts", "ServiceAccount");
export const ENDPOINT_SLICES: Resource<EndpointSlice> = {
  group: "discovery.k8s.io",
  version: "v1",
  plural: "endpointslices",
  kind: "EndpointSlice",
  namespaced: true,
};
export const LEASES: Resource<Lease> = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};
export const DEPLOYMENTS: Resource<Deployment> = {
  group: "apps",
  version: "v1",
  plural: "deployments",
  kind: "Deployment",
  namespaced: true,
};
export const REPLICA_SETS: Resource<ReplicaSet> = {
  group: "apps",
  version: "v1",
  plural: "replicasets",
  kind: "ReplicaSet",
  namespaced: true,
};
export const CUSTOM_RESOURCE_DEFINITIONS: Resource<KubeObject> = {
  group: "apiextensions.k8s.io",
  version: "v1",
  plural: "customresourcedefinitions",
  kind: "CustomResourceDefinition",
  namespaced: false,
};
export const MODEL_ADAPTERS: Resource<ModelAdapter> = {
  group: GROUP,
  version: VERSION,
  plural: PLURAL,
  kind: KIND,
  namespaced: true,
};

/** Which object; `namespace` is left out for cluster-scoped kinds. */
export interface ObjectName {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export interface ListOptions {
  /** Left out: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface WatchOptions extends ListOptions {
  readonly allowWatchBookmarks?: boolean;
  readonly sendInitialEvents?: boolean;
  readonly timeoutSeconds?: number;
}

/** One line of a watch. A BOOKMARK's object carries only its resourceVersion. */
export type WatchEvent<T> = { type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK"; object: T };

/** `merge` and `strategic` take an object, `json` a list of operations. */
export type PatchKind = "merge" | "json" | "strategic";

export interface WriteOptions {
  readonly fieldManager?: string;
  readonly subresource?: "status" | "scale" | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called right before each try to send the request, however long it had to wait for that; throws when it must not be sent. */
  readonly beforeSend?: (() => void) | undefined;
}

/**
 * The Kubernetes API as Loradock uses it. Every method rejects with a `KubeApiError` when the server
 * answers with a Status, and with the transport's error when it cannot be reached.
 */
export interface KubeClient {
  get<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    signal?: AbortSignal,
  ): Promise<T>;
  list<T extends KubeObject>(
    resource: Resource<T>,
    options?: ListOptions,
    signal?: AbortSignal,
  ): Promise<KubeList<T>>;
  /** Ends when the server closes the stream; an ERROR event is thrown as `KubeApiError`. */
  watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options?: WriteOptions,
  ): Promise<T>;
  /** PUT; a stale `metadata.resourceVersion` is a conflict (409). */
  update<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options?: WriteOptions,
  ): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    kind: PatchKind,
    patch: unknown,
    options?: WriteOptions,
  ): Promise<T>;
  /** Server-side apply with `force`: what `object` says is ours, whoever set it before. */
  apply<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions & { fieldManager: string },
  ): Promise<T>;
  delete<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    options?: {
      gracePeriodSeconds?: number;
      uid?: string;
      resourceVersion?: string;
      propagationPolicy?: "Background" | "Foreground" | "Orphan";
    } & Pick<WriteOptions, "signal" | "beforeSend">,
  ): Promise<void>;
}

/** The API server refused: carries the Status it answered with. */
export class KubeApiError extends Error {
  override readonly name = "KubeApiError";
  /** HTTP status code. */
  readonly code: number;
  /** `metav1.Status.reason`, e.g. NotFound, Conflict, AlreadyExists, Invalid, Expired. */
  readonly reason: string;
  /** How long the server asks to wait before the next try. */
  readonly retryAfterMs: number | undefined;

  constructor(code: number, reason: string, message: string, retryAfterMs?: number) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

export const isNotFound = (error: unknown) => error instanceof KubeApiError && error.code === 404;
export const isConflict = (error: unknown) => error instanceof KubeApiError && error.code === 409;
/** The requested resourceVersion is no longer known: list again. */
export const isGone = (error: unknown) => error instanceof KubeApiError && error.code === 410;

/** The key under which caches and queues know an object: `namespace/name`, or `name`. */
export function keyOf(object: {
  metadata: { name: string; namespace?: string | undefined };
}): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}
