import { request } from "undici";
import { describeError } from "#base/network-error.ts";

/** What the walk asks every model. */
export const PROMPT = "San Francisco is a";
const TOKENS_MAX = 32;
const TIMEOUT_MS = 30_000;

export type Answer = { readonly text: string } | { readonly problem: string };

/** Asks a model through the gateway, as a client would: the same words get the same answer. */
export async function askModel(
  gateway: string,
  model: string,
  signal: AbortSignal,
): Promise<Answer> {
  try {
    const response = await request(`${gateway}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, prompt: PROMPT, max_tokens: TOKENS_MAX, temperature: 0 }),
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
      signal,
    });
    return answerOf(response.statusCode, await response.body.text());
  } catch (error) {
    signal.throwIfAborted();
    return { problem: `the gateway does not answer (${describeError(error)})` };
  }
}

/** Reads a completion or OpenAI's error object. Pure. */
export function answerOf(status: number, body: string): Answer {
  let parsed: { choices?: { text?: unknown }[]; error?: { message?: unknown } } | null = null;
  try {
    parsed = JSON.parse(body);
  } catch {
    // Told below.
  }
  const text = parsed?.choices?.[0]?.text;
  if (status === 200 && typeof text === "string") return { text };
  const message = parsed?.error?.message;
  return { problem: `HTTP ${status}${typeof message === "string" ? `: ${message}` : ""}` };
}
