/** The controllers of a world: the real ones, each in a process that can be stopped, killed, held up and started anew. */
import type { SchedulerName } from "#api/model-adapter.ts";
import { runElected } from "#controller/manager.ts";
import type { ControllerMetrics } from "#controller/metrics.ts";
import type { Engines } from "#controller/places.ts";
import { runtimeEngine } from "#engine/runtime.ts";
import { sglangEngine } from "#engine/sglang.ts";
import { vllmEngine } from "#engine/vllm.ts";
import { LeadershipLost } from "#kube/lease.ts";
import type { Log, LogFields } from "#telemetry/log.ts";
import type { ApiNetwork, Sent } from "./api-network.ts";
import type { Bug } from "./bug.ts";
import type { Dice } from "./dice.ts";
import type { EngineNetwork } from "./engine-network.ts";
import { Host, type Machine } from "./host.ts";
import type { VirtualTime } from "./virtual-time.ts";

export const SYSTEM = "aibrix-system";
export const LEASE = { namespace: SYSTEM, name: "controller" };
export const RENEW_DEADLINE_MS = 10_000;
const LEASE_DURATION_MS = 15_000;
export const POLL_MS = 2000;

export interface Instance {
  readonly host: Host;
  readonly stop: AbortController;
  /** Where it stands when it is one of several. */
  readonly slot: number;
  readonly usesSidecar: boolean;
  leads: boolean;
  /** When it first asked for the adapters that there are: it knows nothing older. */
  askedAtMs: number | undefined;
  syncedAtMs: number | undefined;
  endedAtMs: number | undefined;
}

export interface ControllersDeps {
  readonly time: VirtualTime;
  readonly dice: Dice;
  readonly api: ApiNetwork;
  readonly pods: EngineNetwork;
  readonly count: 1 | 2;
  readonly usesSidecar: boolean;
  /** Each controller is started with or without the sidecars, until all is to be well. */
  readonly flips: boolean;
  readonly schedulerPolicy: SchedulerName;
  readonly bug: Bug;
  /** Puts an ear between a controller and the engines. */
  readonly overhear: (engines: Engines, instance: () => Instance) => Engines;
  readonly onLog: (host: Host, level: string, message: string, fields: LogFields) => void;
  /** A controller ended by itself, and not because it lost the lease. */
  readonly onCrash: (host: Host, error: unknown) => void;
}

const NO_METRICS: ControllerMetrics = {
  reconciled: () => {},
  operated: () => {},
  retried: () => {},
  drifted: () => {},
};

export class Controllers {
  readonly #deps: ControllersDeps;
  readonly #slots: (Instance | undefined)[] = [];
  readonly #machines: Machine[] = [];
  #serial = 0;
  #wereClocksSet = false;
  #isFlipping: boolean;

  constructor(deps: ControllersDeps) {
    this.#deps = deps;
    this.#isFlipping = deps.flips;
    for (let slot = 0; slot < deps.count; slot++) this.#machines.push({ skewMs: 0 });
  }

  /** Some machine's clock was wrong at some time: what was written down by it says little. */
  get wereClocksSet(): boolean {
    return this.#wereClocksSet;
  }

  /** Sets the clock of the machine that a controller runs on. */
  setClock({ slot }: Instance, skewMs: number): void {
    const machine = this.#machines[slot];
    if (machine === undefined) return;
    machine.skewMs = skewMs;
    this.#wereClocksSet = true;
  }

