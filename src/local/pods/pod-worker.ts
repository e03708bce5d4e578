import { rmSync } from "node:fs";
import { join } from "node:path";
import type { ConfigMap, Container, Pod, PodStatus, Secret } from "#api/kubernetes.ts";
import { exponentialMs } from "#base/backoff.ts";
import type { Clock } from "#base/clock.ts";
import { messageOf, UserError } from "#base/errors.ts";
import { jsonEqual } from "#base/json.ts";
import { isConflict, isNotFound, type KubeClient, PODS } from "#kube/client.ts";
import type { EventRecorder, EventType } from "#kube/events.ts";
import type { StoreReader } from "#kube/store.ts";
import type { Log } from "#telemetry/log.ts";
import { type ContainerCommand, commandOf } from "./container-command.ts";
import { runInContainer } from "./container-exec.ts";
import { type ProbeVerdict, startProbes } from "./container-probes.ts";
import { ContainerRunner } from "./container-runner.ts";
import type { ProgramFolder } from "./container-shim.ts";
import { startContainer } from "./container-start.ts";
import { writeFileAtomically } from "./files.ts";
import { findImage, type Image, unknownImageMessage } from "./images.ts";
import { type PodRecord, podFolder, writePodRecord } from "./pod-folder.ts";
import { type PodPlan, type PodSeen, planPod } from "./pod-plan.ts";
import { statusOf } from "./pod-status.ts";
import type { ProbeKind } from "./probe-state.ts";
import type { RestartBackoff } from "./restart-backoff.ts";
import { substituteLoopback } from "./substitute.ts";
import { mountsOf, prepareVolumes, type VolumeFolders } from "./volumes.ts";

/** What all pods of a kubelet share. */
export interface PodWorkerDeps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: EventRecorder;
  readonly pods: StoreReader<Pod>;
  readonly secrets: StoreReader<Secret>;
  readonly configMaps: StoreReader<ConfigMap>;
  readonly stateDir: string;
  readonly programs: ProgramFolder;
  readonly nodeName: string;
  readonly hostAddress: string;
  readonly allocatable: Readonly<Record<string, string>>;
  /** Variables that every container gets. */
  readonly defaults: Readonly<Record<string, string>>;
  /** What runs under the engine's name and why, for an Event on its pods. */
  readonly engineNote: string;
  readonly backoff: RestartBackoff;
  /** Text of a kubeconfig for a pod's service account; undefined when pods get none. */
  readonly kubeconfigFor: (namespace: string, account: string) => Promise<string | undefined>;
}

/** A pod that goes down with the kubelet has this long, however long its own grace is. */
const SHUTDOWN_GRACE_MS = 5_000;
const DEFAULT_GRACE_S = 30;
/** What the API server did not take is sent again after this pause, doubled up to the other. */
const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 4_000;
const PREPARE_RETRY_MS = 10_000;
/** A kubelet that goes down waits no longer than this for the API server, which may be gone. */
const LAST_STATUS_MS = 2_000;

/** Brings one pod to what its object says, for as long as the object is there. */
export class PodWorker {
  readonly uid: string;
  /** Resolves when nothing of the pod runs here any more and there is nothing left to do for it. */
  readonly done: Promise<void>;
  readonly #deps: PodWorkerDeps;
  readonly #record: PodRecord;
  readonly #folder: string;
  readonly #runners = new Map<string, ContainerRunner>();
  #pod: Pod;
  #volumes: VolumeFolders | undefined;
  #areVolumesStale = true;
  #kubeconfig: string | undefined;
  #retryPrepareAtMs = 0;
  #failures = 0;
  #sent: PodStatus | undefined;
  #isShuttingDown = false;
  #isAbandoned = false;
  #isDirty = true;
  #wakeUp = () => {};
  readonly #toldBackOff = new Map<string, number>();

