import type { TestContext } from "node:test";
import { bodyOf, startServer } from "./http-server.ts";

/** One answer of a server that follows a script. */
export interface Answer {
  readonly status: number;
  /** Sent as it is when a text, else as JSON. */
  readonly body: unknown;
}

/** A server that gives the answers of a script in turn, the last one again and again; and what it was asked. */
export async function answers(t: TestContext, ...script: readonly Answer[]) {
  const asked: string[] = [];
  const keys: (string | undefined)[] = [];
  const server = await startServer(async (request, response) => {
    const body = await bodyOf(request);
    asked.push(`${request.method} ${request.url}${body === "" ? "" : ` ${body}`}`);
    keys.push(request.headers.authorization);
    const answer = script[Math.min(asked.length, script.length) - 1];
    const text = typeof answer?.body === "string" ? answer.body : JSON.stringify(answer?.body);
    response.writeHead(answer?.status ?? 500).end(text);
  });
  t.after(() => server.close());
  return { asked, keys, target: { url: server.url, apiKey: undefined as string | undefined } };
}

/** A model list as vLLM and SGLang write it. */
export function modelList(held: Readonly<Record<string, string>>): Answer {
  const adapters = Object.entries(held).map(([id, root]) => ({ id, root, parent: "base" }));
  const data = [{ id: "base", root: "/models/base", parent: null }, ...adapters];
  return { status: 200, body: { object: "list", data } };
}
