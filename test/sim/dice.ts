import { hash32 } from "#base/hash.ts";
import { seededRandom } from "./random.ts";

/** Chance from a seed: each part of a world has dice of its own, so that one more throw in one leaves the others as they were. */
export class Dice {
  readonly random: () => number;

  constructor(seed: number, about: string) {
    this.random = seededRandom(hash32(`${seed} ${about}`));
  }

  chance(share: number): boolean {
    return this.random() < share;
  }

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.random() * (max - min + 1));
  }

  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new Error("bug: nothing to pick from");
    return list[this.int(0, list.length - 1)] as T;
  }

  /** One of a list, or undefined when it is empty. */
  maybe<T>(list: readonly T[]): T | undefined {
    return list.length === 0 ? undefined : this.pick(list);
  }

  /** A pause whose mean is `ms`, as between calls that know nothing of one another. */
  pauseMs(ms: number): number {
    return Math.ceil(-Math.log(1 - this.random()) * ms);
  }

  shuffle<T>(list: readonly T[]): T[] {
    return list
      .map((one) => ({ one, at: this.random() }))
      .sort((a, b) => a.at - b.at)
      .map(({ one }) => one);
  }
}
