import type { Container, Pod } from "#api/kubernetes.ts";
import { type RestartBackoff, restartDelayMs } from "./restart-backoff.ts";

/** How one process of a container ended. */
export interface ContainerExit {
  readonly containerId: string;
  /** 128 + the signal's number for a process that a signal ended, as shells and Kubernetes count. */
  readonly exitCode: number;
  /** Set when nobody saw the end; otherwise it follows from the exit code. */
  readonly reason?: string;
  readonly message?: string;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
}

/** What is known about one container of a pod. */
export interface ContainerSeen {
  /** Which start of the container this is, from 0; -1 before the first. Its restart count. */
  readonly attempt: number;
  readonly state:
    | { readonly kind: "none" }
    | { readonly kind: "running"; readonly containerId: string; readonly startedAtMs: number }
    | { readonly kind: "exited"; readonly exit: ContainerExit };
  /** How the attempt before this one ended. */
  readonly previous?: ContainerExit | undefined;
  /** Ends in a row up to the current state; see `endsInARow`. */
  readonly ends: number;
  /** The image that the current attempt was started from. */
  readonly image?: string | undefined;
  /** The last try to start it failed; it is tried again from `retryAtMs` on. */
  readonly blocked?:
    | { readonly reason: string; readonly message: string; readonly retryAtMs: number }
    | undefined;
  /** Its startup probe has passed, or it has none. */
  readonly started: boolean;
  /** Its readiness probe passes, or it has none. */
  readonly ready: boolean;
  /** The probe that has given up on it. */
  readonly failedProbe?: "liveness" | "startup" | undefined;
}

/** Everything that decides about a pod. */
export interface PodSeen {
  readonly pod: Pod;
  readonly containers: ReadonlyMap<string, ContainerSeen>;
  /** Volumes and address are in place. */
  readonly sandboxReady: boolean;
  /** The kubelet itself is going down: everything stops, nothing starts. */
  readonly shuttingDown: boolean;
  readonly nowMs: number;
  readonly backoff: RestartBackoff;
}

/** What to do now, and when to look again. */
export interface PodPlan {
  readonly start: readonly string[];
  readonly stop: readonly { readonly name: string; readonly message: string }[];
  /** Containers that ended and wait for their next start, with the whole delay. */
  readonly backingOff: ReadonlyMap<string, { readonly delayMs: number }>;
  /** Set when the pod's work is over for good. */
  readonly finished: "Succeeded" | "Failed" | undefined;
  /** The pod is being deleted and nothing of it runs any more. */
  readonly gone: boolean;
  readonly wakeAtMs: number | undefined;
}

export const NEVER_STARTED: ContainerSeen = {
  attempt: -1,
  state: { kind: "none" },
  ends: 0,
  started: false,
  ready: false,
};

/** Decides what a pod's containers do next. Pure: equal facts give equal plans. */
export function planPod(seen: PodSeen): PodPlan {
  const { pod } = seen;
  const all = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
  const running = all.filter((container) => stateOf(seen, container) === "running");
  const ended = pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
  const isDeleted = pod.metadata.deletionTimestamp !== undefined;
  if (isDeleted || seen.shuttingDown || ended) {
    return {
      start: [],
      stop: running.map(({ name }) => ({ name, message: `Stopping container ${name}` })),
      backingOff: new Map(),
      finished: undefined,
      gone: isDeleted && running.length === 0,
      wakeAtMs: undefined,
    };
  }
  if (!seen.sandboxReady) return draftPlan();
  return planRunning(seen);
}

interface Draft {
  start: string[];
  stop: { name: string; message: string }[];
  backingOff: Map<string, { delayMs: number }>;
  finished: PodPlan["finished"];
  gone: boolean;
  wakeAtMs: number | undefined;
}

const draftPlan = (): Draft => ({
  start: [],
  stop: [],
  backingOff: new Map(),
  finished: undefined,
  gone: false,
  wakeAtMs: undefined,
});

const seenOf = (seen: PodSeen, container: Container) =>
  seen.containers.get(container.name) ?? NEVER_STARTED;
const stateOf = (seen: PodSeen, container: Container) => seenOf(seen, container).state.kind;

function planRunning(seen: PodSeen): PodPlan {
  const draft = draftPlan();
  const policy = seen.pod.spec.restartPolicy ?? "Always";
  // Init containers run one after the other; the next waits for the success of the one before.
  for (const container of seen.pod.spec.initContainers ?? []) {
    const current = seenOf(seen, container);
    if (current.state.kind === "exited" && current.state.exit.exitCode === 0) continue;
    if (current.state.kind === "exited" && policy === "Never") draft.finished = "Failed";
    else planContainer(seen, container, draft);
    return draft;
  }
  let unfinished = false;
  let failed = false;
  for (const container of seen.pod.spec.containers) {
    const { state } = seenOf(seen, container);
    const isOver =
      state.kind === "exited" && !restarts(policy, state.exit.exitCode) ? state.exit : undefined;
    if (isOver === undefined) {
      unfinished = true;
      planContainer(seen, container, draft);
    } else if (isOver.exitCode !== 0) failed = true;
  }
  if (!unfinished) draft.finished = failed ? "Failed" : "Succeeded";
  return draft;
}

function restarts(policy: NonNullable<Pod["spec"]["restartPolicy"]>, exitCode: number): boolean {
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0);
}

function planContainer(seen: PodSeen, container: Container, draft: Draft): void {
  const { name } = container;
  const current = seenOf(seen, container);
  if (current.state.kind === "running") {
    if (current.failedProbe !== undefined) {
      const message = `Container ${name} failed ${current.failedProbe} probe, will be restarted`;
      draft.stop.push({ name, message });
    } else if (current.image !== undefined && current.image !== container.image) {
      draft.stop.push({ name, message: `Container ${name} definition changed, will be restarted` });
    }
    return;
  }
  let dueMs = current.blocked?.retryAtMs ?? Number.NEGATIVE_INFINITY;
  if (current.state.kind === "exited") {
    const delayMs = restartDelayMs(current.ends, seen.backoff);
    const restartAtMs = current.state.exit.finishedAtMs + delayMs;
    if (restartAtMs > seen.nowMs) draft.backingOff.set(name, { delayMs });
    dueMs = Math.max(dueMs, restartAtMs);
  }
  if (dueMs <= seen.nowMs) draft.start.push(name);
  else draft.wakeAtMs = Math.min(draft.wakeAtMs ?? dueMs, dueMs);
}
