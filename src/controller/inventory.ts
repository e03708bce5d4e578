import type { Clock } from "#base/clock.ts";
import { Semaphore } from "#base/semaphore.ts";
import type { HeldAdapter } from "#engine/engine.ts";
import { EngineError } from "#engine/errors.ts";
import type { Engines, Place } from "./places.ts";
import { whileQuick } from "./slots.ts";

/** Lists under way at once, over all pods, of those that are not slow: engines that hang delay no others. */
const LISTS_MAX = 64;
const SLOW_MS = 500;
/** How long a list counts when the engine is only slow to give another one. */
const TRUST_MS = 10_000;

/** What is known of one adapter on one place. */
export type Answer =
  | { readonly state: "unasked" | "unknown" | "silent" | "absent" }
  | { readonly state: "listed"; readonly root: string | undefined };

/** Every adapter of a place, or these. */
export type Changed = "all" | readonly string[];

export interface InventoryDeps {
  readonly engines: Engines;
  readonly clock: Clock;
  /** All places to be asked now. */
  readonly places: () => readonly Place[];
  /** Keys for the engine, in the order in which they are tried; at least one, which may be no key. */
  readonly keysOf: (place: Place, signal: AbortSignal) => Promise<(string | undefined)[]>;
  readonly onChange: (place: Place, changed: Changed, answersAgain: boolean) => void;
}

/** What an answered load or unload told before a list could. */
interface Note {
  readonly order: number;
  readonly atMs: number;
  /** Undefined: the engine no longer has it. */
  readonly held: { readonly root: string | undefined } | undefined;
}

interface Entry {
  place: Place;
  state: "unasked" | "unknown" | "silent" | "listed";
  list: ReadonlyMap<string, string | undefined>;
  answeredAtMs: number;
  readonly notes: Map<string, Note>;
  revival: AbortController;
  /** The key that the engine took last. */
  key: string | undefined;
  /** Raised when what is being asked for may be of another life of the engine. */
  life: number;
  /** Settles when what is being asked for has come. */
  asking: Promise<void> | undefined;
  askAgain: boolean;
}

/**
 * What each engine holds, by asking it: one list a place and poll, whatever the number of adapters. An engine that does not answer
 * is silent, never empty.
 */
export class Inventory {
  readonly #deps: InventoryDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #slots = new Semaphore(LISTS_MAX);
  #order = 0;

  constructor(deps: InventoryDeps) {
    this.#deps = deps;
  }

  /** What is known of an adapter on a place. */
  answer(place: Place | undefined, adapter: string): Answer {
    const entry = place === undefined ? undefined : this.#entries.get(place.id);
    if (entry === undefined) return { state: "unasked" };
    const note = entry.notes.get(adapter);
    if (note !== undefined) {
      return note.held === undefined ? { state: "absent" } : { state: "listed", ...note.held };
    }
    if (entry.state !== "listed") return { state: entry.state };
    if (!entry.list.has(adapter)) return { state: "absent" };
    return { state: "listed", root: entry.list.get(adapter) };
  }

