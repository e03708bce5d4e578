/** What goes wrong in a world, and when. At its end everything is as it should be again, and stays so. */
import { LABEL } from "#api/names.ts";
import { type ApiNetwork, GOOD_API_WEATHER } from "./api-network.ts";
import type { ApiServer } from "./api-server.ts";
import type { Controllers } from "./controllers.ts";
import type { Dice } from "./dice.ts";
import type { Edition } from "./edition.ts";
import type { Host } from "./host.ts";
import type { Kubelet } from "./kubelet.ts";
import type { Reach, SimPod } from "./sim-pod.ts";
import type { Users } from "./users.ts";
import type { VirtualTime } from "./virtual-time.ts";

export const FAMILIES = [
  "users",
  "pods",
  "engines",
  "hands",
  "api",
  "watches",
  "controllers",
] as const;
export type Family = (typeof FAMILIES)[number];

export interface ChaosDeps {
  readonly time: VirtualTime;
  readonly dice: Dice;
  readonly edition: Edition;
  readonly families: ReadonlySet<Family>;
  /** Mean pause between two disturbances. */
  readonly pauseMs: number;
  readonly lastsMs: number;
  readonly server: ApiServer;
  readonly api: ApiNetwork;
  readonly kubelet: Kubelet;
  readonly users: Users;
  readonly controllers: Controllers;
  /** Another pod comes. */
  readonly addPod: () => SimPod;
  readonly note: (text: string) => void;
}

const PODS_MAX = 5;
const FINAL = {
  status: 400,
  words: "LoRA rank 64 is greater than max_lora_rank 16.",
  isFinal: true,
};
const BUSY = { status: 503, words: "service unavailable: no worker", isFinal: false };
const BROKEN = { status: 500, words: "CUDA out of memory", isFinal: false };

export class Chaos {
  count = 0;
  /** When the last disturbance was mended; undefined while it goes on. */
  endedMs: number | undefined;
  readonly #deps: ChaosDeps;
  readonly #mends = new Set<() => void>();
  /** Processes that stand still at their next call of an engine, and for how long. */
  readonly #pausing = new Map<Host, number>();

  constructor(deps: ChaosDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#deps.time.after(this.#deps.lastsMs, () => this.#end());
    this.#next();
  }

  /** A process has sent an engine an order. */
  called(host: Host): void {
    const forMs = this.#pausing.get(host);
    this.#pausing.delete(host);
    if (forMs !== undefined && this.endedMs === undefined) this.#pause(host, forMs);
  }

