import { BadBody, type ModelField } from "./model-scanner.ts";

const HEADER_BYTES_MAX = 16 * 1024;
const MODEL_BYTES_MAX = 4096;
const CRLF = "\r\n";

/**
 * Finds the form field `model` of a multipart body (audio uploads) in chunks as they come. Files are
 * passed over without being kept.
 *
 *   --boundary CRLF headers CRLF CRLF content CRLF --boundary ... --boundary--
 */
export class MultipartScanner {
  /** What ends each part. The body begins as if one had just ended. */
  readonly #delimiter: Buffer;
  #pending = Buffer.from(CRLF);
  /** Where `#pending` begins in the body; the CRLF put before it counts below zero. */
  #offset = -CRLF.length;
  #state: "content" | "headers" | "end" = "content";
  #isModel = false;
  #contentStart = 0;
  #found: ModelField | undefined;

  constructor(boundary: string) {
    this.#delimiter = Buffer.from(`${CRLF}--${boundary}`);
  }

  get found(): ModelField | undefined {
    return this.#found;
  }

  /** @throws BadBody when the body cannot be routed; nothing may be pushed after that. */
  push(chunk: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#state === "headers" ? this.#headers() : this.#content());
  }

  /** The body is complete. @throws BadBody when it holds no model. */
  finish(): ModelField {
    if (this.#found !== undefined) return this.#found;
    throw new BadBody("you must provide a model: the form has no field `model`");
  }

  /** Reads up to the end of a part; false when more bytes are needed. */
  #content(): boolean {
    if (this.#state === "end") {
      this.#drop(this.#pending.length);
      return false;
    }
    const end = this.#pending.indexOf(this.#delimiter);
    if (end < 0) {
      if (this.#isModel) {
        if (this.#pending.length > MODEL_BYTES_MAX) {
          throw new BadBody("the field `model` is too long");
        }
        return false;
      }
      // A delimiter may have begun at the very end.
      this.#drop(Math.max(0, this.#pending.length - this.#delimiter.length));
      return false;
    }
    // Two more bytes tell the last delimiter from the others.
    if (this.#pending.length < end + this.#delimiter.length + 2) return false;
    if (this.#isModel) this.#endModel(end);
    const after = end + this.#delimiter.length;
    this.#state = this.#pending.toString("latin1", after, after + 2) === "--" ? "end" : "headers";
    this.#drop(after);
    return true;
  }

  #headers(): boolean {
    const end = this.#pending.indexOf(CRLF + CRLF);
    if (end < 0) {
      if (this.#pending.length > HEADER_BYTES_MAX)
        throw new BadBody("a form part's headers are too long");
      return false;
    }
    const headers = this.#pending.toString("utf8", 0, end);
    const disposition = /^content-disposition:(.*)$/im.exec(headers)?.[1] ?? "";
    this.#isModel = /;\s*name="?model"?\s*(;|$)/i.test(disposition.trim());
    this.#drop(end + 2 * CRLF.length);
    this.#contentStart = this.#offset;
    this.#state = "content";
    return true;
  }

  #endModel(length: number): void {
    this.#isModel = false;
    if (this.#found !== undefined) throw new BadBody("the field `model` is there twice");
    const value = this.#pending.toString("utf8", 0, length);
    if (value === "") throw new BadBody("you must provide a model: the field `model` is empty");
    this.#found = { value, start: this.#contentStart, end: this.#contentStart + length };
  }

  #drop(bytes: number): void {
    this.#pending = this.#pending.subarray(bytes);
    this.#offset += bytes;
  }
}

/** The boundary of a `multipart/form-data` content type; undefined for any other. */
export function boundaryOf(contentType: string | undefined): string | undefined {
  const match = /^multipart\/form-data\s*;(.*)$/is.exec(contentType ?? "");
  const boundary = /(?:^|;)\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(
    match?.[1] ?? "",
  );
  return boundary?.[1] ?? boundary?.[2];
}
