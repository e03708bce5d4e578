/**
 * Where concurrent tests wait for one another, because what comes next (a controller that ends or begins) happens to all of them.
 * Whoever is done, or fails, leaves.
 */
export class Meeting {
  readonly #steps: (() => Promise<void>)[];
  #expected: number;
  #waiting: PromiseWithResolvers<void>[] = [];

  constructor(expected: number, steps: readonly (() => Promise<void>)[]) {
    this.#expected = expected;
    this.#steps = [...steps];
  }

  /** Waits until all are here and the next step is done. */
  async arrive(): Promise<void> {
    const here = Promise.withResolvers<void>();
    this.#waiting.push(here);
    this.#go();
    await here.promise;
  }

  leave(): void {
    this.#expected--;
    this.#go();
  }

  #go(): void {
    const all = this.#waiting;
    if (all.length === 0 || all.length < this.#expected) return;
    this.#waiting = [];
    const step = this.#steps.shift();
    const done = step === undefined ? Promise.reject(new Error("no step is left")) : step();
    const settle = (how: (one: PromiseWithResolvers<void>) => void) => all.forEach(how);
    done.then(
      () => settle((one) => one.resolve()),
      (error: unknown) => settle((one) => one.reject(error)),
    );
  }
}