  constructor(deps: PodWorkerDeps, pod: Pod, record: PodRecord) {
    this.#deps = deps;
    this.#pod = pod;
    this.#record = record;
    this.uid = record.uid;
    this.#folder = podFolder(deps.stateDir, record.uid);
    this.done = this.#run();
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** Something that may concern this pod has changed. */
  wake(): void {
    this.#isDirty = true;
    this.#wakeUp();
  }

  /** A Secret or ConfigMap of the pod's namespace has changed. */
  refresh(): void {
    this.#areVolumesStale = true;
    this.#retryPrepareAtMs = 0;
    for (const runner of this.#runners.values()) {
      if (runner.blocked?.reason === "CreateContainerConfigError") runner.block(undefined);
    }
    this.wake();
  }

  /** Stops the pod's containers and then ends; the object stays as it is. */
  shutDown(): void {
    this.#isShuttingDown = true;
    this.wake();
  }

  /** Ends at once and leaves all processes running, as a crash would. */
  abandon(): void {
    this.#isAbandoned = true;
    for (const runner of this.#runners.values()) runner.abandon();
    this.wake();
  }

  runner(container: string): ContainerRunner | undefined {
    return this.#runners.get(container);
  }

  /** What a further command in a container starts with. Throws a `UserError` as `commandOf` does. */
  command(container: Container): ContainerCommand {
    const image = findImage(container.image ?? "");
    if (image === undefined) throw new UserError(unknownImageMessage(container.image ?? ""));
    return this.#commandOf(container, image);
  }

  get #containers(): Container[] {
    return [...(this.#pod.spec.initContainers ?? []), ...this.#pod.spec.containers];
  }

  async #run(): Promise<void> {
    await this.#adopt();
    while (!this.#isAbandoned) {
      this.#isDirty = false;
      let wakeAtMs: number | undefined;
      try {
        const result = await this.#sync();
        if (result === "over") return;
        wakeAtMs = result.wakeAtMs;
        this.#failures = 0;
      } catch (error) {
        const pauseMs = exponentialMs(this.#failures++, RETRY_BASE_MS, RETRY_MAX_MS);
        wakeAtMs = this.#deps.clock.now() + pauseMs;
        this.#deps.log.warn("Pod could not be brought up to date, will retry", {
          pod: `${this.#record.namespace}/${this.#record.name}`,
          error: messageOf(error),
        });
      }
      await this.#sleepUntil(wakeAtMs);
    }
  }

  async #adopt(): Promise<void> {
    for (const { name } of this.#containers) {
      const runner = this.#createRunner(name);
      this.#runners.set(name, runner);
      await runner.adopt();
    }
  }

  async #sleepUntil(wakeAtMs: number | undefined): Promise<void> {
    if (this.#isDirty || this.#isAbandoned) return;
    let cancel = () => {};
    await new Promise<void>((resolve) => {
      this.#wakeUp = resolve;
      if (wakeAtMs !== undefined) {
        cancel = this.#deps.clock.after(Math.max(0, wakeAtMs - this.#deps.clock.now()), resolve);
      }
    });
    cancel();
    this.#wakeUp = () => {};
  }

  async #sync(): Promise<{ wakeAtMs: number | undefined } | "over"> {
    const { namespace, name } = this.#record;
    const current = this.#deps.pods.get(`${namespace}/${name}`);
    if (current === undefined || current.metadata.uid !== this.uid) return await this.#remove();
    this.#pod = current;
    const retryAtMs = await this.#prepare();
    this.#unblockChangedImages();
    let seen = this.#observe();
    let plan = planPod(seen);
    for (const container of plan.start) await this.#start(container);
    for (const stop of plan.stop) this.#stop(stop.name, stop.message);
    if (plan.start.length > 0) {
      // What was started, or could not be, belongs into the status.
      seen = this.#observe();
      plan = planPod(seen);
    }
    this.#tellBackOff(plan);
    const place = { podAddress: this.#record.address, hostAddress: this.#deps.hostAddress };
    const status = statusOf(seen, plan, place);
    if (this.#isShuttingDown) {
      if (this.#isAnyRunning()) return { wakeAtMs: undefined };
      await this.#publishLast(status);
      return "over";
    }
    await this.#publish(status);
    if (plan.gone) {
      await this.#letGo();
      return await this.#remove();
    }
    return { wakeAtMs: earliest(plan.wakeAtMs, retryAtMs) };
  }

  #unblockChangedImages(): void {
    for (const { name, image } of this.#containers) {
      const runner = this.#runners.get(name);
      if (runner?.blocked !== undefined && runner.blocked.image !== image) runner.block(undefined);
    }
  }

