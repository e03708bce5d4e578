import type { Tokenizer } from "./tokenizer.ts";

/** What ends a text, from the request. */
export type StopRules = {
  /** Texts that end the generation when they appear. */
  stop: string[];
  /** Keep the stop text in the answer. */
  includeStop: boolean;
  /** Stop texts do not count before this many tokens. */
  minTokens: number;
  skipSpecialTokens: boolean;
};

const REPLACEMENT = "\ufffd";

/**
 * Turns the tokens of one sequence into text as they come. A character of several tokens appears
 * when its last byte is there; text that may still become a stop text is held back.
 */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #rules: StopRules;
  readonly #heldBack: number;
  #pending: Uint8Array = new Uint8Array(0);
  #text = "";
  #sent = 0;
  #tokens = 0;

  constructor(tokenizer: Tokenizer, rules: StopRules) {
    this.#tokenizer = tokenizer;
    this.#rules = rules;
    const longest = Math.max(0, ...rules.stop.map((text) => text.length));
    this.#heldBack = rules.includeStop || longest === 0 ? 0 : longest - 1;
  }

  /** Adds a token; returns the stop text that has now appeared, if any: generation ends there. */
  push(id: number): string | undefined {
    this.#tokens++;
    const before = this.#text.length;
    if (!(this.#rules.skipSpecialTokens && this.#tokenizer.isSpecial(id))) this.#append(id);
    if (this.#text.length === before || this.#tokens <= this.#rules.minTokens) return undefined;
    return this.#cutAtStop(before);
  }

  /** The text since the last call; with `finished`, what was held back too. */
  take(finished: boolean): string {
    const end = finished
      ? this.#text.length
      : Math.max(this.#sent, this.#text.length - this.#heldBack);
    const part = this.#text.slice(this.#sent, end);
    this.#sent = end;
    return part;
  }

  #append(id: number): void {
    const bytes = this.#tokenizer.bytesOf(id);
    const joined = new Uint8Array(this.#pending.length + bytes.length);
    joined.set(this.#pending);
    joined.set(bytes, this.#pending.length);
    const text = decodeUtf8(joined);
    // An unfinished character decodes to the replacement sign: wait for the rest of its bytes.
    if (text.endsWith(REPLACEMENT)) this.#pending = joined;
    else {
      this.#pending = new Uint8Array(0);
      this.#text += text;
    }
  }

  #cutAtStop(before: number): string | undefined {
    for (const stop of this.#rules.stop) {
      const at = this.#text.indexOf(stop, Math.max(0, before - stop.length + 1));
      if (at < 0) continue;
      this.#text = this.#text.slice(0, this.#rules.includeStop ? at + stop.length : at);
      return stop;
    }
    return undefined;
  }
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Bytes as text; what is not UTF-8 becomes the replacement sign. */
export function decodeUtf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}
