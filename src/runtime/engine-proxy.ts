import { type Dispatcher, request } from "undici";
import { describeError } from "#base/network-error.ts";
import { EngineError, unreachable } from "#engine/errors.ts";

/** What the engine answered, as it is. */
export interface EngineAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Buffer;
}

/** A model list or an exposition beyond this is not one. */
const BODY_BYTES_MAX = 64 << 20;

export interface EngineGetOptions {
  readonly dispatcher: Dispatcher;
  readonly timeoutMs: number;
  /** The caller's Authorization header, passed on as it is. */
  readonly authorization?: string | undefined;
  readonly accept?: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * GET from the engine, answered whatever its status.
 * @throws EngineError when it cannot be reached, or takes longer than `timeoutMs`.
 */
export async function getFromEngine(url: string, options: EngineGetOptions): Promise<EngineAnswer> {
  const { authorization, accept, timeoutMs } = options;
  const limited = AbortSignal.any([options.signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const answer = await request(url, {
      dispatcher: options.dispatcher,
      signal: limited,
      headers: {
        ...(authorization === undefined ? {} : { authorization }),
        ...(accept === undefined ? {} : { accept }),
      },
    });
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > BODY_BYTES_MAX) {
        throw new EngineError(
          "Unavailable",
          false,
          `the engine's answer is longer than ${BODY_BYTES_MAX} bytes`,
        );
      }
      chunks.push(chunk);
    }
    const type = answer.headers["content-type"];
    return {
      status: answer.statusCode,
      contentType: typeof type === "string" ? type : "text/plain; charset=utf-8",
      body: Buffer.concat(chunks),
    };
  } catch (error) {
    if (options.signal.aborted || error instanceof EngineError) throw error;
    throw unreachable(limited.aborted ? limited.reason : error);
  }
}

/** True when the engine says that it is well. Why not is for the log. */
export async function isEngineReady(
  url: string,
  options: EngineGetOptions,
): Promise<{ ready: true } | { ready: false; why: string }> {
  try {
    const { status } = await getFromEngine(`${url}/health`, options);
    return status < 300
      ? { ready: true }
      : { ready: false, why: `the engine's /health answers ${status}` };
  } catch (error) {
    return { ready: false, why: `the engine cannot be reached: ${describeError(error)}` };
  }
}
