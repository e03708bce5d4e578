import { abortReason } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";
import type { Dice } from "./dice.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** Where processes run, one after another. */
export interface Machine {
  /** How far its clock is ahead of the time. */
  skewMs: number;
}

/** A process: it can stand still for a while, and it can be killed. What reaches it from outside goes through `deliver`. */
export class Host {
  readonly name: string;
  readonly clock: Clock;
  readonly #time: VirtualTime;
  readonly #dice: Dice;
  #state: "running" | "paused" | "dead" = "running";
  /** What came while it stood still. */
  #held: { isTimer: boolean; run: () => void }[] = [];

  constructor(name: string, machine: Machine, time: VirtualTime, dice: Dice) {
    this.name = name;
    this.#time = time;
    this.#dice = dice;
    const atStartMs = machine.skewMs;
    const after = (ms: number, run: () => void) => time.after(ms, () => this.#take(true, run));
    this.clock = {
      now: () => time.now() + atStartMs,
      offsetMs: () => machine.skewMs - atStartMs,
      after,
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) {
            reject(abortReason(signal));
            return;
          }
          const leave = () => {
            cancel();
            reject(abortReason(signal as AbortSignal));
          };
          const cancel = after(ms, () => {
            signal?.removeEventListener("abort", leave);
            resolve();
          });
          signal?.addEventListener("abort", leave, { once: true });
        }),
    };
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  get isDead(): boolean {
    return this.#state === "dead";
  }

  /** Something comes from the network. */
  deliver(run: () => void): void {
    this.#take(false, run);
  }

  pause(): void {
    if (this.#state === "running") this.#state = "paused";
  }

  /** What came meanwhile follows: a process that wakes up may see its timers first, or what the network brought. */
  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "running";
    const timersFirst = this.#dice.chance(0.5);
    const held = this.#held;
    this.#held = [];
    const inOrder = [
      ...held.filter((one) => one.isTimer === timersFirst),
      ...held.filter((one) => one.isTimer !== timersFirst),
    ];
    for (const { isTimer, run } of inOrder) this.#time.after(0, () => this.#take(isTimer, run));
  }

  kill(): void {
    this.#state = "dead";
    this.#held = [];
  }

  #take(isTimer: boolean, run: () => void): void {
    if (this.#state === "running") run();
    else if (this.#state === "paused") this.#held.push({ isTimer, run });
  }
}
