/** Bugs that somebody could write into the controller one day. The simulation must notice each of them. */
import type { Clock } from "#base/clock.ts";
import { toTimestamp } from "#base/clock.ts";
import { CONTROLLER_DEFAULTS, runController } from "#controller/controller.ts";
import type { runElected } from "#controller/manager.ts";
import type { Engines } from "#controller/places.ts";
import { type Plan, plan } from "#core/adapter/plan.ts";
import type { PodSeen, Seen } from "#core/adapter/seen.ts";
import { ineligible } from "#core/adapter/select.ts";
import type { Engine, EngineTarget, Runtime } from "#engine/engine.ts";
import {
  CONFIG_MAPS,
  type KubeClient,
  keyOf,
  type Resource,
  SECRETS,
  SERVICES,
  type WatchEvent,
} from "#kube/client.ts";
import { LeaderElector } from "#kube/lease.ts";
import type { Bug } from "./bug.ts";
import { ENGINE_KEY } from "./users.ts";

/** A planner that decides rightly about something else than what is so. */
const seeing = (change: (pod: PodSeen, seen: Seen) => PodSeen): Bug => ({
  planner: (seen) => plan({ ...seen, pods: seen.pods.map((pod) => change(pod, seen)) }),
});
const deciding = (change: (made: Plan, seen: Seen) => Plan): Bug => ({
  planner: (seen) => change(plan(seen), seen),
});
const around = (wrap: <E extends Engine>(engine: E) => E, runtime?: (one: Runtime) => Runtime) => ({
  engines: ({ vllm, sglang, runtime: sidecar }: Engines): Engines => ({
    vllm: wrap(vllm),
    sglang: wrap(sglang),
    runtime: (runtime ?? wrap)(sidecar),
  }),
});
const withoutWatchEvents = (plural: string, type: WatchEvent<unknown>["type"]): Bug => ({
  client: (client) => ({
    ...client,
    watch: (resource, options, signal) => {
      const events = client.watch(resource, options, signal);
      if (resource.plural !== plural) return events;
      return (async function* () {
        for await (const event of events) if (event.type !== type) yield event;
      })();
    },
  }),
});

/** Leads for ever once it has led, and has no fence. */
const unfenced: typeof runElected = async (deps, options, signal) => {
  const { leaderElection, onLeading, onSynced, ...chosen } = options;
  const work = () => {
    onLeading?.();
    const told = onSynced === undefined ? {} : { onSynced };
    return runController(deps, { ...CONTROLLER_DEFAULTS, ...chosen, ...told }, signal);
  };
  if (leaderElection === undefined) await work();
  else await new LeaderElector(deps, leaderElection).run(work, signal);
};

/** The lease is asked for once for all requests that a load needs. */
const fencedOnce = (target: EngineTarget): EngineTarget => {
  target.beforeChange?.();
  return { ...target, beforeChange: () => {} };
};

/** Timers beyond this are forgotten. */
const FORGETFUL_MS = 12_000;
const forgetful = (clock: Clock): Clock => ({
  ...clock,
  after: (ms, run) => (ms > FORGETFUL_MS ? () => {} : clock.after(ms, run)),
});

/** Measures by a clock that is set now and then. */
const unsteady = ({ offsetMs, ...clock }: Clock): Clock => ({
  ...clock,
  now: () => clock.now() + (offsetMs?.() ?? 0),
});

const takingOver = (client: KubeClient): KubeClient => ({
  ...client,
  create: (resource, object, options) =>
    resource.plural === SERVICES.plural
      ? client.apply(resource, object, { fieldManager: "x", ...options })
      : client.create(resource, object, options),
});

/** What was read of a Secret once is taken for what it holds. */
const rememberingSecrets = (client: KubeClient): KubeClient => {
  const read = new Map<string, Promise<never>>();
  return {
    ...client,
    get: (resource: Resource<never>, name, signal) => {
      const key = keyOf({ metadata: name });
      if (resource.plural !== SECRETS.plural) return client.get(resource, name, signal);
      const known = read.get(key) ?? client.get(resource, name, signal);
      read.set(key, known);
      return known;
    },
  };
};

const forgettingTombstones = (client: KubeClient): KubeClient => ({
  ...client,
  get: async (resource: Resource<never>, name, signal) =>
    resource.plural === CONFIG_MAPS.plural
      ? ({ metadata: name } as never)
      : client.get(resource, name, signal),
});