  #isAnyRunning(): boolean {
    return [...this.#runners.values()].some((runner) => runner.isRunning);
  }

  #observe(): PodSeen {
    return {
      pod: this.#pod,
      containers: new Map([...this.#runners].map(([name, runner]) => [name, runner.seen()])),
      sandboxReady: this.#volumes !== undefined,
      shuttingDown: this.#isShuttingDown,
      nowMs: this.#deps.clock.now(),
      backoff: this.#deps.backoff,
    };
  }

  /** Makes volumes, address and credentials; returns when to try again what failed. */
  async #prepare(): Promise<number | undefined> {
    const { clock } = this.#deps;
    const { metadata, status } = this.#pod;
    const isOver =
      metadata.deletionTimestamp !== undefined ||
      status?.phase === "Succeeded" ||
      status?.phase === "Failed";
    if (!this.#areVolumesStale || isOver || this.#isShuttingDown) return undefined;
    if (this.#retryPrepareAtMs > clock.now()) return this.#retryPrepareAtMs;
    try {
      this.#areVolumesStale = false;
      writePodRecord(this.#folder, this.#record);
      if (this.#kubeconfig === undefined) await this.#writeKubeconfig();
      this.#volumes = prepareVolumes(this.#pod, join(this.#folder, "volumes"), {
        ...this.#lookups(),
        claimFolder: (claim) => join(this.#deps.stateDir, "claims", this.#record.namespace, claim),
      });
      return undefined;
    } catch (error) {
      this.#areVolumesStale = true;
      this.#say("Warning", "FailedMount", messageOf(error));
      this.#retryPrepareAtMs = clock.now() + PREPARE_RETRY_MS;
      return this.#retryPrepareAtMs;
    }
  }

  async #writeKubeconfig(): Promise<void> {
    const { spec } = this.#pod;
    if (spec.automountServiceAccountToken === false) return;
    const account = spec.serviceAccountName ?? "default";
    const text = await this.#deps.kubeconfigFor(this.#record.namespace, account);
    if (text === undefined) return;
    this.#kubeconfig = join(this.#folder, "kubeconfig");
    writeFileAtomically(this.#kubeconfig, text);
  }

  #lookups() {
    const { namespace } = this.#record;
    return {
      secret: (name: string) => this.#deps.secrets.get(`${namespace}/${name}`),
      configMap: (name: string) => this.#deps.configMaps.get(`${namespace}/${name}`),
    };
  }

  #commandOf(container: Container, image: Image): ContainerCommand {
    return commandOf(container, image, {
      ...this.#deps,
      ...this.#lookups(),
      pod: this.#pod,
      podAddress: this.#record.address,
      mounts: mountsOf(container, this.#volumes ?? new Map()),
      privateFolder: join(this.#folder, "containers", container.name, "private"),
      programFolder: this.#deps.programs.folder,
      kubeconfig: this.#kubeconfig,
    });
  }

  async #start(name: string): Promise<void> {
    const container = this.#containers.find((candidate) => candidate.name === name);
    const runner = this.#runners.get(name);
    if (container === undefined || runner === undefined) return;
    await startContainer(container, runner, {
      clock: this.#deps.clock,
      engineNote: this.#deps.engineNote,
      say: (type, reason, message) => this.#say(type, reason, message),
      commandOf: (target, image) => this.#commandOf(target, image),
    });
  }

  #stop(name: string, message: string): void {
    const runner = this.#runners.get(name);
    if (runner === undefined) return;
    if (!runner.isStopping) this.#say("Normal", "Killing", message);
    void runner.stop(this.#graceMs(), !this.#isShuttingDown);
  }

  #graceMs(): number {
    const { metadata, spec } = this.#pod;
    const graceS =
      metadata.deletionGracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_S;
    return this.#isShuttingDown ? Math.min(graceS * 1000, SHUTDOWN_GRACE_MS) : graceS * 1000;
  }

  #tellBackOff(plan: PodPlan): void {
    const { name, namespace } = this.#record;
    for (const container of plan.backingOff.keys()) {
      const attempt = this.#runners.get(container)?.seen().attempt ?? 0;
      if (this.#toldBackOff.get(container) === attempt) continue;
      this.#toldBackOff.set(container, attempt);
      this.#say(
        "Warning",
        "BackOff",
        `Back-off restarting failed container ${container} in pod ${name}_${namespace}(${this.uid})`,
      );
    }
  }

