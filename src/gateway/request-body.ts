import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { BodyTooLarge } from "#serve/body.ts";
import type { ModelField } from "./model-scanner.ts";

/** What finds the model in the bytes as they pass. */
export interface BodyScanner {
  readonly found: ModelField | undefined;
  push(chunk: Buffer): void;
  finish(): ModelField;
}

/** The body for one try, ready for undici. */
export interface BodyForTry {
  readonly body: Buffer | Readable;
  /** undefined: unknown, to be sent in chunks. */
  readonly lengthBytes: number | undefined;
}

/**
 * A request's body on its way through: read up to the model, then handed on while it still comes. What
 * has been read is kept for another try, up to `replayBytesMax`.
 */
export class RequestBody {
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #scanner: BodyScanner;
  readonly #bytesMax: number;
  readonly #replayBytesMax: number;
  readonly #declaredBytes: number | undefined;
  #kept: Buffer[] = [];
  #readBytes = 0;
  #isComplete = false;
  #isReplayable = true;
  #pulling: Promise<boolean> | undefined;
  #error: unknown;

  constructor(
    request: IncomingMessage,
    scanner: BodyScanner,
    limits: { bytesMax: number; replayBytesMax: number },
  ) {
    this.#chunks = request.iterator({ destroyOnReturn: false });
    this.#scanner = scanner;
    this.#bytesMax = limits.bytesMax;
    this.#replayBytesMax = limits.replayBytesMax;
    const declared = request.headers["content-length"];
    this.#declaredBytes = declared === undefined ? undefined : Number(declared);
  }

  get readBytes(): number {
    return this.#readBytes;
  }

  /** True when everything has been read. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** False once a try has passed on more than is kept: there can be no further one. */
  get isReplayable(): boolean {
    return this.#isReplayable;
  }

  /** What went wrong with the body itself while it was passed on: too long, a second model. */
  get error(): unknown {
    return this.#error;
  }

  /**
   * Reads until the model is known; what has come by then is not handed on before.
   * @throws BadBody, BodyTooLarge, or the error of a client that went away.
   */
  async readModel(): Promise<ModelField> {
    if (this.#declaredBytes !== undefined && this.#declaredBytes > this.#bytesMax) {
      throw new BodyTooLarge(this.#bytesMax);
    }
    while (this.#scanner.found === undefined && (await this.#pull()));
    return this.#scanner.finish();
  }

  /** The body from its beginning, with the model written as `model`. */
  forTry(field: ModelField, model: Buffer | undefined): BodyForTry {
    const change = model === undefined ? 0 : model.length - (field.end - field.start);
    if (this.#isComplete) {
      const body = Buffer.concat([...splice(this.#kept, field, model)]);
      return { body, lengthBytes: body.length };
    }
    const declared = this.#declaredBytes;
    return {
      body: Readable.from(this.#stream(field, model), { objectMode: false }),
      lengthBytes: declared === undefined ? undefined : declared + change,
    };
  }

  /** Nobody wants the rest; resolves when a read that is under way has ended. */
  async stop(): Promise<void> {
    await this.#chunks.return?.().catch(() => {});
  }

  async *#stream(field: ModelField, model: Buffer | undefined): AsyncGenerator<Buffer> {
    yield* splice(this.#kept, field, model);
    let sent = this.#kept.length;
    for (;;) {
      while (sent < this.#kept.length) yield this.#kept[sent++] as Buffer;
      if (this.#readBytes > this.#replayBytesMax && this.#kept.length > 0) {
        // Too much to keep: from here on this try is the only one.
        this.#isReplayable = false;
        this.#kept = [];
        sent = 0;
      }
      if (!(await this.#pull())) return;
    }
  }

  /** Reads one chunk into `#kept`; false at the end. Tries that overlap share one read. */
  #pull(): Promise<boolean> {
    this.#pulling ??= this.#pullOnce().finally(() => {
      this.#pulling = undefined;
    });
    return this.#pulling;
  }

  async #pullOnce(): Promise<boolean> {
    if (this.#isComplete) return false;
    try {
      const next = await this.#chunks.next();
      if (next.done === true) {
        this.#isComplete = true;
        return false;
      }
      const chunk = next.value;
      this.#readBytes += chunk.length;
      if (this.#readBytes > this.#bytesMax) throw new BodyTooLarge(this.#bytesMax);
      this.#scanner.push(chunk);
      this.#kept.push(chunk);
      // The end itself comes as an event of its own, which most requests need not wait for.
      if (this.#readBytes === this.#declaredBytes) {
        this.#isComplete = true;
        void this.stop();
      }
      return true;
    } catch (error) {
      this.#error = error;
      throw error;
    }
  }
}

/** `chunks` with the bytes of `field` replaced; the field lies within them. */
function* splice(
  chunks: readonly Buffer[],
  field: ModelField,
  model: Buffer | undefined,
): Generator<Buffer> {
  if (model === undefined) {
    yield* chunks;
    return;
  }
  let offset = 0;
  for (const chunk of chunks) {
    const end = offset + chunk.length;
    if (offset < field.start) yield chunk.subarray(0, Math.min(chunk.length, field.start - offset));
    // The new text goes where the old one began.
    if (offset <= field.start && field.start < end) yield model;
    if (end > field.end) yield chunk.subarray(Math.max(0, field.end - offset));
    offset = end;
  }
}
