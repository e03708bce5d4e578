/** Pods as the API tells of them: made, ready or not, restarted, ended. */
import type { ContainerStatus, Pod } from "#api/kubernetes.ts";
import { ADAPTER_MOUNT_PATH, ADAPTER_VOLUME, LABEL, RUNTIME_CONTAINER } from "#api/names.ts";
import { toTimestamp } from "#base/clock.ts";
import { PODS } from "#kube/client.ts";
import type { ApiServer } from "./api-server.ts";
import type { Dice } from "./dice.ts";
import type { HeldInEngine } from "./sim-engine.ts";
import { type PodPlan, SimPod } from "./sim-pod.ts";
import type { Store } from "./sim-sidecar.ts";
import type { VirtualTime } from "./virtual-time.ts";

export const NAMESPACE = "default";
/** Where else there are pods, with adapters of the same names. */
export const OTHER_NAMESPACE = "other";
/** An address is another pod's when nobody can still hold the first one's. */
const REUSE_MS = 100_000;
const STARTED_MS: [number, number] = [200, 3000];

export interface KubeletDeps {
  readonly time: VirtualTime;
  readonly dice: Dice;
  readonly server: ApiServer;
  readonly engine: "vllm" | "sglang";
  readonly sidecar: PodPlan["sidecar"];
  readonly store: Store;
  readonly onHeld: (
    pod: SimPod,
    name: string,
    before: HeldInEngine | undefined,
    after: HeldInEngine | undefined,
  ) => void;
}

export class Kubelet {
  readonly pods: SimPod[] = [];
  readonly #deps: KubeletDeps;
  #serial = 0;
  readonly #freeIps: { ip: string; sinceMs: number }[] = [];
  #lastIp = 0;

  constructor(deps: KubeletDeps) {
    this.#deps = deps;
  }

  present(): SimPod[] {
    return this.pods.filter((pod) => !pod.isGone);
  }

  at(ip: string): SimPod | undefined {
    return this.pods.find((pod) => pod.ip === ip && !pod.isGone);
  }

  /** The pod's object; undefined once it is gone. */
  object(pod: SimPod): Pod | undefined {
    const object = this.#deps.server.find(PODS, nameOf(pod));
    return object?.metadata.uid === pod.uid ? object : undefined;
  }

