import { type Dispatcher, request } from "undici";
import { abortReason } from "#base/abort.ts";
import type { EngineTarget } from "./engine.ts";
import { EngineError, refusal, unreachable } from "./errors.ts";

/** A model list of thousands of adapters stays far below. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;

export interface EngineHttpOptions {
  readonly dispatcher?: Dispatcher | undefined;
  /** How long a change may take, milliseconds; for a sidecar this includes the download. */
  readonly changeTimeoutMs: number;
  /** How long an unload may take, milliseconds: sidecars wait up to thirty seconds for requests that are under way. */
  readonly unloadTimeoutMs: number;
  /** How long a list of the models may take, milliseconds. */
  readonly listTimeoutMs: number;
}

export const ENGINE_HTTP_DEFAULTS: EngineHttpOptions = {
  changeTimeoutMs: 300_000,
  unloadTimeoutMs: 60_000,
  listTimeoutMs: 5000,
};

/** A question to an engine or a sidecar. */
export interface Question {
  readonly path: string;
  /** With a body it is a POST. */
  readonly body?: object;
  readonly isUnload?: boolean;
}

/** Asks; resolves to the text of a success. @throws EngineError; the signal's reason */
export async function ask(
  target: EngineTarget,
  { path, body, isUnload = false }: Question,
  options: EngineHttpOptions,
  signal: AbortSignal,
): Promise<string> {
  const changing = body !== undefined;
  const changeTimeoutMs = isUnload ? options.unloadTimeoutMs : options.changeTimeoutMs;
  const timeoutMs = changing ? changeTimeoutMs : options.listTimeoutMs;
  const limited = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const sent: Record<string, string> = { accept: "application/json" };
  if (changing) sent["content-type"] = "application/json";
  if (target.apiKey !== undefined) sent["authorization"] = `Bearer ${target.apiKey}`;
  try {
    const answer = await request(`${target.url}${path}`, {
      method: changing ? "POST" : "GET",
      headers: sent,
      body: changing ? JSON.stringify(body) : null,
      signal: limited,
      // The one limit is ours: a download may be silent for longer than the client's own defaults.
      headersTimeout: 0,
      bodyTimeout: 0,
      ...(options.dispatcher === undefined ? {} : { dispatcher: options.dispatcher }),
    });
    const text = await readBounded(answer.body);
    if (answer.statusCode === 200 || answer.statusCode === 201) return text;
    throw refusal(answer.statusCode, text, changing);
  } catch (error) {
    if (signal.aborted) throw abortReason(signal);
    throw error instanceof EngineError
      ? error
      : unreachable(limited.aborted ? limited.reason : error);
  }
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