  #next(): void {
    const { time, dice, pauseMs, families } = this.#deps;
    time.after(dice.pauseMs(pauseMs), () => {
      if (this.endedMs !== undefined) return;
      this.count++;
      this.#disturb(dice.pick([...families]));
      this.#next();
    });
  }

  #disturb(family: Family): void {
    const sources: Record<Family, () => void> = {
      users: () => this.#users(),
      pods: () => this.#pods(),
      engines: () => this.#engines(),
      hands: () => this.#hands(),
      api: () => this.#api(),
      watches: () => this.#watches(),
      controllers: () => this.#controllers(),
    };
    sources[family]();
  }

  #users(): void {
    const { dice, users } = this.#deps;
    const actions: [string, () => void][] = [
      ["create", () => users.createAdapter()],
      ["create", () => users.createAdapter()],
      ["delete", () => users.deleteAdapter()],
      ["change", () => users.changeAdapter()],
      ["change", () => users.changeAdapter()],
      ["annotate", () => users.annotate()],
      ["secret", () => users.bringSecret()],
    ];
    if (this.#deps.edition > 1) {
      actions.push(
        ["secret gone", () => users.dropSecret()],
        ["another engine key", () => this.#takeSteps(users.changeEngineKey())],
        ["another store key", () => this.#takeSteps(users.changeStoreKey())],
      );
    }
    const [what, run] = dice.pick(actions);
    this.#deps.note(`user: ${what}`);
    run();
  }

  #takeSteps(steps: readonly (() => void)[]): void {
    for (const step of steps) this.#mendAfter(this.#deps.dice.int(0, 20_000), step);
  }

  #hands(): void {
    const { dice, users } = this.#deps;
    this.#deps.note("user: hands");
    if (dice.chance(0.5)) users.layHands();
    else users.meddle();
  }

  #pods(): void {
    const { dice, kubelet, note, addPod } = this.#deps;
    const pods = kubelet.present();
    const pod = dice.maybe(pods);
    if (pod === undefined || (pods.length < PODS_MAX && dice.chance(0.15))) {
      note(`pod: new ${addPod().name}`);
      return;
    }
    const actions: [string, () => void][] = [
      ["remove", () => kubelet.remove(pod)],
      ["kill", () => kubelet.kill(pod)],
      ["blip", () => this.#blip(pod)],
      ["blip", () => this.#blip(pod)],
      ["restart", () => kubelet.restart(pod, false)],
      ["quick restart", () => kubelet.restart(pod, true)],
      ["quick restart", () => kubelet.restart(pod, true)],
      ["sidecar restart", () => kubelet.restartSidecar(pod)],
      ["relabel", () => this.#relabel(pod)],
    ];
    const [what, run] = dice.pick(actions);
    note(`pod: ${what} ${pod.name}`);
    run();
  }

  #blip(pod: SimPod): void {
    const { dice, kubelet } = this.#deps;
    kubelet.setReady(pod, false);
    this.#mendAfter(dice.int(100, 12_000), () => kubelet.setReady(pod, true));
  }

  #relabel(pod: SimPod): void {
    const { dice, kubelet } = this.#deps;
    const isEnabled = pod.labels[LABEL.adapterEnabled] === "true";
    const labels = dice.chance(0.5)
      ? { [LABEL.adapterEnabled]: isEnabled ? "false" : "true" }
      : { group: pod.labels["group"] === "a" ? "b" : "a" };
    kubelet.relabel(pod, labels);
  }

  #engines(): void {
    const { dice, kubelet, note } = this.#deps;
    const pod = dice.maybe(kubelet.present());
    if (pod === undefined) return;
    const forMs = dice.chance(0.2) ? dice.int(30_000, 200_000) : dice.int(500, 20_000);
    const reaches: Reach[] = ["partitioned", "hung", "refused", "unroutable"];
    const actions: [string, () => void][] = [
      ["reach", () => this.#reach(pod, dice.pick(reaches), forMs)],
      ["reach", () => this.#reach(pod, dice.pick(reaches), forMs)],
      ["refusals", () => this.#refuse(pod, forMs)],
      ["refusals", () => this.#refuse(pod, forMs)],
      ["slow loads", () => this.#slow(pod, forMs)],
      ["lost answers", () => this.#lose(pod, forMs)],
      ["list errors", () => this.#failLists(pod, forMs)],
      ["store failure", () => this.#failStore(pod, forMs)],
    ];
    if (this.#deps.edition > 1) actions.push(["full", () => this.#fill(pod, forMs)]);
    const [what, run] = dice.pick(actions);
    note(`engine: ${what} ${pod.name} for ${forMs} ms`);
    run();
  }

  #reach(pod: SimPod, reach: Reach, forMs: number): void {
    pod.reach = reach;
    this.#mendAfter(forMs, () => {
      pod.reach = "ok";
    });
  }

  #refuse(pod: SimPod, forMs: number): void {
    const { dice } = this.#deps;
    const name = dice.maybe([...pod.engine.held.keys(), undefined]);
    const refusal = { ...dice.pick([FINAL, BUSY, BUSY, BROKEN]), name };
    pod.engine.refusals.push(refusal);
    this.#mendAfter(forMs, () => {
      pod.engine.refusals = pod.engine.refusals.filter((one) => one !== refusal);
    });
  }

  #slow(pod: SimPod, forMs: number): void {
    const usual = pod.engine.loadMs;
    pod.engine.loadMs = [2000, 45_000];
    this.#mendAfter(forMs, () => {
      pod.engine.loadMs = usual[1] > 1000 ? [5, 200] : usual;
    });
  }

  #fill(pod: SimPod, forMs: number): void {
    pod.engine.capacity = this.#deps.dice.int(1, 2);
    this.#mendAfter(forMs, () => {
      pod.engine.capacity = Number.POSITIVE_INFINITY;
    });
  }

  #lose(pod: SimPod, forMs: number): void {
    pod.lostShare = 0.5;
    this.#mendAfter(forMs, () => {
      pod.lostShare = 0;
    });
  }

  #failLists(pod: SimPod, forMs: number): void {
    pod.listErrorShare = this.#deps.dice.pick([0.3, 1]);
    this.#mendAfter(forMs, () => {
      pod.listErrorShare = 0;
    });
  }

  #failStore(pod: SimPod, forMs: number): void {
    const { sidecar } = pod;
    if (sidecar === undefined) return;
    sidecar.failure = this.#deps.dice.pick([
      { status: 404, code: "NotFound", retriable: false, error: "Not found: s3://bucket/x" },
      { status: 504, code: "Unreachable", retriable: true, error: "timeout: the store is slow" },
    ]);
    this.#mendAfter(forMs, () => {
      sidecar.failure = undefined;
    });
  }

  #api(): void {
    const { api, dice, note } = this.#deps;
    const forMs = dice.chance(0.15) ? dice.int(10_000, 90_000) : dice.int(100, 6000);
    const { weather } = api;
    const changes: [string, () => void][] = [
      ["slow", () => Object.assign(weather, { latencyMs: dice.int(50, 3000) })],
      ["errors", () => Object.assign(weather, { errorShare: dice.pick([0.1, 0.5]) })],
      ["lost answers", () => Object.assign(weather, { lostShare: dice.pick([0.2, 0.7]) })],
      ["outage", () => this.#outage("refused")],
      ["outage", () => this.#outage("swallowed")],
    ];
    const [what, run] = dice.pick(changes);
    note(`api: ${what} for ${forMs} ms`);
    run();
    const { canWatchList } = weather;
    this.#mendAfter(forMs, () => {
      const { lagMs } = weather;
      Object.assign(weather, { ...GOOD_API_WEATHER, lagMs, canWatchList });
    });
  }

  #outage(outage: "refused" | "swallowed"): void {
    const { api } = this.#deps;
    api.weather.outage = outage;
    for (const watch of api.watches()) watch.cut(broken());
  }

  #watches(): void {
    const { api, dice, server, note } = this.#deps;
    const watch = dice.maybe(api.watches());
    if (watch === undefined) return;
    const actions: [string, () => void][] = [
      ["cut", () => watch.cut(dice.chance(0.5) ? broken() : undefined)],
      ["cut", () => watch.cut(broken())],
      ["lag", () => this.#lag()],
      ["lag", () => this.#lag()],
      [
        "compacted",
        () => {
          server.compact();
          for (const one of api.watches()) one.cut();
        },
      ],
      [
        "silent",
        () => {
          watch.isSilent = true;
        },
      ],
    ];
    const [what, run] = dice.pick(actions);
    note(`watch: ${what} ${watch.plural}`);
    run();
  }

  #lag(): void {
    const { api, dice } = this.#deps;
    api.weather.lagMs = dice.int(200, 6000);
    this.#mendAfter(dice.int(1000, 20_000), () => {
      api.weather.lagMs = GOOD_API_WEATHER.lagMs;
    });
  }

  #controllers(): void {
    const { controllers, dice, note } = this.#deps;
    const instance = dice.maybe(controllers.present());
    if (instance === undefined) return;
    const { host } = instance;
    const actions: [string, () => void][] = [
      ["killed", () => controllers.kill(instance)],
      ["ended", () => controllers.end(instance)],
      ["paused", () => this.#pause(host, dice.int(100, 5000))],
      ["paused for long", () => this.#pause(host, dice.int(8000, 40_000))],
    ];
    if (this.#deps.edition > 1) {
      actions.push(
        ["paused in a call", () => this.#pausing.set(host, dice.int(8000, 40_000))],
        ["clock set", () => controllers.setClock(instance, this.#skewMs())],
      );
    }
    const [what, run] = dice.pick(actions);
    note(`controller: ${what} ${host.name}`);
    run();
  }

  /** Slightly wrong, very wrong, or right again. */
  #skewMs(): number {
    const { dice } = this.#deps;
    const byMs = dice.pick([0, dice.int(100, 3000), dice.int(10_000, 7_200_000)]);
    return dice.chance(0.5) ? byMs : -byMs;
  }

  #pause(host: Host, forMs: number): void {
    host.pause();
    this.#mendAfter(forMs, () => host.resume());
  }

  /** Ends a disturbance after a while, or at the end of them all. */
  #mendAfter(ms: number, mend: () => void): void {
    this.#mends.add(mend);
    this.#deps.time.after(ms, () => {
      if (this.#mends.delete(mend)) mend();
    });
  }

  #end(): void {
    const { users, addPod, controllers, kubelet, note, time } = this.#deps;
    note("calm");
    this.endedMs = time.now();
    for (const mend of this.#mends) mend();
    this.#mends.clear();
    users.tidy();
    controllers.settle();
    if (kubelet.present().length === 0) addPod();
  }
}

function broken(): Error {
  return Object.assign(new Error("ECONNRESET api"), { code: "ECONNRESET" });
}
