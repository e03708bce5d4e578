import { BadBody, ModelScanner } from "./model-scanner.ts";

/** A JSON answer or a line of a stream that is longer than this passes as it is. */
const REWRITE_BYTES_MAX = 4 * 1024 * 1024;
const NEWLINE = 0x0a;
const DATA = "data:";

/** Changes an answer on its way to the caller. */
export interface AnswerRewriter {
  push(chunk: Buffer): Buffer[];
  end(): Buffer[];
}

/**
 * Names the model in the answer as the caller named it, where the engine knows it by another name;
 * undefined for answers that name no model (audio, compressed ones).
 */
export function answerRewriter(
  contentType: string,
  contentEncoding: string | undefined,
  model: string,
): AnswerRewriter | undefined {
  if (contentEncoding !== undefined && contentEncoding !== "identity") return undefined;
  const name = Buffer.from(JSON.stringify(model));
  if (/^application\/json\b/i.test(contentType)) return jsonRewriter(name);
  if (/^text\/event-stream\b/i.test(contentType)) return eventStreamRewriter(name);
  return undefined;
}

function jsonRewriter(name: Buffer): AnswerRewriter {
  let held: Buffer[] | undefined = [];
  let heldBytes = 0;
  return {
    push: (chunk) => {
      if (held === undefined) return [chunk];
      held.push(chunk);
      heldBytes += chunk.length;
      if (heldBytes <= REWRITE_BYTES_MAX) return [];
      const all = held;
      held = undefined;
      return all;
    },
    end: () => (held === undefined ? [] : [renamed(Buffer.concat(held), 0, name)]),
  };
}

/** Each event's data is an object of its own; a line leaves as soon as it is complete. */
function eventStreamRewriter(name: Buffer): AnswerRewriter {
  let pending: Buffer = Buffer.alloc(0);
  const line = (bytes: Buffer) =>
    bytes.toString("latin1", 0, DATA.length) === DATA ? renamed(bytes, DATA.length, name) : bytes;
  return {
    push: (chunk) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      const complete: Buffer[] = [];
      let start = 0;
      for (let end = pending.indexOf(NEWLINE); end >= 0; end = pending.indexOf(NEWLINE, start)) {
        complete.push(line(pending.subarray(start, end + 1)));
        start = end + 1;
      }
      pending = pending.subarray(start);
      if (pending.length > REWRITE_BYTES_MAX) {
        complete.push(pending);
        pending = Buffer.alloc(0);
      }
      return complete;
    },
    end: () => (pending.length === 0 ? [] : [pending]),
  };
}

/** `bytes` with the top-level model of the object that begins at `from` replaced, if it has one. */
function renamed(bytes: Buffer, from: number, name: Buffer): Buffer {
  const scanner = new ModelScanner();
  try {
    scanner.push(bytes.subarray(from));
  } catch (error) {
    if (error instanceof BadBody) return bytes;
    throw error;
  }
  const field = scanner.found;
  if (field === undefined) return bytes;
  return Buffer.concat([
    bytes.subarray(0, from + field.start),
    name,
    bytes.subarray(from + field.end),
  ]);
}