  #say(type: EventType, reason: string, message: string): void {
    this.#deps.events.record(this.#pod, type, reason, message);
  }

  async #publishLast(status: PodStatus): Promise<void> {
    const giveUp = new AbortController();
    const cancel = this.#deps.clock.after(LAST_STATUS_MS, () => giveUp.abort());
    await this.#publish(status, giveUp.signal).catch((error: unknown) => {
      this.#deps.log.info("The last status of a pod was not written", { error: messageOf(error) });
    });
    cancel();
  }

  async #publish(status: PodStatus, signal?: AbortSignal): Promise<void> {
    if (jsonEqual(status, this.#sent)) return;
    const { namespace, name } = this.#record;
    const patch = { metadata: { uid: this.uid }, status };
    try {
      const written = await this.#deps.client.patch(PODS, { namespace, name }, "merge", patch, {
        subresource: "status",
        signal,
      });
      this.#sent = status;
      // The informer tells this worker about its own write; the status is equal then.
      this.#deps.pods.written(written);
    } catch (error) {
      // The pod is gone, or another has its name: the informer will say so.
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  /** Tells the API that nothing of a deleted pod runs any more. */
  async #letGo(): Promise<void> {
    const { namespace, name } = this.#record;
    try {
      await this.#deps.client.delete(
        PODS,
        { namespace, name },
        { gracePeriodSeconds: 0, uid: this.uid },
      );
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  /** Ends what still runs of a pod that is gone, and forgets it. */
  async #remove(): Promise<"over"> {
    const runners = [...this.#runners.values()];
    await Promise.all(runners.map((runner) => runner.stop(0)));
    rmSync(this.#folder, { recursive: true, force: true });
    return "over";
  }

  #createRunner(name: string): ContainerRunner {
    return new ContainerRunner({
      podFolder: this.#folder,
      name,
      shim: this.#deps.programs.shim,
      clock: this.#deps.clock,
      backoff: this.#deps.backoff,
      onChange: () => this.wake(),
      probe: (running, signal) => this.#startProbes(name, running, signal),
    });
  }

  #startProbes(
    name: string,
    running: { folder: string; startedAtMs: number; adopted: boolean },
    signal: AbortSignal,
  ): () => ProbeVerdict {
    const container = this.#containers.find((candidate) => candidate.name === name);
    if (container === undefined) throw new Error(`bug: no container ${name}`);
    const { clock } = this.#deps;
    const status = this.#pod.status?.containerStatuses?.find((entry) => entry.name === name);
    const known = running.adopted
      ? { started: status?.started === true, ready: status?.ready === true }
      : undefined;
    return startProbes(
      {
        container,
        known,
        startedAtMs: running.startedAtMs,
        clock,
        target: {
          container,
          podAddress: this.#record.address,
          localize: (word) => substituteLoopback(word, this.#record.address),
          clock,
          run: (command, timeoutMs) =>
            runInContainer({
              command,
              container: this.command(container),
              folder: running.folder,
              timeoutMs,
              clock,
            }).catch((error: unknown) => ({ exitCode: 126, output: messageOf(error) })),
        },
        onChange: () => this.wake(),
        onFailure: (kind, message) => this.#tellProbe(kind, message),
      },
      signal,
    );
  }

  #tellProbe(kind: ProbeKind, message: string): void {
    const title = kind.charAt(0).toUpperCase() + kind.slice(1);
    this.#say("Warning", "Unhealthy", `${title} probe failed: ${message}`);
  }
}

function earliest(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined) return b;
  return b === undefined ? a : Math.min(a, b);
}
