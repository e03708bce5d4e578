/** Runs beside each other on one machine have blocks of their own, most likely. */
const BLOCKS = 250;
const PER_BLOCK = 250;

/** Addresses of the loopback network, each given out once: one for each pod and process of a test. */
export class Addresses {
  #block = process.pid % BLOCKS;
  #last = 0;

  next(): string {
    if (this.#last === PER_BLOCK) {
      this.#block = (this.#block + 1) % BLOCKS;
      this.#last = 0;
    }
    return `127.30.${this.#block}.${++this.#last}`;
  }
}
