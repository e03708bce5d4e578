/** An inference engine as its HTTP callers see it, in the words that real ones were recorded with. */
import type { EngineAnswer } from "#engine/http.ts";
import type { Dice } from "./dice.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** An adapter that the engine has. */
export interface HeldInEngine {
  readonly path: string;
  /** What the files were: tells versions apart that lie at the same path. */
  readonly content: string;
  /** Who loaded it last. */
  readonly by: string;
}

/** Refuses loads for a while. */
export interface Refusal {
  /** Of this adapter only. */
  readonly name: string | undefined;
  readonly status: number;
  readonly words: string;
  readonly isFinal: boolean;
}

export interface LoadOrder {
  readonly name: string;
  readonly path: string;
  readonly content: string;
  readonly inPlace: boolean;
  readonly by: string;
}

/** What the engine held changed: `before` and `after` are what it has under the name. */
export type HeldListener = (
  name: string,
  before: HeldInEngine | undefined,
  after: HeldInEngine | undefined,
) => void;

export class SimEngine {
  readonly kind: "vllm" | "sglang";
  readonly held = new Map<string, HeldInEngine>();
  refusals: Refusal[] = [];
  apiKey: string | undefined;
  /** How long loads take. */
  loadMs: [number, number] = [5, 200];
  isDown = false;
  /** Raised by a restart: what was under way before is of no effect. */
  life = 0;
  readonly #time: VirtualTime;
  readonly #dice: Dice;
  readonly #onHeld: HeldListener;
  #capacity = Number.POSITIVE_INFINITY;
  /** Those who wait for a load to end. */
  readonly #waiting = new Set<() => void>();

  constructor(
    kind: "vllm" | "sglang",
    deps: { time: VirtualTime; dice: Dice; onHeld: HeldListener },
  ) {
    this.kind = kind;
    this.#time = deps.time;
    this.#dice = deps.dice;
    this.#onHeld = deps.onHeld;
  }

  /** The process ends: all is forgotten. */
  stop(): void {
    this.isDown = true;
    this.life++;
    for (const name of [...this.held.keys()]) this.set(name, undefined);
    for (const onDeath of this.#waiting) onDeath();
    this.#waiting.clear();
  }

  set(name: string, after: HeldInEngine | undefined): void {
    const before = this.held.get(name);
    if (after === undefined) this.held.delete(name);
    else this.held.set(name, after);
    if (before !== after) this.#onHeld(name, before, after);
  }

  mayEnter(authorization: string | undefined): boolean {
    return this.apiKey === undefined || authorization === `Bearer ${this.apiKey}`;
  }

  list(): EngineAnswer {
    const base = { id: "base", object: "model", root: "/models/base", parent: null };
    const adapters = [...this.held].map(([id, { path: root }]) => ({
      id,
      object: "model",
      root,
      parent: "base",
    }));
    return answer(200, { object: "list", data: [base, ...adapters] });
  }

  /** Answers when the load has ended; `onDeath`: the process ended before. `isWanted` turns false when the caller has gone. */
  load(
    order: LoadOrder,
    isWanted: () => boolean,
    reply: (answer: EngineAnswer) => void,
    onDeath: () => void,
  ): void {
    const { life } = this;
    const { name, path, content, by } = order;
    const taken = this.held.get(name);
    if (taken !== undefined && !order.inPlace) {
      reply(this.#taken(name));
      return;
    }
    const refusal = this.refusals.find((one) => one.name === undefined || one.name === name);
    const [min, max] = this.loadMs;
    this.#waiting.add(onDeath);
    this.#time.after(this.#dice.int(min, max), () => {
      this.#waiting.delete(onDeath);
      if (this.life !== life) return;
      // A server may or may not notice that nobody waits for its answer any more.
      if (!isWanted() && this.#dice.chance(0.5)) return;
      if (refusal !== undefined) {
        reply(this.#error(refusal.status, refusal.words));
        return;
      }
      if (this.held.has(name) && !order.inPlace) {
        reply(this.#taken(name));
        return;
      }
      this.set(name, { path, content, by });
      this.#evict(name);
      reply(
        this.kind === "sglang"
          ? answer(200, { success: true })
          : { status: 200, text: `Success: LoRA adapter '${name}' added successfully.` },
      );
    });
  }

  /** With more adapters than this it drops the oldest, and says so to nobody. */
  set capacity(capacity: number) {
    this.#capacity = capacity;
    this.#evict(undefined);
  }

  #evict(newest: string | undefined): void {
    for (const name of [...this.held.keys()]) {
      if (this.held.size > this.#capacity && name !== newest) this.set(name, undefined);
    }
  }

  unload(name: string): EngineAnswer {
    if (!this.held.has(name)) {
      return this.kind === "sglang"
        ? this.#error(400, `LoRA adapter with name ${name} is not loaded yet`)
        : this.#error(404, `The lora adapter '${name}' cannot be found.`);
    }
    this.set(name, undefined);
    return this.kind === "sglang"
      ? answer(200, { success: true })
      : { status: 200, text: `Success: LoRA adapter '${name}' removed successfully.` };
  }

  #taken(name: string): EngineAnswer {
    return this.#error(
      400,
      this.kind === "sglang"
        ? `LoRA with name ${name} already exists`
        : `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
    );
  }

  #error(status: number, words: string): EngineAnswer {
    return this.kind === "sglang"
      ? answer(status, { success: false, error_message: words })
      : answer(status, { error: { message: words, type: "Error", param: null, code: status } });
  }
}

export function answer(status: number, body: object): EngineAnswer {
  return { status, text: JSON.stringify(body) };
}
