/** Longest raw text of a model's name, quotes and escapes included. */
const MODEL_BYTES_MAX = 4096;
/** A key that means `model` has at most 32 raw bytes: six letters or escapes like `\u006d`, and quotes. */
const KEY_BYTES_MAX = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** The top-level `model` of a JSON body. */
export interface ModelField {
  readonly value: string;
  /** Where its text, quotes included, begins and ends in the body, in bytes. */
  readonly start: number;
  readonly end: number;
}

/** What is wrong with a body, in a sentence for whoever sent it. */
export class BadBody extends Error {
  override readonly name = "BadBody";
}

type State =
  | "start"
  | "first-key"
  | "key"
  | "colon"
  | "value"
  | "skip-string"
  | "nested"
  | "nested-string"
  | "scalar"
  | "comma"
  | "end";

/**
 * Finds the top-level `model` of a JSON object in chunks as they come, without building the object.
 * It follows strings, escapes and nesting exactly and leaves everything below the top level to the
 * engine's own parser, which sees the same bytes.
 */
export class ModelScanner {
  #state: State = "start";
  #offset = 0;
  #depth = 0;
  /** True when the chunk before ended within a string after an odd number of backslashes. */
  #isEscaped = false;
  /** The raw text of the string that is being collected (a top-level key, the model), without its opening quote. */
  #collected: Buffer[] | undefined;
  #collectedBytes = 0;
  #stringStart = 0;
  #isModelKey = false;
  #found: ModelField | undefined;

  /** The field, as soon as its value has been seen. */
  get found(): ModelField | undefined {
    return this.#found;
  }

  /** @throws BadBody when the body cannot be routed; nothing may be pushed after that. */
  push(chunk: Buffer): void {
    let index = 0;
    while (index < chunk.length) index = this.#step(chunk, index);
    this.#offset += chunk.length;
  }

  /** The body is complete. @throws BadBody when it holds no model. */
  finish(): ModelField {
    if (this.#found !== undefined) return this.#found;
    if (this.#state !== "end") throw notJson("it ends too early");
    throw new BadBody("you must provide a model: the field `model` is missing");
  }

  /** Goes on from `index`; returns where the next step begins. */
  #step(chunk: Buffer, index: number): number {
    switch (this.#state) {
      case "key":
      case "skip-string":
      case "nested-string":
        return this.#string(chunk, index);
      case "nested":
        return this.#nested(chunk, index);
      case "scalar":
        return this.#scalar(chunk, index);
      case "end":
        return chunk.length;
      default:
        return this.#token(chunk, index);
    }
  }

  /** One significant byte at the top level. */
  #token(chunk: Buffer, index: number): number {
    const byte = chunk[index] as number;
    if (isSpace(byte)) return index + 1;
    switch (this.#state) {
      case "start":
        return this.#start(byte, index);
      case "first-key":
        if (byte === CLOSE_OBJECT) this.#state = "end";
        else this.#beginKey(byte, index);
        return index + 1;
      case "comma":
        if (byte === CLOSE_OBJECT) this.#state = "end";
        else if (byte === COMMA) this.#state = "first-key";
        else throw notJson("a comma is missing");
        return index + 1;
      case "colon":
        if (byte !== COLON) throw notJson("a colon is missing");
        this.#state = "value";
        return index + 1;
      default:
        return this.#value(byte, index);
    }
  }

  #start(byte: number, index: number): number {
    const at = this.#offset + index;
    if (at < 3 && byte === BYTE_ORDER_MARK[at]) return index + 1;
    if (byte !== OPEN_OBJECT) throw notJson("it must be an object");
    this.#state = "first-key";
    return index + 1;
  }

  #beginKey(byte: number, index: number): void {
    if (byte !== QUOTE) throw notJson("a key is missing");
    this.#state = "key";
    this.#collect(index);
  }

  #value(byte: number, index: number): number {
    if (byte === QUOTE) {
      this.#state = "skip-string";
      if (this.#isModelKey) this.#collect(index);
      return index + 1;
    }
    if (this.#isModelKey) throw new BadBody("the field `model` must be a string");
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      this.#state = "nested";
      this.#depth = 1;
      return index + 1;
    }
    if (byte === COMMA || byte === COLON || byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
      throw notJson("a value is missing");
    }
    this.#state = "scalar";
    return index + 1;
  }

  /** The rest of a number, true, false or null. */
  #scalar(chunk: Buffer, index: number): number {
    const byte = chunk[index] as number;
    if (byte === COMMA || byte === CLOSE_OBJECT || isSpace(byte)) {
      this.#state = "comma";
      return index;
    }
    return index + 1;
  }

  #nested(chunk: Buffer, index: number): number {
    for (let at = index; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte === QUOTE) {
        this.#state = "nested-string";
        return at + 1;
      }
      if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#depth++;
      else if ((byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) && --this.#depth === 0) {
        this.#state = "comma";
        return at + 1;
      }
    }
    return chunk.length;
  }

  /** Inside a string: jumps from quote to quote, because prompts are long and quotes are few. */
  #string(chunk: Buffer, index: number): number {
    let from = index;
    for (;;) {
      const quote = chunk.indexOf(QUOTE, from);
      const end = quote < 0 ? chunk.length : quote;
      // Backslashes before the quote, those of the chunk before included.
      let run = 0;
      while (end - run > index && chunk[end - run - 1] === BACKSLASH) run++;
      const isEscaped = (run % 2 === 1) !== (this.#isEscaped && run === end - index);
      if (quote < 0) {
        this.#keep(chunk.subarray(index));
        this.#isEscaped = isEscaped;
        return chunk.length;
      }
      if (!isEscaped) {
        this.#keep(chunk.subarray(index, quote));
        this.#isEscaped = false;
        this.#endString(quote);
        return quote + 1;
      }
      from = quote + 1;
    }
  }

  #endString(quote: number): void {
    switch (this.#state) {
      case "key":
        this.#isModelKey = this.#text() === "model";
        this.#state = "colon";
        return;
      case "nested-string":
        this.#state = "nested";
        return;
      default:
        this.#state = "comma";
        if (this.#isModelKey) this.#endModel(quote);
    }
  }

  #endModel(quote: number): void {
    const value = this.#text();
    if (value === undefined) throw new BadBody("the field `model` is not a valid string");
    if (this.#found !== undefined) throw new BadBody("the field `model` is there twice");
    if (value === "") throw new BadBody("you must provide a model: the field `model` is empty");
    this.#found = { value, start: this.#stringStart, end: this.#offset + quote + 1 };
  }

  #collect(index: number): void {
    this.#collected = [];
    this.#collectedBytes = 0;
    this.#stringStart = this.#offset + index;
  }

  #keep(part: Buffer): void {
    if (this.#collected === undefined) return;
    this.#collectedBytes += part.length;
    const limit = this.#state === "key" ? KEY_BYTES_MAX : MODEL_BYTES_MAX;
    if (this.#collectedBytes <= limit) this.#collected.push(part);
    else if (this.#state !== "key") throw new BadBody("the field `model` is too long");
  }

  /** The collected string; undefined when it is too long to matter or no valid JSON. */
  #text(): string | undefined {
    const raw = this.#collected ?? [];
    const limit = this.#state === "key" ? KEY_BYTES_MAX : MODEL_BYTES_MAX;
    this.#collected = undefined;
    if (this.#collectedBytes > limit) return undefined;
    try {
      return JSON.parse(`"${Buffer.concat(raw).toString("utf8")}"`) as string;
    } catch {
      return undefined;
    }
  }
}

const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

const notJson = (why: string) =>
  new BadBody(`we could not parse the JSON body of your request: ${why}`);
