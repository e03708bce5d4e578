import type { TestContext } from "node:test";
import { bodyOf, startServer } from "./http-server.ts";

/** One answer of a server that follows a script. */
export interface Answer {
  readonly status: number;
  /** Sent as it is when a text, else as JSON. */
  readonly body: unknown;
}

/**
 * A server that gives the answers of a script in turn, the last one again and again; and what it was asked. What `fixed` has for a path
 * is answered beside the script.
 */
export async function answersBeside(
  t: TestContext,
  fixed: Readonly<Record<string, Answer>>,
  ...script: readonly Answer[]
) {
  const asked: string[] = [];
  const keys: (string | undefined)[] = [];
  const preferences: (string | string[] | undefined)[] = [];
  const server = await startServer(async (request, response) => {
    const body = await bodyOf(request);
    const beside = fixed[(request.url ?? "").split("?")[0] ?? ""];
    if (beside === undefined) {
      asked.push(`${request.method} ${request.url}${body === "" ? "" : ` ${body}`}`);
      keys.push(request.headers.authorization);
      preferences.push(request.headers["prefer"]);
    }
    const answer = beside ?? script[Math.min(asked.length, script.length) - 1];
    const text = typeof answer?.body === "string" ? answer.body : JSON.stringify(answer?.body);
    response.writeHead(answer?.status ?? 500).end(text);
  });
  t.after(() => server.close());
  const target = { url: server.url, apiKey: undefined as string | undefined };
  return { asked, keys, preferences, target };
}

export const answers = (t: TestContext, ...script: readonly Answer[]) =>
  answersBeside(t, {}, ...script);

/** A model list as vLLM and SGLang write it. */
export function modelList(held: Readonly<Record<string, string>>): Answer {
  const adapters = Object.entries(held).map(([id, root]) => ({ id, root, parent: "base" }));
  const data = [{ id: "base", root: "/models/base", parent: null }, ...adapters];
  return { status: 200, body: { object: "list", data } };
}
