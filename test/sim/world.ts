/**
 * A whole cluster in one process and in virtual time: the real controllers over a simulated API server, pods, engines and
 * people, all of them from one seed. The invariants are checked after every event; the same seed gives the same run, byte for byte.
 */
import { LABEL } from "#api/names.ts";
import { keyOf } from "#kube/client.ts";
import { ApiNetwork } from "./api-network.ts";
import { ApiServer, type Change } from "./api-server.ts";
import type { Bug } from "./bug.ts";
import { Calm } from "./calm.ts";
import { Chaos, FAMILIES, type Family } from "./chaos.ts";
import { CallChecks } from "./checks/calls.ts";
import type { CheckContext } from "./checks/context.ts";
import { PublishedChecks } from "./checks/published.ts";
import { RestChecks } from "./checks/rest.ts";
import { RetryChecks, SECRET_MS } from "./checks/retries.ts";
import { SettledChecks } from "./checks/settled.ts";
import { WriteChecks } from "./checks/writes.ts";
import { Controllers } from "./controllers.ts";
import { Dice } from "./dice.ts";
import { type Edition, NEWEST } from "./edition.ts";
import { type Call, EngineNetwork } from "./engine-network.ts";
import { Facts } from "./facts.ts";
import { History } from "./history.ts";
import { Kubelet, NAMESPACE, OTHER_NAMESPACE } from "./kubelet.ts";
import type { HeldInEngine } from "./sim-engine.ts";
import type { SimPod } from "./sim-pod.ts";
import type { Store } from "./sim-sidecar.ts";
import { ENGINE_KEY, SECRET_MARK, Users } from "./users.ts";
import { VirtualTime } from "./virtual-time.ts";

/** An invariant that did not hold. */
export interface Finding {
  readonly invariant: string;
  readonly text: string;
  readonly atMs: number;
}

export interface Outcome {
  readonly seed: number;
  readonly finding: Finding | undefined;
  /** Virtual milliseconds. */
  readonly lastedMs: number;
  readonly disturbances: number;
  readonly calls: number;
  readonly writes: number;
}

export interface RunOptions {
  /** Hears of everything that happens, one line each. */
  readonly trace?: (line: string) => void;
  readonly bug?: Bug;
  readonly edition?: Edition;
}

/** Runs one seed to its end, or to the first invariant that does not hold. */
export async function runWorld(seed: number, options: RunOptions = {}): Promise<Outcome> {
  const world = new World(seed, options);
  return world.run();
}

class World {
  readonly #seed: number;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #time = new VirtualTime();
  readonly #kubelet: Kubelet;
  readonly #users: Users;
  readonly #controllers: Controllers;
  readonly #chaos: Chaos;
  readonly #calm: Calm;
  readonly #facts: Facts;
  readonly #history: History;
  readonly #calls: CallChecks;
  readonly #published: PublishedChecks;
  readonly #writes: WriteChecks;
  readonly #retries: RetryChecks;
  readonly #rest: RestChecks;
  readonly #counts = { calls: 0, writes: 0 };
  #finding: Finding | undefined;
  #checkedMs = 0;
  #isDirty = true;

