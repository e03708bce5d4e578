/** A real API server, a fleet of light engines and one controller as users start it, with the rights that we ship. */
import { readdirSync, readFileSync } from "node:fs";
import type { KubeObject, Pod } from "#api/kubernetes.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { API_VERSION, CONTROLLER_NAME, KIND, SYSTEM_NAMESPACE } from "#api/names.ts";
import { toTimestamp } from "#base/clock.ts";
import { Semaphore } from "#base/semaphore.ts";
import { type KubeClient, keyOf, MODEL_ADAPTERS, PODS, type Resource } from "#kube/client.ts";
import { startInformer } from "#kube/informer.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { startRealApi } from "#test/conformance/servers.ts";
import { Addresses } from "#test/controller/addresses.ts";
import { type Controller, setStage } from "#test/controller/stage.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { Fleet } from "./fleet-process.ts";

const ENGINE_PORT = 8000;
/** Requests of the user who makes and deletes adapters, at once. */
const USERS = 32;
const TICKS_PER_SECOND = 100;
const STABLE_MS = 60_000;

/** What the controller asked of the API server, and how often. */
export interface ApiUse {
  readonly requests: number;
  /** Without the Lease. */
  readonly writes: number;
  readonly byKind: Readonly<Record<string, number>>;
}

export class World {
  readonly client: KubeClient;
  readonly fleet: Fleet;
  readonly hosts: readonly string[];
  readonly namespace: string;
  readonly #controller: Controller;
  readonly #auditLog: string;
  readonly #close: () => Promise<void>;

  private constructor(parts: {
    client: KubeClient;
    fleet: Fleet;
    hosts: readonly string[];
    namespace: string;
    controller: Controller;
    auditLog: string;
    close: () => Promise<void>;
  }) {
    this.client = parts.client;
    this.fleet = parts.fleet;
    this.hosts = parts.hosts;
    this.namespace = parts.namespace;
    this.#controller = parts.controller;
    this.#auditLog = parts.auditLog;
    this.#close = parts.close;
  }

  /** Pods that have been Ready for a minute, and a controller that knows them. */
  static async make(pods: number): Promise<World> {
    const api = await startRealApi(16_530, 12_530);
    const stage = await setStage(api);
    const namespace = await stage.target.namespace();
    const addresses = new Addresses();
    const hosts = Array.from({ length: pods }, () => addresses.next());
    const fleet = await Fleet.start(hosts, ENGINE_PORT);
    for (const [index, host] of hosts.entries()) {
      await makePod(stage.client, namespace, `base-${index}`, host);
    }
    const controller = await stage.start("--leader-elect");
    await controller.ready();
    const { auditLog = "" } = api;
    const close = async () => {
      await controller.stop();
      await fleet.stop();
      await stage.close();
      await api.close();
    };
    const { client } = stage;
    const world = new World({ client, fleet, hosts, namespace, controller, auditLog, close });
    // An API server takes seconds over the first object of a definition.
    await world.declare(["first"], {});
    await world.remove(["first"]);
    return world;
  }

  close(): Promise<void> {
    return this.#close();
  }

  /** CPU seconds that the controller, and everything that runs beside it, has used so far. */
  cpuSeconds(): Record<string, number> {
    const used: Record<string, number> = { user: process.cpuUsage().user / 1e6 };
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      const stat = statOf(Number(pid));
      if (stat?.parent !== process.pid) continue;
      const isController = Number(pid) === this.#controller.child.pid;
      used[isController ? "controller" : stat.name === "node" ? "fleet" : stat.name] = stat.seconds;
    }
    return used;
  }

  /** The most memory that the controller ever held, MiB. */
  peakRssMib(): number {
    const status = readFileSync(`/proc/${this.#controller.child.pid}/status`, "utf8");
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  }

  apiUse(): ApiUse {
    const byKind: Record<string, number> = {};
    const user = `system:serviceaccount:${SYSTEM_NAMESPACE}:${CONTROLLER_NAME}`;
    let requests = 0;
    let writes = 0;
    for (const line of readFileSync(this.#auditLog, "utf8").split("\n")) {
      if (line === "") continue;
      const entry = JSON.parse(line);
      const { verb, objectRef = {} } = entry;
      if (entry.user.username !== user || objectRef.resource === "leases") continue;
      const kind = [verb, objectRef.resource, objectRef.subresource].filter(Boolean).join(" ");
      byKind[kind] = (byKind[kind] ?? 0) + 1;
      requests++;
      if (verb !== "get" && verb !== "list" && verb !== "watch") writes++;
    }
    return { requests, writes, byKind };
  }

  /** Declares adapters, all at once. */
  async declare(names: readonly string[], spec: Partial<ModelAdapter["spec"]>): Promise<void> {
    await this.#atOnce(names, (name) =>
      this.client.create(MODEL_ADAPTERS, {
        apiVersion: API_VERSION,
        kind: KIND,
        metadata: { name, namespace: this.namespace },
        spec: {
          baseModel: "base",
          podSelector: { matchLabels: { "model.aibrix.ai/name": "base" } },
          schedulerName: "default",
          artifactURL: `/adapters/${name}`,
          ...spec,
        },
      }),
    );
  }

  async remove(names: readonly string[]): Promise<void> {
    await this.#atOnce(names, (name) =>
      this.client.delete(MODEL_ADAPTERS, { namespace: this.namespace, name }),
    );
  }

  async #atOnce(names: readonly string[], run: (name: string) => Promise<unknown>): Promise<void> {
    const users = new Semaphore(USERS);
    const { signal } = new AbortController();
    await Promise.all(names.map((name) => users.run(() => run(name), signal)));
  }

  /** Tells of each state of each object of a kind, as a user's watch does; returns what ends it. */
  async watch<T extends KubeObject>(
    resource: Resource<T>,
    onChange: (object: T | undefined, key: string) => void,
  ): Promise<() => Promise<void>> {
    const stop = new AbortController();
    const { client, namespace } = this;
    const informer = startInformer(client, resource, { namespace }, clock, silentLog, stop.signal);
    informer.onChange((before, after) => {
      const object = after ?? before;
      if (object !== undefined) onChange(after, keyOf(object));
    });
    await informer.synced;
    return async () => {
      stop.abort();
      await informer.done;
    };
  }
}

/** What the kernel knows of a process; undefined when it has gone. */
function statOf(pid: number): { name: string; parent: number; seconds: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const end = stat.lastIndexOf(")");
    const fields = stat.slice(end + 2).split(" ");
    return {
      name: stat.slice(stat.indexOf("(") + 1, end),
      parent: Number(fields[1]),
      seconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    };
  } catch {
    return undefined;
  }
}

async function makePod(client: KubeClient, namespace: string, name: string, host: string) {
  await client.create(PODS, {
    metadata: {
      name,
      namespace,
      labels: { "model.aibrix.ai/name": "base", "adapter.model.aibrix.ai/enabled": "true" },
    },
    spec: { containers: [{ name: "vllm-openai", image: "vllm/vllm-openai:v0.7.1" }] },
  });
  const since = toTimestamp(Date.now() - STABLE_MS);
  const status: Pod["status"] = {
    phase: "Running",
    podIP: host,
    conditions: [{ type: "Ready", status: "True", lastTransitionTime: since }],
  };
  const options = { subresource: "status" as const };
  await client.patch(PODS, { namespace, name }, "merge", { status }, options);
}
