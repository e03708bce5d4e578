/** Time that passes only from one event to the next. */

interface Timer {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

const START_MS = Date.UTC(2026, 0, 1);

export class VirtualTime {
  #nowMs = START_MS;
  #order = 0;
  /** A binary heap: the earliest first, and of equals the one that was there first. */
  readonly #heap: Timer[] = [];

  now(): number {
    return this.#nowMs;
  }

  /** Milliseconds since the beginning. */
  sinceStart(): number {
    return this.#nowMs - START_MS;
  }

  /** Calls `run` once after `ms`; returns what cancels it. */
  after(ms: number, run: () => void): () => void {
    const timer: Timer = {
      atMs: this.#nowMs + Math.max(0, Math.ceil(ms)),
      order: this.#order++,
      run,
    };
    this.#push(timer);
    return () => {
      timer.run = undefined;
    };
  }

  /** Runs event after event, and whatever promises each sets off, until `isOver`, which is asked after each. */
  async run(isOver: () => boolean): Promise<void> {
    for (;;) {
      const timer = this.#pop();
      if (timer === undefined) return;
      if (timer.run === undefined) continue;
      this.#nowMs = timer.atMs;
      timer.run();
      // All promises that are decided run to their end before the event loop comes to this.
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (isOver()) return;
    }
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let index = heap.push(timer) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(timer, heap[parent])) break;
      heap[index] = heap[parent] as Timer;
      index = parent;
    }
    heap[index] = timer;
  }

  #pop(): Timer | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const right = left + 1;
      const child = right < heap.length && isBefore(heap[right], heap[left]) ? right : left;
      if (child >= heap.length || !isBefore(heap[child], last)) break;
      heap[index] = heap[child] as Timer;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function isBefore(a: Timer | undefined, b: Timer | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