  /** A new pod, which is ready after a while; its address may have been another's before. */
  add(labels: Record<string, string>, namespace = NAMESPACE): SimPod {
    const { time, dice, server, engine, sidecar, store } = this.#deps;
    const isFree = (this.#freeIps[0]?.sinceMs ?? Number.POSITIVE_INFINITY) + REUSE_MS < time.now();
    const reused = isFree ? this.#freeIps.shift() : undefined;
    const ip = reused?.ip ?? `10.0.0.${++this.#lastIp}`;
    const plan = { name: `pod-${this.#serial++}`, namespace, ip, engine, sidecar };
    const onHeld = (name: string, before?: HeldInEngine, after?: HeldInEngine) =>
      this.#deps.onHeld(pod, name, before, after);
    const pod: SimPod = new SimPod(plan, { time, dice, store, onHeld });
    pod.engine.isDown = true;
    if (pod.sidecar !== undefined) pod.sidecar.isDown = true;
    pod.labels = { ...labels, ...(engine === "sglang" ? { [LABEL.modelEngine]: "sglang" } : {}) };
    this.pods.push(pod);
    const made = server.create(PODS, this.#objectOf(pod, sidecar), "kubelet");
    pod.uid = made.metadata.uid ?? "";
    time.after(dice.int(...STARTED_MS), () => this.#started(pod));
    return pod;
  }

  /** Asks the pod to end; it is gone after its grace period. */
  remove(pod: SimPod): void {
    const { time, dice, server } = this.#deps;
    const object = this.object(pod);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return;
    // The kubelet's hold on a pod that ends, in the terms of this API.
    const name = nameOf(pod);
    server.patch(PODS, name, { metadata: { finalizers: ["sim/kubelet"] } }, undefined, "kubelet");
    server.delete(PODS, name, "user");
    time.after(dice.int(500, 4000), () => this.#setReady(pod, false));
    time.after(dice.int(4000, 15_000), () => this.kill(pod));
  }

  /** The pod is gone from one moment to the next. */
  kill(pod: SimPod): void {
    if (pod.isGone) return;
    const { server } = this.#deps;
    pod.isGone = true;
    pod.stopSidecar();
    pod.engine.stop();
    pod.reach = "ok";
    this.#freeIps.push({ ip: pod.ip, sinceMs: this.#deps.time.now() });
    if (this.object(pod) === undefined) return;
    const name = nameOf(pod);
    server.patch(PODS, name, { metadata: { finalizers: null } }, undefined, "kubelet");
    if (this.object(pod) !== undefined) server.delete(PODS, name, "kubelet");
  }

  setReady(pod: SimPod, isReady: boolean): void {
    this.#setReady(pod, isReady);
  }

  relabel(pod: SimPod, labels: Record<string, string>): void {
    if (this.object(pod) === undefined) return;
    pod.labels = { ...pod.labels, ...labels };
    const name = nameOf(pod);
    this.#deps.server.patch(PODS, name, { metadata: { labels: pod.labels } }, undefined, "user");
  }

  /** The engine's container restarts, and forgets; a quick one is over before a probe could fail. */
  restart(pod: SimPod, isQuick: boolean): void {
    const { time, dice } = this.#deps;
    if (pod.engine.isDown) return;
    pod.engine.stop();
    const noticedMs = dice.int(20, 900);
    const downMs = isQuick ? dice.int(5, noticedMs) : dice.int(1000, 6000);
    if (!isQuick) time.after(noticedMs, () => this.#setReady(pod, false));
    time.after(downMs, () => {
      if (!pod.isGone) pod.engine.isDown = false;
    });
    time.after(Math.max(noticedMs, downMs) + 10, () => {
      pod.restarts++;
      this.#setReady(pod, true);
    });
  }

  restartSidecar(pod: SimPod): void {
    const { time, dice } = this.#deps;
    pod.stopSidecar();
    time.after(dice.int(200, 4000), () => {
      if (pod.sidecar !== undefined && !pod.isGone) pod.sidecar.isDown = false;
    });
  }

  #started(pod: SimPod): void {
    if (pod.isGone) return;
    pod.engine.isDown = false;
    if (pod.sidecar !== undefined) pod.sidecar.isDown = false;
    this.#setReady(pod, true);
  }

  #setReady(pod: SimPod, wanted: boolean): void {
    const { time, server } = this.#deps;
    const before = this.object(pod);
    if (before === undefined || pod.isGone) return;
    const isReady = wanted && before.metadata.deletionTimestamp === undefined;
    const old = before.status?.conditions?.find(({ type }) => type === "Ready");
    const isSame = old?.status === (isReady ? "True" : "False");
    const lastTransitionTime = isSame ? old?.lastTransitionTime : toTimestamp(time.now());
    const status = {
      phase: "Running",
      podIP: pod.ip,
      conditions: [
        {
          type: "Ready",
          status: isReady ? "True" : "False",
          ...(lastTransitionTime === undefined ? {} : { lastTransitionTime }),
        },
      ],
      containerStatuses: this.#containers(pod, before, isReady),
    };
    server.patch(PODS, nameOf(pod), { status }, "status", "kubelet");
  }

  #containers(pod: SimPod, before: Pod, ready: boolean): ContainerStatus[] {
    const old = before.status?.containerStatuses?.find(({ name }) => name === "engine");
    const isSame = old?.restartCount === pod.restarts;
    const startedAt =
      (isSame ? old?.state?.running?.startedAt : undefined) ?? toTimestamp(this.#deps.time.now());
    const image = { image: "engine", imageID: "engine" };
    return [
      {
        name: "engine",
        ...image,
        ready,
        restartCount: pod.restarts,
        containerID: `sim://${pod.name}-${pod.restarts}`,
        state: { running: { startedAt } },
      },
    ];
  }

  #objectOf(pod: SimPod, sidecar: PodPlan["sidecar"]): Pod {
    const volumeMounts = [{ name: ADAPTER_VOLUME, mountPath: ADAPTER_MOUNT_PATH }];
    const engine = { name: "engine", image: "engine", volumeMounts };
    const runtime = { name: RUNTIME_CONTAINER, image: "runtime", volumeMounts };
    return {
      metadata: { ...nameOf(pod), labels: pod.labels },
      spec: { containers: sidecar === "none" ? [engine] : [engine, runtime] },
      status: { phase: "Pending" },
    };
  }
}

const nameOf = ({ namespace, name }: SimPod) => ({ namespace, name });
