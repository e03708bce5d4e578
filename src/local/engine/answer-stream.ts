import type { ServerResponse } from "node:http";
import { ApiError, errorBody } from "./http-errors.ts";

/** Writes server-sent events: one JSON object each, `[DONE]` at the end. */
export class AnswerStream {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  /** Sends the headers: from now on errors go into the stream. */
  open(): void {
    this.#response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    this.#response.flushHeaders();
  }

  send(event: unknown): void {
    this.#response.write(`data: ${JSON.stringify(event)}\n\n`);
  }

  sendError(error: Error): void {
    this.send(
      errorBody(
        error instanceof ApiError ? error : new ApiError(500, "InternalServerError", error.message),
      ),
    );
  }

  close(): void {
    this.#response.end("data: [DONE]\n\n");
  }
}
