/** Once all is well it stays so: nothing is written and engines are asked at the pace of polls. */
import type { Call } from "../engine-network.ts";
import type { CheckContext } from "./context.ts";
import type { SettledChecks } from "./settled.ts";

const STEADY_MS = 15_000;
/** Polls of that time, with both ends, and what a controller asks when it starts. */
const LISTS_MAX = 10;
/** However many times an attempt every five minutes was needed. */
const CALM_MS_MAX = 900_000;

export class RestChecks {
  readonly #context: CheckContext;
  readonly #settled: SettledChecks;
  /** Since when all is as it should be. */
  #sinceMs: number | undefined;
  /** What controllers have done since then. */
  #lists = new Map<string, number>();
  #acts: string[] = [];

  constructor(context: CheckContext, settled: SettledChecks) {
    this.#context = context;
    this.#settled = settled;
  }

  called({ kind, name, ip: at, key }: Call): void {
    // An engine that takes no key is asked with each that there is, at each poll.
    const asked = `${at} ${key}`;
    if (kind === "list") this.#lists.set(asked, (this.#lists.get(asked) ?? 0) + 1);
    else this.#acts.push(`${kind} ${name} on ${at}`);
  }

  wrote(what: string): void {
    this.#acts.push(what);
  }

  /** A pod changed: what follows from it is no unrest. */
  disturbed(): void {
    this.#sinceMs = undefined;
  }

  /** True when the world is at rest, `calmMs` being when the last disturbance ended. */
  step(calmMs: number): boolean {
    const { time, report } = this.#context;
    const now = time.now();
    if (now - calmMs > CALM_MS_MAX) {
      report("not-converged", `the world never came to rest: ${this.#acts.slice(-8).join("; ")}`);
    }
    if (!this.#settled.step(calmMs)) {
      this.#sinceMs = undefined;
      return false;
    }
    if (this.#sinceMs === undefined) this.#begin(now);
    else if (now - this.#sinceMs > STEADY_MS) {
      // What happened last may still be told: the next stretch must be quiet.
      if (this.#acts.length > 0) this.#begin(now);
      else return this.#end();
    }
    return false;
  }

  #begin(now: number): void {
    this.#sinceMs = now;
    this.#lists.clear();
    this.#acts = [];
  }

  #end(): boolean {
    for (const [pod, count] of this.#lists) {
      if (count <= LISTS_MAX) continue;
      this.#context.report("too-many-lists", `${count} of ${pod} while nothing happened`);
    }
    return true;
  }
}