  /** Whoever runs without the sidecars ends, and comes again with them. */
  settle(): void {
    this.#isFlipping = false;
    for (const instance of this.present())
      if (instance.usesSidecar !== this.#deps.usesSidecar) this.end(instance);
  }

  /** One of several leads. */
  get isElected(): boolean {
    return this.#deps.count > 1;
  }

  start(): void {
    for (let slot = 0; slot < this.#deps.count; slot++) this.#begin(slot);
  }

  /** Those that have not ended. */
  present(): Instance[] {
    return this.#slots.filter((one) => one !== undefined);
  }

  /** The one that leads and knows everything it needs. */
  leader(): Instance | undefined {
    const leading = this.present().filter(
      (one) => one.leads && one.syncedAtMs !== undefined && !one.stop.signal.aborted,
    );
    return leading.length === 1 ? leading[0] : undefined;
  }

  /** A controller sends a request to the API server. */
  sent({ host, plural, isWrite }: Sent): void {
    const instance = this.present().find((one) => one.host === host);
    if (instance === undefined || isWrite || plural !== "modeladapters") return;
    instance.askedAtMs ??= this.#deps.time.now();
  }

  /** The process is gone between two instructions; another one follows. */
  kill(instance: Instance): void {
    instance.host.kill();
    instance.endedAtMs ??= this.#deps.time.now();
    this.#ended(instance);
  }

  /** SIGTERM. */
  end(instance: Instance): void {
    instance.stop.abort();
  }

  #begin(slot: number): void {
    const { time, dice, api, pods, count, bug, overhear } = this.#deps;
    const machine = this.#machines[slot] ?? { skewMs: 0 };
    const host = new Host(`controller-${this.#serial++}`, machine, time, dice);
    const stop = new AbortController();
    const instance: Instance = {
      host,
      stop,
      slot,
      usesSidecar: this.#deps.usesSidecar && !(this.#isFlipping && dice.chance(0.5)),
      leads: count === 1,
      askedAtMs: undefined,
      syncedAtMs: undefined,
      endedAtMs: undefined,
    };
    this.#slots[slot] = instance;
    const clock = bug.clock?.(host.clock) ?? host.clock;
    const exchange = pods.exchange(host);
    const http = { exchange, clock, listTimeoutMs: 5000 };
    const engines: Engines = {
      vllm: vllmEngine({ ...http, changeTimeoutMs: 300_000 }),
      sglang: sglangEngine({ ...http, changeTimeoutMs: 300_000 }),
      runtime: runtimeEngine({ ...http, changeTimeoutMs: 900_000 }),
    };
    const client = api.client(host);
    const deps = {
      client: bug.client?.(client, host) ?? client,
      engines: overhear(bug.engines?.(engines) ?? engines, () => instance),
      clock,
      log: this.#log(host),
      metrics: NO_METRICS,
      random: dice.random,
      ...(bug.planner === undefined ? {} : { planner: bug.planner }),
    };
    const options = {
      pollMs: POLL_MS,
      schedulerPolicy: this.#deps.schedulerPolicy,
      enableRuntimeSidecar: instance.usesSidecar,
      namespace: SYSTEM,
      leaderElection:
        count === 1
          ? undefined
          : {
              ...LEASE,
              identity: host.name,
              leaseDurationMs: LEASE_DURATION_MS,
              renewDeadlineMs: RENEW_DEADLINE_MS,
            },
      onLeading: () => {
        instance.leads = true;
      },
      onSynced: () => {
        instance.syncedAtMs = time.now();
      },
    };
    (bug.run ?? runElected)(deps, options, stop.signal)
      .catch((error: unknown) => {
        this.#deps.onLog(host, "info", `ended: ${error}`, {});
        if (!(error instanceof LeadershipLost)) this.#deps.onCrash(host, error);
      })
      .then(() => this.kill(instance));
  }

  #ended(instance: Instance): void {
    const { slot } = instance;
    if (this.#slots[slot] !== instance) return;
    this.#slots[slot] = undefined;
    const { time, dice } = this.#deps;
    time.after(dice.int(100, 4000), () => this.#begin(slot));
  }

  #log(host: Host): Log {
    const at =
      (level: string) =>
      (message: string, fields: LogFields = {}) =>
        this.#deps.onLog(host, level, message, fields);
    const log: Log = {
      debug: () => {},
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      child: () => log,
    };
    return log;
  }
}
