/**
 * The names that users, AIBrix and Kubernetes know us by: labels, annotations, ports, containers,
 * environment variables. They are a contract; none may change.
 */
export const GROUP = "model.aibrix.ai";
export const VERSION = "v1alpha1";
export const API_VERSION = `${GROUP}/${VERSION}`;
export const KIND = "ModelAdapter";
export const PLURAL = "modeladapters";

export const LABEL = {
  /** On pods and adapters: the model that they serve. */
  modelName: "model.aibrix.ai/name",
  /** On pods and adapters: the engine's port. */
  modelPort: "model.aibrix.ai/port",
  /** On pods: which engine runs in them, `vllm` or `sglang`. */
  modelEngine: "model.aibrix.ai/engine",
  /** On pods: `true` allows adapters on them. */
  adapterEnabled: "adapter.model.aibrix.ai/enabled",
  /** On the Services and EndpointSlices of an adapter. */
  adapterName: "adapter.model.aibrix.ai/name",
  serviceName: "kubernetes.io/service-name",
  sliceManagedBy: "endpointslice.kubernetes.io/managed-by",
} as const;

export const FINALIZER = "adapter.model.aibrix.ai/finalizer";

export const ANNOTATION = {
  /** Followed by the pod's name: retries made so far, decimal. */
  retryCountPrefix: "adapter.model.aibrix.ai/retry-count.",
  /** Followed by the pod's name: when the last attempt failed, RFC 3339. */
  lastRetryTimePrefix: "adapter.model.aibrix.ai/last-retry-time.",
  /** Comma-separated pod names while a load is under way. */
  scheduledPods: "adapter.model.aibrix.ai/scheduled-pods",
} as const;

/** Key of `spec.additionalConfig` that holds the engine's API key. */
export const API_KEY_CONFIG = "api-key";

/** Container whose presence in a pod means that the runtime sidecar loads adapters there. */
export const RUNTIME_CONTAINER = "aibrix-runtime";
/** Port of the runtime sidecar. */
export const RUNTIME_PORT = 8080;
/** Port of an engine that nobody named another for. */
export const DEFAULT_ENGINE_PORT = 8000;
/** Volume shared by engine and sidecar, and where it is mounted. */
export const ADAPTER_VOLUME = "adapter-storage";
export const ADAPTER_MOUNT_PATH = "/tmp/aibrix/adapters";
export const CREDENTIALS_MOUNT_PATH = "/var/run/secrets/aibrix";

/** Who we are in `managedFields`, Events and EndpointSlices. */
export const FIELD_MANAGER = "aibrix-controller-manager";
export const SYSTEM_NAMESPACE = "aibrix-system";
export const CONTROLLER_NAME = "aibrix-controller-manager";