  /** Of each place, how long ago its engine gave a list, milliseconds. */
  ages(): { place: Place; ageMs: number }[] {
    const now = this.#deps.clock.now();
    return [...this.#entries.values()].map(({ place, answeredAtMs }) => ({
      place,
      ageMs: now - answeredAtMs,
    }));
  }

  /** The engines of a pod may have forgotten everything: a container or the pod's readiness changed. */
  doubt(podUid: string): void {
    for (const entry of this.#entries.values()) {
      if (!entry.place.id.startsWith(`${podUid} `)) continue;
      entry.life++;
      entry.state = "unknown";
      entry.list = new Map();
      entry.notes.clear();
    }
  }

  /**
   * Aborted when an engine that had fallen silent answers again: what it was asked before that is not answered any more, most likely.
   */
  revival(place: Place): AbortSignal {
    return this.#entry(place).revival.signal;
  }

  /** An unload succeeded, or a load, with this key if it was one. */
  note(place: Place, adapter: string, held: Note["held"], key?: string): void {
    const entry = this.#entry(place);
    entry.notes.set(adapter, { order: ++this.#order, atMs: this.#deps.clock.now(), held });
    if (held !== undefined) entry.key = key;
  }

  /** Asks all places every `pollMs` until `signal` is aborted. */
  async run(pollMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const places = this.#deps.places();
      const present = new Set(places.map(({ id }) => id));
      for (const id of this.#entries.keys()) if (!present.has(id)) this.#entries.delete(id);
      // A pod that hangs delays itself only: nobody waits for it here.
      for (const place of places) void this.ask(place, signal);
      await this.#deps.clock.sleep(pollMs, signal).catch(() => undefined);
    }
  }

  /** Asks one place now; when it is being asked already, a hint has it asked once more after that. Resolves with the answer. */
  ask(place: Place, signal: AbortSignal, isHint = false): Promise<void> {
    const entry = this.#entry(place);
    entry.place = place;
    if (entry.asking !== undefined) {
      entry.askAgain ||= isHint;
      return entry.asking;
    }
    entry.asking = this.#askUntilSure(entry, signal).finally(() => {
      entry.asking = undefined;
    });
    return entry.asking;
  }

  async #askUntilSure(entry: Entry, signal: AbortSignal): Promise<void> {
    do {
      entry.askAgain = false;
      await this.#askOnce(entry, signal);
    } while (entry.askAgain && !signal.aborted);
  }

  async #askOnce(entry: Entry, signal: AbortSignal): Promise<void> {
    const { life } = entry;
    const order = this.#order;
    try {
      const list = () => this.#list(entry, signal);
      const held = await whileQuick(this.#slots, this.#deps.clock, SLOW_MS, list, signal);
      if (entry.life === life) this.#take(entry, held, order);
      else entry.askAgain = true;
    } catch (error) {
      if (signal.aborted) return;
      if (entry.life === life) this.#miss(entry, error, order);
      else entry.askAgain = true;
    }
  }

  /**
   * Lists with each key in turn until one is taken: the wrong key of one adapter says nothing of the others. The one that was taken
   * last comes first, though its Secret may be gone or changed: the engine is still the one that was started with it.
   */
  async #list(entry: Entry, signal: AbortSignal): Promise<HeldAdapter[]> {
    const { engines, keysOf } = this.#deps;
    const { place } = entry;
    const keys = await keysOf(place, signal);
    const inOrder = new Set(entry.key === undefined ? keys : [entry.key, ...keys]);
    let refusal: unknown;
    for (const apiKey of inOrder) {
      try {
        const held = await engines[place.engine].inventory({ url: place.url, apiKey }, signal);
        entry.key = apiKey;
        return held;
      } catch (error) {
        if (!(error instanceof EngineError) || error.code !== "Unauthorized") throw error;
        refusal = error;
      }
    }
    throw refusal;
  }

  #take(entry: Entry, held: readonly HeldAdapter[], order: number): void {
    const before = new Map(entry.list);
    const wasListed = entry.state === "listed";
    const wasSilent = entry.state === "silent";
    for (const [name, note] of entry.notes) {
      // What was told before the list was asked for is in the list, or no longer so.
      if (note.order > order) continue;
      entry.notes.delete(name);
      if (note.held === undefined) before.delete(name);
      else before.set(name, note.held.root);
    }
    entry.list = new Map(held.map(({ name, root }) => [name, root]));
    entry.state = "listed";
    entry.answeredAtMs = this.#deps.clock.now();
    if (wasSilent) {
      entry.revival.abort();
      entry.revival = new AbortController();
    }
    const changed = wasListed ? differences(before, entry.list) : "all";
    if (changed.length > 0) this.#deps.onChange(entry.place, changed, wasSilent);
  }

  #miss(entry: Entry, error: unknown, order: number): void {
    // Nobody listens there any more: what it held is gone. Anything else may be a busy engine.
    const isDown =
      error instanceof EngineError &&
      error.code === "Unreachable" &&
      !/^timeout/.test(error.message);
    const isRecent = (ms: number) => !isDown && this.#deps.clock.now() - ms < TRUST_MS;
    if (entry.state === "listed" && isRecent(entry.answeredAtMs)) return;
    const old = [...entry.notes].filter(([, note]) => note.order <= order && !isRecent(note.atMs));
    for (const [name] of old) entry.notes.delete(name);
    const wasSilent = entry.state === "silent";
    entry.state = "silent";
    entry.list = new Map();
    // Why it does not answer is told by the load that fails, and by the pod's own readiness.
    const changed = wasSilent ? old.map(([name]) => name) : "all";
    if (changed.length > 0) this.#deps.onChange(entry.place, changed, false);
  }

  #entry(place: Place): Entry {
    const known = this.#entries.get(place.id);
    if (known !== undefined) return known;
    const fresh: Entry = {
      place,
      state: "unasked",
      list: new Map(),
      answeredAtMs: this.#deps.clock.now(),
      notes: new Map(),
      revival: new AbortController(),
      key: undefined,
      life: 0,
      asking: undefined,
      askAgain: false,
    };
    this.#entries.set(place.id, fresh);
    return fresh;
  }
}

function differences(
  a: ReadonlyMap<string, string | undefined>,
  b: ReadonlyMap<string, string | undefined>,
): string[] {
  const changed = [...b].filter(([name, root]) => !a.has(name) || a.get(name) !== root);
  const gone = [...a.keys()].filter((name) => !b.has(name));
  return [...changed.map(([name]) => name), ...gone];
}