export const PLANTED: Readonly<Record<string, Bug>> = {
  "loads before the finalizer is there": deciding((made) => ({
    ...made,
    metadata: {
      ...made.metadata,
      finalizer: made.metadata.finalizer === "add" ? undefined : made.metadata.finalizer,
    },
  })),
  "loads where it is not written down": deciding((made) => ({
    ...made,
    metadata: { ...made.metadata, annotations: {} },
  })),
  "publishes every pod that could serve": deciding((made, seen) => {
    if (made.publish.slice === undefined) return made;
    const slice = seen.pods.filter((pod) => ineligible(pod, seen.nowMs) === undefined);
    return { ...made, publish: { ...made.publish, slice } };
  }),
  "keeps pods published that are not Ready": seeing((pod) => ({
    ...pod,
    readySinceMs: pod.readySinceMs ?? 0,
    terminating: false,
  })),
  "does not wait until a pod is stable": seeing((pod, { nowMs }) => ({
    ...pod,
    readySinceMs:
      pod.readySinceMs === undefined ? undefined : Math.min(pod.readySinceMs, nowMs - 5000),
  })),
  "takes what an engine listed once for true for ever": seeing((pod) => ({
    ...pod,
    held: pod.recorded && pod.held === "absent" ? "current" : pod.held,
  })),
  "retries too early": seeing((pod) => ({
    ...pod,
    loadFailure: pod.loadFailure && { ...pod.loadFailure, atMs: pod.loadFailure.atMs - 4900 },
  })),
  "fights an engine that drops what it has": seeing((pod) => ({
    ...pod,
    loadFailure: pod.loadFailure?.isCapacity ? undefined : pod.loadFailure,
  })),
  "reads a Secret only once": { client: rememberingSecrets },
  "never tries again": seeing((pod, { nowMs }) => ({
    ...pod,
    loadFailure: pod.loadFailure && { ...pod.loadFailure, atMs: nowMs },
  })),
  "does not write its retries down": deciding((made) => ({
    ...made,
    metadata: {
      ...made.metadata,
      annotations: Object.fromEntries(
        Object.entries(made.metadata.annotations).filter(([key]) => !key.includes("retry")),
      ),
    },
  })),
  "forgets what it could not unload": deciding((made) => ({ ...made, tombstones: [] })),
  "does not read what an earlier controller could not unload": { client: forgettingTombstones },
  "never lets the object go": deciding((made) => ({
    ...made,
    metadata: {
      ...made.metadata,
      finalizer: made.metadata.finalizer === "remove" ? undefined : made.metadata.finalizer,
    },
  })),
  "hosts an adapter on all pods where one was asked for": {
    planner: (seen) => {
      const { replicas: _, ...spec } = seen.adapter.spec;
      return plan({ ...seen, adapter: { ...seen.adapter, spec } });
    },
  },
  "unloads before requests have ceased": seeing((pod) => ({ ...pod, routedAtMs: undefined })),
  "unloads what somebody else loaded": around((engine) => ({
    ...engine,
    inventory: async (target, signal) => {
      const held = await engine.inventory(target, signal);
      const others = held.filter(({ root }) => root?.startsWith("/hand/"));
      for (const { name } of others) await engine.unload(target, name, signal);
      return held;
    },
  })),
  "claims Running without an instance": deciding((made) =>
    made.status === undefined ? made : { ...made, status: { ...made.status, phase: "Running" } },
  ),
  "keeps a status that is no longer true": deciding((made, seen) =>
    seen.adapter.status?.phase === "Running" ? { ...made, status: undefined } : made,
  ),
  "moves the times of its conditions at every look": deciding((made, seen) => {
    if (made.status === undefined) return made;
    const lastTransitionTime = toTimestamp(seen.nowMs);
    const conditions = made.status.conditions?.map((one) => ({ ...one, lastTransitionTime }));
    return { ...made, status: { ...made.status, conditions }, wakeAtMs: seen.nowMs + 1000 };
  }),
  "tells the engine's key": deciding((made) =>
    made.status === undefined
      ? made
      : {
          ...made,
          status: { ...made.status, instances: made.status.instances?.concat(ENGINE_KEY) },
        },
  ),
  "misses that pods are gone": withoutWatchEvents("pods", "DELETED"),
  "misses that adapters change": withoutWatchEvents("modeladapters", "MODIFIED"),
  "takes over a Service of its name": { client: takingOver },
  "acts on after its lease": { run: unfenced },
  "checks its lease before the first request of a load only": around(
    (engine) => ({
      ...engine,
      load: async (target, ...args) => engine.load(fencedOnce(target), ...args),
    }),
    (sidecar) => ({
      ...sidecar,
      loadArtifact: async (target, ...args) => sidecar.loadArtifact(fencedOnce(target), ...args),
    }),
  ),
  "measures time by a clock that is set": { clock: unsteady },
  "forgets to wake up": { clock: forgetful },
  "takes an engine that does not answer for an empty one": around((engine) => ({
    ...engine,
    inventory: (target, signal) => engine.inventory(target, signal).catch(() => []),
  })),
  "says that it unloaded, and did not": around((engine) => ({
    ...engine,
    unload: async () => {},
  })),
  "does not replace an earlier version": around(
    (engine) => ({
      ...engine,
      load: async (target, request, signal) => {
        if (!request.replace) await engine.load(target, request, signal);
      },
    }),
    (sidecar) => sidecar,
  ),
  "asks engines once for each of its adapters": around((engine) => ({
    ...engine,
    inventory: async (target, signal) => {
      const held = await engine.inventory(target, signal);
      for (const _ of held) await engine.inventory(target, signal);
      return held;
    },
  })),
};
