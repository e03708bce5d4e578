/** What is true in a world, read from the API and the engines themselves: what the invariants compare claims with. */
import type { EndpointSlice, Pod, Service } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { ANNOTATION, API_KEY_CONFIG, LABEL } from "#api/names.ts";
import { fromTimestamp } from "#base/clock.ts";
import { directPath } from "#core/adapter/delivery.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import {
  ENDPOINT_SLICES,
  keyOf,
  MODEL_ADAPTERS,
  type ObjectName,
  SECRETS,
  SERVICES,
} from "#kube/client.ts";
import type { ApiServer } from "./api-server.ts";
import type { Kubelet } from "./kubelet.ts";
import type { SimPod } from "./sim-pod.ts";
import { contentOf } from "./sim-sidecar.ts";
import type { VirtualTime } from "./virtual-time.ts";

const STABLE_MS = 5000;

export class Facts {
  readonly server: ApiServer;
  readonly kubelet: Kubelet;
  readonly time: VirtualTime;
  /** Controllers differ in whether they use the sidecars. */
  readonly flips: boolean;

  constructor(parts: {
    server: ApiServer;
    kubelet: Kubelet;
    time: VirtualTime;
    flips: boolean;
  }) {
    this.server = parts.server;
    this.kubelet = parts.kubelet;
    this.time = parts.time;
    this.flips = parts.flips;
  }

  adapters(): ModelAdapter[] {
    return this.server.list(MODEL_ADAPTERS);
  }

  /** By `namespace/name`, as the two below. */
  adapter(key: string): ModelAdapter | undefined {
    return this.server.find(MODEL_ADAPTERS, named(key));
  }

  pod(name: string): SimPod | undefined {
    return this.kubelet.present().find((pod) => pod.name === name);
  }

  service(key: string): Service | undefined {
    return this.server.find(SERVICES, named(key));
  }

  slice(key: string): EndpointSlice | undefined {
    return this.server.find(ENDPOINT_SLICES, named(key));
  }

  /** The pods that the adapter's own EndpointSlice names. */
  published(adapter: ModelAdapter): string[] {
    const slice = this.slice(keyOf(adapter));
    if (slice === undefined || !isOwned(slice, adapter)) return [];
    return (slice.endpoints ?? []).map((endpoint) => endpoint.targetRef?.name ?? "");
  }

  /** Whether what an engine has is the adapter as the spec wants it, in whichever way it came there. */
  isWanted(adapter: ModelAdapter, pod: SimPod, content: string | undefined): boolean {
    const { spec } = adapter;
    const path = directPath(spec);
    const { [API_KEY_CONFIG]: _, ...config } = spec.additionalConfig ?? {};
    const fetched = contentOf(spec.artifactURL, config);
    if (content === undefined) return false;
    if (pod.sidecar === undefined) return content === path;
    // Sidecars were not always to be used.
    if (this.flips && content === path) return true;
    return content === (spec.artifactURL.startsWith("/") ? (path ?? fetched) : fetched);
  }

  isCurrent(adapter: ModelAdapter, pod: SimPod): boolean {
    if (pod.namespace !== adapter.metadata.namespace) return false;
    return this.isWanted(adapter, pod, pod.engine.held.get(adapter.metadata.name)?.content);
  }

  /** The pod matches, and takes adapters. */
  isMeant(adapter: ModelAdapter, pod: SimPod): boolean {
    return (
      pod.namespace === adapter.metadata.namespace &&
      matchesSelector(adapter.spec.podSelector, pod.labels) &&
      pod.labels[LABEL.adapterEnabled] === "true"
    );
  }

  /** The engine asks for a key that no adapter on it names. */
  isLockedOut(pod: SimPod): boolean {
    const { apiKey } = pod.engine;
    if (apiKey === undefined) return false;
    return !this.adapters().some((adapter) => {
      const isOn = this.isMeant(adapter, pod) || recordedOn(adapter, pod.name);
      return isOn && this.#keyOf(adapter) === apiKey;
    });
  }

  #keyOf({ metadata, spec }: ModelAdapter): string | undefined {
    const { apiKeySecretRef: ref, additionalConfig } = spec;
    if (ref === undefined) return additionalConfig?.[API_KEY_CONFIG];
    const secret = this.server.find(SECRETS, { ...metadata, name: ref.name });
    return Buffer.from(secret?.data?.[ref.key] ?? "", "base64").toString();
  }

  isEligible(adapter: ModelAdapter, pod: SimPod): boolean {
    const object = this.kubelet.object(pod);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return false;
    const since = readySinceMs(object);
    if (since === undefined || since + STABLE_MS > this.time.now()) return false;
    return this.isMeant(adapter, pod);
  }
}

function named(key: string): ObjectName {
  const [namespace, name = ""] = key.split("/");
  return { namespace, name };
}

/** Since when a pod is Ready, as its object says. */
export function readySinceMs(pod: Pod): number | undefined {
  const ready = pod.status?.conditions?.find((condition) => condition.type === "Ready");
  return ready?.status === "True" ? (fromTimestamp(ready.lastTransitionTime) ?? 0) : undefined;
}

export function isOwned(object: Service | EndpointSlice, adapter: ModelAdapter): boolean {
  return (object.metadata.ownerReferences ?? []).some(
    (owner) => owner.controller === true && owner.uid === adapter.metadata.uid,
  );
}

/** The pods on which it is written down that the adapter may be. */
export function recordedOn({ metadata, status }: ModelAdapter, pod: string): boolean {
  const scheduled = (metadata.annotations?.[ANNOTATION.scheduledPods] ?? "").split(",");
  const line = status?.pods?.find((one) => one.name === pod);
  return scheduled.includes(pod) || (line !== undefined && line.state !== "Waiting");
}
