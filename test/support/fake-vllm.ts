import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { bodyOf, startServer, type TestServer } from "./http-server.ts";

interface Recording {
  status: number;
  headers: Record<string, string>;
  body: string;
}

const FOLDER = join(import.meta.dirname, "../../fixtures/vllm-recordings");
/** How long a completion takes. */
const COMPLETION_MS = 100;
const recording = (name: string): Recording =>
  JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8"));

export interface FakeVllm extends TestServer {
  /** Adapters by name, with the path that each was loaded from. */
  readonly held: Map<string, string>;
  /** `load a /path`, `replace a /path`, `unload a`. */
  readonly calls: string[];
  apiKey: string | undefined;
  /** Answers everything with this, as a proxy before an engine that is gone would; or never. */
  down: { status: number; body: string } | "hanging" | undefined;
  /** Lists that were answered. */
  lists: number;
  /** Lists that were asked for while it was hanging, and given up by who asked. */
  abandonedLists: number;
  /** Answers each load and unload with this. */
  fault: { status: number; body: string } | undefined;
  /** Answers each load with this recording. */
  refusal: string | undefined;
  /** The recording with which a load from this path is answered. */
  refuses: (path: string) => string | undefined;
  /** Has no routes for changes, as without VLLM_ALLOW_RUNTIME_LORA_UPDATING. */
  isFixed: boolean;
  /** Does not know load_inplace, as vLLM 0.7. */
  isOld: boolean;
  /** Requests for completions that are being answered, by model. */
  readonly requests: Map<string, number>;
  metrics: string;
  /** Called before a load or unload is answered. */
  before: (call: string) => Promise<void>;
}

/** vLLM's routes for adapters in the words that a real one was recorded with. */
export async function startFakeVllm(
  address: { host?: string; port?: number } = {},
): Promise<FakeVllm> {
  const state = {
    held: new Map<string, string>(),
    calls: [] as string[],
    apiKey: undefined as string | undefined,
    down: undefined as FakeVllm["down"],
    refusal: undefined as string | undefined,
    lists: 0,
    abandonedLists: 0,
    fault: undefined as FakeVllm["fault"],
    refuses: (_path: string): string | undefined => undefined,
    isFixed: false,
    isOld: false,
    requests: new Map<string, number>(),
    metrics: readFileSync(join(FOLDER, "metrics.txt"), "utf8"),
    before: async (_call: string) => {},
  };
  const server = await startServer((request, response) => {
    void answer(state, request, response);
  }, address);
  return Object.assign(state, server);
}

type State = Omit<FakeVllm, keyof TestServer>;

async function answer(state: State, request: IncomingMessage, response: ServerResponse) {
  const path = request.url ?? "";
  const body = await bodyOf(request);
  const play = (name: string, replaced: Record<string, string> = {}) => {
    const { status, headers, body } = recording(name);
    const type = headers["content-type"];
    response.writeHead(status, type === undefined ? {} : { "content-type": type });
    response.end(
      Object.entries(replaced).reduce((text, [from, to]) => text.replaceAll(from, to), body),
    );
  };
  if (state.down === "hanging") {
    if (path === "/v1/models") response.once("close", () => state.abandonedLists++);
    return;
  }
  if (state.down !== undefined) return response.writeHead(state.down.status).end(state.down.body);
  if (path === "/health") return response.end();
  if (path === "/metrics") {
    return response
      .writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" })
      .end(state.metrics);
  }
  const isAllowed =
    state.apiKey === undefined || request.headers.authorization === `Bearer ${state.apiKey}`;
  if (!isAllowed) return play("auth-02-models-nokey");
  if (path === "/v1/models") {
    state.lists++;
    return response.end(JSON.stringify(modelList(state.held)));
  }
  if (path === "/v1/completions") {
    const model: string = JSON.parse(body).model;
    const text = await complete(state, model);
    if (text === undefined) return play("main-41-completion-unknown-model", { ghost: model });
    return response.end(JSON.stringify({ choices: [{ text }] }));
  }
  if (state.isFixed) return response.writeHead(404).end('{"detail":"Not Found"}');
  await change(state, path, JSON.parse(body), response, play);
}

/** Carries out a load or an unload. */
async function change(
  state: State,
  path: string,
  { lora_name: name = "", lora_path: at = "", load_inplace }: Record<string, string>,
  response: ServerResponse,
  play: (name: string, replaced?: Record<string, string>) => void,
) {
  const inPlace = Boolean(load_inplace) && !state.isOld;
  const isUnload = path === "/v1/unload_lora_adapter";
  const call = isUnload ? `unload ${name}` : `${inPlace ? "replace" : "load"} ${name} ${at}`;
  await state.before(call);
  state.calls.push(call);
  if (state.fault !== undefined) {
    return response.writeHead(state.fault.status).end(state.fault.body);
  }
  if (isUnload) {
    if (!state.held.delete(name)) return play("main-28-unload-unknown", { "'ghost'": `'${name}'` });
    return play("main-45-unload-ok", { "'shout'": `'${name}'` });
  }
  if (state.held.has(name) && !inPlace) {
    return play("main-07-load-duplicate", { "'sql'": `'${name}'` });
  }
  const refusal = state.refusal ?? state.refuses(at);
  if (refusal !== undefined) {
    return play(refusal, { "lora ghost": `lora ${name}`, "/no/such/adapter": at });
  }
  state.held.set(name, at);
  return play("main-05-load-ok", { "'sql'": `'${name}'` });
}

/** The path of the adapter as it was when the request came; undefined: there is none of this name. */
async function complete({ held, requests }: State, model: string): Promise<string | undefined> {
  const text = held.get(model);
  if (text === undefined) return undefined;
  const count = (by: number) => requests.set(model, (requests.get(model) ?? 0) + by);
  count(1);
  await delay(COMPLETION_MS);
  count(-1);
  return text;
}

function modelList(held: ReadonlyMap<string, string>) {
  const base = { id: "tiny-llama", object: "model", root: "/models/tiny/base", parent: null };
  const adapters = [...held].map(([id, root]) => ({
    id,
    object: "model",
    root,
    parent: "tiny-llama",
  }));
  return { object: "list", data: [base, ...adapters] };
}