  constructor(seed: number, { trace, bug = {}, edition = NEWEST }: RunOptions) {
    this.#seed = seed;
    this.#trace = trace;
    const time = this.#time;
    const dice = (about: string) => new Dice(seed, about);
    const shape = dice("shape");
    // Its own dice: what the first edition throws stays as it was.
    const more = dice("more");
    const namespaces = edition > 1 && more.chance(0.3) ? [NAMESPACE, OTHER_NAMESPACE] : [NAMESPACE];
    const sidecar = shape.pick(["none", "none", "ours", "ours", "aibrix"] as const);
    const engine = sidecar === "none" && shape.chance(0.3) ? "sglang" : "vllm";
    const usesKeys = shape.chance(0.3);
    const usesSidecar = sidecar !== "none";
    const flips = edition > 2 && usesSidecar && dice("flips").chance(0.2);
    const server = new ApiServer(time, dice("server"));
    const store: Store = { key: ENGINE_KEY };
    this.#kubelet = new Kubelet({
      ...{ time, server, engine, sidecar, store },
      dice: dice("kubelet"),
      onHeld: (pod, name, before) => this.#heldChanged(pod, name, before),
    });
    const kubelet = this.#kubelet;
    this.#users = new Users({
      ...{ server, kubelet, store, usesSidecar, usesKeys, namespaces, edition },
      dice: dice("users"),
    });
    const facts = new Facts({ server, kubelet, time, flips });
    this.#facts = facts;
    this.#history = new History(time);
    const api: ApiNetwork = new ApiNetwork({
      ...{ time, server, edition },
      dice: dice("api"),
      onSent: (sent) => {
        this.#controllers.sent(sent);
        this.#calls.sent(sent);
      },
      onTrouble: (afterMs) => this.#calm.failed(afterMs),
      onLost: ({ plural, key }) => this.#history.noteLost(plural, key),
    });
    api.weather.canWatchList = shape.chance(0.5);
    const pods = new EngineNetwork({
      time,
      dice: dice("pods"),
      podAt: (ip) => kubelet.at(ip),
      onCall: (call) => this.#called(call),
    });
    this.#controllers = new Controllers({
      ...{ time, api, pods, usesSidecar, flips, bug },
      dice: dice("controllers"),
      count: shape.chance(0.4) ? 2 : 1,
      schedulerPolicy: shape.pick(["default", "least-adapters"]),
      overhear: (engines, instance) => this.#retries.overhear(engines, instance),
      onLog: (host, level, message, fields) => {
        const line = `${host.name} ${level} ${message} ${JSON.stringify(fields)}`;
        this.#note(line);
        // A load may fail before any engine is asked.
        if (/error loading/.test(message)) this.#writes.caused(String(fields["ModelAdapter"]));
        if (line.includes(SECRET_MARK)) this.#report("secret-told", line);
        if (/TypeError|RangeError|bug:/.test(line)) this.#report("crash", line);
      },
      onCrash: (host, error) => this.#report("crash", `${host.name}: ${stackOf(error)}`),
    });
    this.#calm = new Calm({ time, network: () => api, controllers: () => this.#controllers });
    const context: CheckContext = {
      ...{ time, facts, history: this.#history, calm: this.#calm },
      controllers: () => this.#controllers,
      report: (invariant, text) => this.#report(invariant, text),
    };
    this.#published = new PublishedChecks(context);
    this.#writes = new WriteChecks(context, this.#published);
    this.#retries = new RetryChecks(context);
    this.#calls = new CallChecks(context, this.#controllers.isElected, (name, pod) =>
      this.#retries.loadingSinceMs(name, pod),
    );
    this.#rest = new RestChecks(context, new SettledChecks(context, this.#retries));
    const labels = () => ({
      [LABEL.modelName]: "base",
      [LABEL.adapterEnabled]: "true",
      group: shape.pick(["a", "b"]),
    });
    this.#chaos = new Chaos({
      ...{ time, server, api, kubelet, users: this.#users, controllers: this.#controllers },
      dice: dice("chaos"),
      edition,
      families: familiesOf(shape),
      pauseMs: shape.pick([1000, 2500, 5000]),
      lastsMs: shape.int(20_000, 150_000),
      addPod: () => kubelet.add(labels(), more.pick(namespaces)),
      note: (text) => this.#note(text),
    });
    server.onChange((change) => this.#changed(change));
    for (let count = shape.int(1, 4); count > 0; count--) {
      const pod = kubelet.add(labels(), more.pick(namespaces));
      if (usesKeys) pod.engine.apiKey = ENGINE_KEY;
    }
    for (let count = shape.int(1, 3); count > 0; count--) this.#users.createAdapter();
  }

  async run(): Promise<Outcome> {
    this.#controllers.start();
    this.#chaos.start();
    await this.#time.run(() => this.#step());
    for (const { host } of this.#controllers.present()) host.kill();
    return {
      seed: this.#seed,
      finding: this.#finding,
      lastedMs: this.#time.sinceStart(),
      disturbances: this.#chaos.count,
      ...this.#counts,
    };
  }

  /** After each event; true when the run is over. */
  #step(): boolean {
    const now = this.#time.now();
    this.#calm.step();
    for (const pod of this.#kubelet.present()) {
      if (!pod.answers) pod.answersSinceMs = now;
      // An older key may still be in use.
      if (this.#facts.isLockedOut(pod)) pod.answersSinceMs = now + SECRET_MS;
    }
    // Between two events nothing changes but the time.
    if (!this.#isDirty && now - this.#checkedMs < 100) return this.#finding !== undefined;
    this.#isDirty = false;
    this.#checkedMs = now;
    this.#published.step();
    this.#writes.step();
    const calmMs = this.#chaos.endedMs;
    const isAtRest = calmMs !== undefined && this.#rest.step(calmMs);
    return isAtRest || this.#finding !== undefined;
  }

  #called(call: Call): void {
    this.#counts.calls++;
    if (call.kind !== "list") this.#chaos.called(call.host);
    const { host, pod, kind, name } = call;
    if (kind !== "list") this.#note(`${host.name} ${kind} ${name} on ${pod?.name}`);
    if (kind !== "list" && pod !== undefined) {
      // That it begins, and how it ends.
      for (let told = 0; told < 2; told++) this.#writes.caused(pod.keyOf(name));
    }
    this.#calls.called(call);
    this.#rest.called(call);
  }

  #changed(change: Change): void {
    this.#isDirty = true;
    const { plural, verb, subresource, before, after, actor } = change;
    const { name, resourceVersion } = (after ?? before)?.metadata ?? {};
    if (this.#trace !== undefined && plural !== "leases") {
      const what = subresource === undefined ? plural : `${plural}/${subresource}`;
      this.#note(`${actor} ${verb} ${what} ${name} ${resourceVersion} ${brief(after)}`);
    }
    this.#history.note(change);
    if (actor === "kubelet") this.#rest.disturbed();
    if (!actor.startsWith("controller")) {
      const object = after ?? before;
      const isOnes = plural !== "pods" && plural !== "secrets" && object !== undefined;
      this.#writes.caused(isOnes ? keyOf(object) : "");
      return;
    }
    if (plural !== "leases") {
      this.#counts.writes++;
      this.#rest.wrote(`${verb} ${plural} ${name}`);
    }
    if (plural === "leases") this.#calls.renewed(actor);
    this.#writes.written(change);
  }

  #heldChanged(pod: SimPod, name: string, before: HeldInEngine | undefined): void {
    this.#isDirty = true;
    const held = pod.engine.held.get(name);
    this.#note(`${pod.name} holds ${name}: ${held?.content ?? "no more"} ${held?.by ?? ""}`);
    this.#history.noteHeld(pod.keyOf(name));
    this.#writes.caused(pod.keyOf(name));
    const adapter = this.#facts.adapter(pod.keyOf(name));
    if (adapter === undefined) return;
    const isWanted = (one: HeldInEngine | undefined) =>
      this.#facts.isWanted(adapter, pod, one?.content);
    if (isWanted(before) || isWanted(held)) this.#retries.held(adapter, pod);
  }

  #report(invariant: string, text: string): void {
    this.#note(`VIOLATED ${invariant}: ${text}`);
    this.#finding ??= { invariant, text, atMs: this.#time.sinceStart() };
  }

  #note(text: string): void {
    this.#trace?.(`${(this.#time.sinceStart() / 1000).toFixed(3).padStart(9)} ${text}`);
  }
}

/** Some worlds see one kind of trouble, some see all. */
function familiesOf(dice: Dice): Set<Family> {
  const count = dice.int(1, FAMILIES.length);
  return new Set<Family>(["users", ...dice.shuffle(FAMILIES).slice(0, count)]);
}

function brief(object: unknown): string {
  if (object === undefined) return "gone";
  const { metadata, spec, status, endpoints, message, data } = object as Record<string, unknown>;
  const { annotations, finalizers, deletionTimestamp, labels } = metadata as Record<
    string,
    unknown
  >;
  const shown = { annotations, finalizers, deletionTimestamp, labels };
  return JSON.stringify({ ...shown, spec, status, endpoints, message, data });
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
