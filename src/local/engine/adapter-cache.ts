import type { AdapterWeights } from "./llama.ts";

/** An adapter by number: the number is the engine's, a name that is loaded anew gets a new one. */
export type AdapterRef = { id: number; name: string; folder: string };

/**
 * The adapters in memory, the least recently used one forgotten first. A loaded adapter is known to
 * the server by name, not certain to be in memory: when it was forgotten, its next use reads its
 * files again.
 */
export class AdapterCache {
  readonly #capacity: number;
  readonly #read: (folder: string) => AdapterWeights;
  readonly #resident = new Map<number, AdapterWeights>();
  /** Where an adapter lies now, when a load in place has moved it since a request was made. */
  readonly #moved = new Map<number, string>();

  constructor(capacity: number, read: (folder: string) => AdapterWeights) {
    this.#capacity = capacity;
    this.#read = read;
  }

  /** Reads an adapter anew and makes it the current one of its number; nothing changes when that fails. */
  load(ref: AdapterRef): AdapterWeights {
    const weights = this.#read(ref.folder);
    this.#resident.delete(ref.id);
    while (this.#resident.size >= this.#capacity) {
      const oldest = this.#resident.keys().next();
      if (oldest.done) break;
      this.#resident.delete(oldest.value);
    }
    this.#resident.set(ref.id, weights);
    this.#moved.set(ref.id, ref.folder);
    return weights;
  }

  /** The weights of an adapter, from memory or from its files. @throws when they cannot be read */
  use(ref: AdapterRef): AdapterWeights {
    const weights = this.#resident.get(ref.id);
    if (weights === undefined) {
      return this.load({ ...ref, folder: this.#moved.get(ref.id) ?? ref.folder });
    }
    this.#resident.delete(ref.id);
    this.#resident.set(ref.id, weights);
    return weights;
  }

  /** The name of an adapter was taken off the list; its weights stay until others need the place. */
  forgetPlace(id: number): void {
    this.#moved.delete(id);
  }
}
