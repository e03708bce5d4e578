/** A pod: its engine, perhaps a sidecar, and how they can be reached. */
import type { Dice } from "./dice.ts";
import { type HeldListener, SimEngine } from "./sim-engine.ts";
import { type Incoming, SimSidecar, type Store } from "./sim-sidecar.ts";
import type { VirtualTime } from "./virtual-time.ts";

export type Reach = "ok" | "partitioned" | "hung" | "refused" | "unroutable";

export interface PodPlan {
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly engine: "vllm" | "sglang";
  readonly sidecar: "none" | "ours" | "aibrix";
}

export interface PodDeps {
  readonly time: VirtualTime;
  readonly dice: Dice;
  readonly store: Store;
  readonly onHeld: HeldListener;
}

export class SimPod {
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly engine: SimEngine;
  readonly sidecar: SimSidecar | undefined;
  uid = "";
  labels: Record<string, string> = {};
  restarts = 0;
  isGone = false;
  /** Answers to changes that are lost, 0 to 1. */
  lostShare = 0;
  /** Lists that fail, 0 to 1. */
  listErrorShare = 0;
  wasPartitioned = false;
  /** Since when the engine has answered lists without fail; in the future while it does not. */
  answersSinceMs = 0;
  #reach: Reach = "ok";
  #waiting: (() => void)[] = [];
  /** What the sidecar owes when it dies. */
  readonly #asked = new Set<() => void>();

  constructor(plan: PodPlan, deps: PodDeps) {
    this.name = plan.name;
    this.namespace = plan.namespace;
    this.ip = plan.ip;
    this.engine = new SimEngine(plan.engine, deps);
    if (plan.sidecar !== "none") {
      this.sidecar = new SimSidecar(this.engine, plan.sidecar === "ours", deps);
    }
  }

  /** The key of the adapter of this name that may be on the pod. */
  keyOf(adapter: string): string {
    return `${this.namespace}/${adapter}`;
  }

  get reach(): Reach {
    return this.#reach;
  }

  set reach(reach: Reach) {
    this.wasPartitioned = this.#reach === "partitioned";
    this.#reach = reach;
    if (reach === "partitioned" || reach === "hung") return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go();
  }

  /** The engine answers what it is asked, at once. */
  get answers(): boolean {
    const { engine, sidecar } = this;
    if (this.isGone || engine.isDown || sidecar?.isDown || this.#reach !== "ok") return false;
    return this.listErrorShare === 0;
  }

  onReachable(go: () => void): void {
    this.#waiting.push(go);
  }

  /** The sidecar's process ends. */
  stopSidecar(): void {
    if (this.sidecar === undefined) return;
    this.sidecar.isDown = true;
    this.sidecar.life++;
    for (const onDeath of this.#asked) onDeath();
    this.#asked.clear();
  }

  handle(port: string, incoming: Incoming, fail: (code: string) => void): void {
    if (port === "8080") {
      this.#askSidecar(incoming, fail);
      return;
    }
    const { engine } = this;
    const { path, body, authorization, by, isWanted, reply } = incoming;
    if (engine.isDown || port !== "8000") {
      fail("ECONNREFUSED");
      return;
    }
    if (!engine.mayEnter(authorization)) {
      reply({ status: 401, text: '{"error":"Unauthorized"}' });
      return;
    }
    const name = String(body?.["lora_name"]);
    if (body === undefined) {
      reply(engine.list());
      return;
    }
    if (path.endsWith("/unload_lora_adapter")) {
      reply(engine.unload(name));
      return;
    }
    const at = String(body["lora_path"]);
    const order = { name, path: at, content: at, inPlace: body["load_inplace"] === true, by };
    engine.load(order, isWanted, reply, () => fail("ECONNRESET"));
  }

  #askSidecar(incoming: Incoming, fail: (code: string) => void): void {
    const { sidecar } = this;
    if (sidecar === undefined || sidecar.isDown) {
      fail("ECONNREFUSED");
      return;
    }
    const onDeath = () => fail("ECONNRESET");
    this.#asked.add(onDeath);
    const reply: Incoming["reply"] = (said) => {
      this.#asked.delete(onDeath);
      incoming.reply(said);
    };
    sidecar.handle({ ...incoming, reply });
  }
}
