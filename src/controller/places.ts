import type { Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { LABEL, RUNTIME_PORT } from "#api/names.ts";
import { remembered } from "#base/remembered.ts";
import { runtimeContainer } from "#core/adapter/shared-folder.ts";
import type { Engine, Runtime } from "#engine/engine.ts";
import { uidOf } from "./memory.ts";
import { portOf } from "./objects.ts";

/** The edges to the engines that a pod may have, and to the sidecar. */
export interface Engines {
  readonly vllm: Engine;
  readonly sglang: Engine;
  readonly runtime: Runtime;
}

/** Where the adapters of a pod are asked for and changed: its sidecar, or one of its engines. */
export interface Place {
  /** The pod's UID and the URL: another pod at the same address is another place. */
  readonly id: string;
  readonly pod: Pod;
  readonly url: string;
  /** The sidecar is to be used. */
  readonly isRuntime: boolean;
  readonly engine: keyof Engines;
}

/** The place of a pod for adapters with this port; undefined while the pod has no address. */
export function placeOf(pod: Pod, port: number, enableRuntimeSidecar: boolean): Place | undefined {
  const places = placesOf(pod);
  const key = enableRuntimeSidecar ? -port : port;
  const known = places.get(key);
  if (known !== undefined) return known;
  const place = findPlace(pod, port, enableRuntimeSidecar);
  if (place !== undefined) places.set(key, place);
  return place;
}

/** Those of a pod that were asked for before. */
const placesOf = remembered((_pod: Pod) => new Map<number, Place>());

function findPlace(pod: Pod, port: number, enableRuntimeSidecar: boolean): Place | undefined {
  const ip = pod.status?.podIP;
  if (ip === undefined || ip === "") return undefined;
  const host = ip.includes(":") ? `[${ip}]` : ip;
  const isRuntime = enableRuntimeSidecar && runtimeContainer(pod) !== undefined;
  const url = `http://${host}:${isRuntime ? RUNTIME_PORT : port}`;
  const direct = pod.metadata.labels?.[LABEL.modelEngine] === "sglang" ? "sglang" : "vllm";
  return {
    id: `${uidOf(pod)} ${url}`,
    pod,
    url,
    isRuntime,
    engine: isRuntime ? "runtime" : direct,
  };
}

export function adapterPlace(
  adapter: ModelAdapter,
  pod: Pod,
  enableRuntimeSidecar: boolean,
): Place | undefined {
  return placeOf(pod, portOf(adapter), enableRuntimeSidecar);
}
