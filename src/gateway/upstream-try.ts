import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher, Pool } from "undici";
import { codeOf } from "#base/errors.ts";
import type { BodyForTry } from "./request-body.ts";

/** Of an answer that is held back to be judged, at most this much; a longer one is passed on. */
const HELD_BYTES_MAX = 64 * 1024;

/** Where an answer goes. */
export interface AnswerSink {
  start(status: number, headers: IncomingHttpHeaders): void;
  /** False when the caller is slower than the engine: `onDrain` tells when to go on. */
  write(chunk: Buffer): boolean;
  onDrain(run: () => void): void;
  end(): void;
}

export type TryOutcome =
  /** The whole answer went to the sink. */
  | { kind: "answered" }
  /** Nothing went to the sink: the engine has no room, or does not know the model. */
  | {
      kind: "refused";
      reason: "unavailable" | "model-unknown";
      status: number;
      headers: IncomingHttpHeaders;
      body: Buffer;
    }
  /** Nothing went to the sink: there was no answer. */
  | { kind: "failed"; reason: "connect" | "reset" | "timeout"; error: Error }
  /** The answer broke off after the sink had its beginning. */
  | { kind: "broken"; error: Error };

export interface UpstreamRequest extends BodyForTry {
  readonly method: string;
  readonly path: string;
  readonly headers: string[];
}

/** Sends a request to one engine; never rejects. An abort of `signal` cancels it at once. */
export function tryUpstream(
  pool: Pool,
  request: UpstreamRequest,
  sink: AnswerSink,
  signal: AbortSignal,
): Promise<TryOutcome> {
  return new Promise((resolve) => {
    const handler = new TryHandler(sink, signal, resolve);
    try {
      const { method, path, headers, body } = request;
      pool.dispatch({ method, path, headers, body }, handler);
    } catch (error) {
      // undici refuses what is no valid request before it sends anything.
      handler.onResponseError(null, error instanceof Error ? error : new Error(String(error)));
    }
  });
}

class TryHandler implements Dispatcher.DispatchHandler {
  readonly #sink: AnswerSink;
  readonly #signal: AbortSignal;
  readonly #resolve: (outcome: TryOutcome) => void;
  readonly #onAbort = () => this.#cancel();
  #controller: Dispatcher.DispatchController | undefined;
  /** An answer that may lead to another try instead of to the caller. */
  #held:
    | { status: number; headers: IncomingHttpHeaders; chunks: Buffer[]; bytes: number }
    | undefined;
  #isStarted = false;
  #isOver = false;

  constructor(sink: AnswerSink, signal: AbortSignal, resolve: (outcome: TryOutcome) => void) {
    this.#sink = sink;
    this.#signal = signal;
    this.#resolve = resolve;
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#signal.aborted) controller.abort(callerGone());
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
  ): void {
    if (status < 200) return;
    if (status === 503 || status === 404) this.#held = { status, headers, chunks: [], bytes: 0 };
    else this.#start(status, headers);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isOver) return;
    const held = this.#held;
    if (held === undefined) {
      this.#write(controller, chunk);
      return;
    }
    held.chunks.push(chunk);
    held.bytes += chunk.length;
    if (held.bytes <= HELD_BYTES_MAX) return;
    this.#held = undefined;
    this.#start(held.status, held.headers);
    for (const piece of held.chunks) this.#write(controller, piece);
  }

  onResponseEnd(): void {
    const held = this.#held;
    if (held === undefined) {
      if (!this.#isOver) this.#sink.end();
      this.#finish({ kind: "answered" });
      return;
    }
    const body = Buffer.concat(held.chunks);
    const reason = held.status === 503 ? "unavailable" : "model-unknown";
    if (held.status === 503 || isModelUnknown(body)) {
      this.#finish({ kind: "refused", reason, status: held.status, headers: held.headers, body });
      return;
    }
    this.#start(held.status, held.headers);
    this.#sink.write(body);
    this.#sink.end();
    this.#finish({ kind: "answered" });
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#isStarted) this.#finish({ kind: "broken", error });
    else this.#finish({ kind: "failed", reason: reasonOf(error), error });
  }

  #start(status: number, headers: IncomingHttpHeaders): void {
    if (this.#isOver) return;
    this.#isStarted = true;
    this.#sink.start(status, headers);
  }

  #write(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#sink.write(chunk)) return;
    controller.pause();
    this.#sink.onDrain(() => controller.resume());
  }

  /** The caller is gone: whatever the engine does now, nobody waits for it. */
  #cancel(): void {
    const error = callerGone();
    this.#controller?.abort(error);
    this.onResponseError(null, error);
  }

  #finish(outcome: TryOutcome): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#resolve(outcome);
  }
}

const callerGone = () => new DOMException("the caller went away", "AbortError");

function reasonOf(error: Error): "connect" | "reset" | "timeout" {
  switch (codeOf(error)) {
    case "UND_ERR_HEADERS_TIMEOUT":
    case "UND_ERR_BODY_TIMEOUT":
      return "timeout";
    case "UND_ERR_SOCKET":
    case "ECONNRESET":
    case "EPIPE":
      return "reset";
    default:
      return "connect";
  }
}

/** vLLM's answers to an unknown model, nested (0.32) and flat (0.7); other 404s are the caller's business. */
function isModelUnknown(body: Buffer): boolean {
  return (
    /"code"\s*:\s*"model_not_found"/.test(body.toString("utf8")) ||
    /"message"\s*:\s*"The model `[^`]*` does not exist/.test(body.toString("utf8"))
  );
}
