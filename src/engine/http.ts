import { type Dispatcher, request } from "undici";
import { abortReason } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import type { EngineTarget } from "./engine.ts";
import { type Asked, EngineError, refusal, unreachable } from "./errors.ts";

/** A model list of thousands of adapters stays far below. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;
/** Nothing is downloaded for an unload; sidecars wait up to thirty seconds for requests that are under way. */
const UNLOAD_TIMEOUT_MS = 60_000;

/** A question on its way to an engine. */
export interface EngineRequest {
  readonly url: string;
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

export interface EngineAnswer {
  readonly status: number;
  readonly text: string;
}

/** Carries a question to an engine and brings the answer; rejects with what the network says, or the signal's reason. */
export type Exchange = (request: EngineRequest, signal: AbortSignal) => Promise<EngineAnswer>;

export interface EngineHttpOptions {
  readonly dispatcher?: Dispatcher | undefined;
  /** The way to engines; left out: HTTP, through the dispatcher. */
  readonly exchange?: Exchange | undefined;
  /** Measures the limits below; left out: the machine's. */
  readonly clock?: Clock | undefined;
  /** How long a change may take, milliseconds; for a sidecar this includes the download. */
  readonly changeTimeoutMs: number;
  /** How long a list of the models may take, milliseconds. */
  readonly listTimeoutMs: number;
}

export const ENGINE_HTTP_DEFAULTS: EngineHttpOptions = {
  changeTimeoutMs: 300_000,
  listTimeoutMs: 5000,
};

/** A question to an engine or a sidecar. */
export interface Question {
  readonly path: string;
  /** With a body it is a POST. */
  readonly body?: object;
  readonly isUnload?: boolean;
  /** RFC 7240: how the answer may come. */
  readonly prefer?: string;
  /** Who answers, for the words of a refusal. */
  readonly by?: Asked["by"];
  readonly noRoute?: Asked["noRoute"];
}

/** Asks; resolves to the text of a success, or of a promise of one. @throws EngineError; the signal's reason */
export async function ask(
  target: EngineTarget,
  { path, body, isUnload = false, prefer, by, noRoute }: Question,
  options: EngineHttpOptions,
  signal: AbortSignal,
): Promise<string> {
  const changing = body !== undefined;
  if (changing) target.beforeChange?.();
  const { changeTimeoutMs } = options;
  const changeMs = isUnload ? Math.min(UNLOAD_TIMEOUT_MS, changeTimeoutMs) : changeTimeoutMs;
  const timeoutMs = changing ? changeMs : options.listTimeoutMs;
  const { clock = systemClock, exchange = overHttp(options.dispatcher) } = options;
  const limit = new AbortController();
  const disarm = clock.after(timeoutMs, () =>
    limit.abort(new DOMException(`timeout: no answer within ${timeoutMs} ms`, "TimeoutError")),
  );
  const limited = AbortSignal.any([signal, limit.signal]);
  const headers: Record<string, string> = { accept: "application/json" };
  if (changing) headers["content-type"] = "application/json";
  if (prefer !== undefined) headers["prefer"] = prefer;
  if (target.apiKey !== undefined) headers["authorization"] = `Bearer ${target.apiKey}`;
  try {
    const request: EngineRequest = {
      url: `${target.url}${path}`,
      method: changing ? "POST" : "GET",
      headers,
      body: changing ? JSON.stringify(body) : null,
    };
    const { status, text } = await exchange(request, limited);
    const isSuccess = status === 200 || status === 201 || (status === 202 && prefer !== undefined);
    if (isSuccess) return text;
    throw refusal(status, text, { changing, hasKey: target.apiKey !== undefined, by, noRoute });
  } catch (error) {
    if (signal.aborted) throw abortReason(signal);
    throw error instanceof EngineError
      ? error
      : unreachable(limited.aborted ? limited.reason : error);
  } finally {
    disarm();
  }
}

function overHttp(dispatcher: Dispatcher | undefined): Exchange {
  return async ({ url, method, headers, body }, signal) => {
    const answer = await request(url, {
      method,
      headers,
      body,
      signal,
      // The one limit is ours: a download may be silent for longer than the client's own defaults.
      headersTimeout: 0,
      bodyTimeout: 0,
      ...(dispatcher === undefined ? {} : { dispatcher }),
    });
    return { status: answer.statusCode, text: await readBounded(answer.body) };
  };
}

async function readBounded(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new EngineError(
        "Rejected",
        false,
        `the engine's answer is longer than ${BODY_BYTES_MAX} bytes`,
      );
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
