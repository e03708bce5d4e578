import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "#base/clock.ts";
import type { Route, RouteEndpoint } from "#core/route/table.ts";
import type { Log } from "#telemetry/log.ts";
import { type AnswerRewriter, answerRewriter } from "./answer-rewriter.ts";
import { callerHeaders, requestIdOf } from "./headers.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { type ApiError, errorBody } from "./openai-error.ts";
import type { RequestBody } from "./request-body.ts";
import type { AnswerSink } from "./upstream-try.ts";

/** nginx's number for a caller that went away; it is only ever logged and counted. */
const CALLER_GONE = 499;
/** How long a caller may go on sending what nobody wants. */
const LINGER_MS = 2_000;
/** Names and paths that callers make up appear in the log no longer than this. */
const LOGGED_LENGTH_MAX = 128;

/** One request and its answer: what has been said so far, and the line in the access log at its end. */
export class Exchange {
  readonly requestId: string;
  /** Without the query. */
  readonly path: string;
  /** Aborted when the caller goes away before it has its whole answer. */
  readonly signal: AbortSignal;
  /** As the caller named it. */
  model: string | undefined;
  route: Route | undefined;
  body: RequestBody | undefined;
  /** Pods asked so far. */
  tries = 0;
  readonly #response: ServerResponse;
  readonly #method: string;
  readonly #clock: Clock;
  readonly #startedMs: number;
  #firstByteMs: number | undefined;
  #pod: string | undefined;
  #sentBytes = 0;
  #isEventStream = false;
  /** The status of an answer that could not be completed; its own said that all was well. */
  #brokenStatus: number | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    deps: { clock: Clock; log: Log; metrics: GatewayMetrics },
  ) {
    this.requestId = requestIdOf(request);
    this.path = (request.url ?? "/").split("?", 1)[0] ?? "/";
    this.#method = request.method ?? "";
    this.#response = response;
    this.#clock = deps.clock;
    this.#startedMs = deps.clock.now();
    const caller = new AbortController();
    this.signal = caller.signal;
    response.once("close", () => {
      if (!response.writableFinished) caller.abort();
      this.#report(deps);
    });
    response.once("finish", () => this.#finishReading(request));
    // A connection that breaks is seen by `close`; without a listener it would end the process.
    response.on("error", () => {});
  }

  beginTry(endpoint: RouteEndpoint): void {
    this.tries++;
    this.#pod = endpoint.pod;
  }

  /** Takes an engine's answer. `model`: the name that it shall bear instead of the engine's. */
  sink(model: string | undefined): AnswerSink {
    const response = this.#response;
    let rewriter: AnswerRewriter | undefined;
    const send = (chunk: Buffer) => {
      this.#sentBytes += chunk.length;
      return response.write(chunk);
    };
    return {
      start: (status, headers) => {
        this.#firstByteMs = this.#clock.now();
        const type = headers["content-type"] ?? "";
        this.#isEventStream = /^text\/event-stream\b/i.test(type);
        if (model !== undefined)
          rewriter = answerRewriter(type, headers["content-encoding"], model);
        response.writeHead(status, callerHeaders(headers, this.requestId, rewriter !== undefined));
        // The first event of a stream may be long in coming; its headers are not held back for it.
        if (headers["content-length"] === undefined) response.flushHeaders();
      },
      write: (chunk) => {
        if (rewriter === undefined) return send(chunk);
        return rewriter.push(chunk).map(send).at(-1) ?? true;
      },
      onDrain: (run) => response.once("drain", run),
      end: () => {
        for (const chunk of rewriter?.end() ?? []) send(chunk);
        response.end();
      },
    };
  }

  /** Answers with JSON of our own. */
  answer(body: string): void {
    this.#finish(200, body, {});
  }

  refuse(error: ApiError): void {
    const { retryAfterS } = error;
    this.#finish(
      error.status,
      errorBody(error),
      retryAfterS === undefined ? {} : { "retry-after": String(retryAfterS) },
    );
  }

  /** Passes on an answer that was held back. */
  passOn(status: number, headers: IncomingHttpHeaders, body: Buffer): void {
    const sink = this.sink(undefined);
    sink.start(status, headers);
    sink.write(body);
    sink.end();
  }

  /**
   * Refuses if nothing has been said; else ends what cannot be completed: an event stream with an
   * error event, any other answer by cutting it, so that nobody takes the part for the whole.
   */
  breakOff(error: ApiError): void {
    const response = this.#response;
    if (!response.headersSent) {
      this.refuse(error);
      return;
    }
    this.#brokenStatus = error.status;
    if (this.#isEventStream) {
      response.write(`data: ${errorBody(error)}\n\n`, () => response.destroy());
    } else response.destroy();
  }

  close(): void {
    this.#response.destroy();
  }

  #finish(status: number, body: string, headers: Record<string, string>): void {
    const response = this.#response;
    if (response.headersSent || response.destroyed) return;
    const bytes = Buffer.from(body);
    this.#sentBytes = bytes.length;
    response.writeHead(status, {
      "content-type": "application/json",
      "content-length": bytes.length,
      "x-request-id": this.requestId,
      ...headers,
    });
    response.end(bytes);
  }

  /**
   * Answered before the whole body had come: the rest is read and thrown away for a moment, because a
   * connection that is closed over unread bytes loses the answer on its way.
   */
  #finishReading(request: IncomingMessage): void {
    if (request.complete) return;
    // While somebody reads it, the stream does not flow.
    void Promise.resolve(this.body?.stop()).then(() => request.resume());
    const cancel = this.#clock.after(LINGER_MS, () => request.destroy());
    request.once("close", cancel);
  }

  #report(deps: { clock: Clock; log: Log; metrics: GatewayMetrics }): void {
    const endedMs = deps.clock.now();
    const code =
      this.#brokenStatus ?? (this.signal.aborted ? CALLER_GONE : this.#response.statusCode);
    const firstByteMs =
      this.#firstByteMs === undefined ? undefined : this.#firstByteMs - this.#startedMs;
    const ms = endedMs - this.#startedMs;
    deps.metrics.finished({
      route: this.route,
      code,
      seconds: ms / 1000,
      firstByteSeconds: firstByteMs === undefined ? undefined : firstByteMs / 1000,
    });
    deps.log.info("Request", {
      method: this.#method,
      path: this.path.slice(0, LOGGED_LENGTH_MAX),
      model: this.model?.slice(0, LOGGED_LENGTH_MAX),
      status: code,
      ms: Math.round(ms),
      firstByteMs: firstByteMs === undefined ? undefined : Math.round(firstByteMs),
      pod: this.#pod,
      tries: this.tries,
      requestBytes: this.body?.readBytes,
      answerBytes: this.#sentBytes,
      requestId: this.requestId,
    });
  }
}
