import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  ENGINES,
  type EngineAnswer,
  type EngineName,
  RECORDINGS,
  recorded,
} from "./engine-words.ts";
import { bodyOf, startServer, type TestServer } from "./http-server.ts";

/** How long a completion takes. */
const COMPLETION_MS = 100;

export interface FakeEngine extends TestServer {
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
  /** Refuses each load with this: a recording of vLLM 0.32, a sentence of the others. */
  refusal: string | undefined;
  /** What a load from this path is refused with. */
  refuses: (path: string) => string | undefined;
  /** The paths that it can read, in a file system of its own. */
  sees: (path: string) => boolean;
  /** A further adapter pushes the oldest out. */
  limit: number;
  /** Has no routes for changes, as without VLLM_ALLOW_RUNTIME_LORA_UPDATING. */
  isFixed: boolean;
  /** Requests for completions that are being answered, by model. */
  readonly requests: Map<string, number>;
  metrics: string;
  /** Called before a load or unload is answered. */
  before: (call: string) => Promise<void>;
}

/** An engine's routes for adapters, in its own words; there is no model behind them. */
export async function startFakeEngine({
  name = "vllm",
  ...address
}: {
  name?: EngineName | undefined;
  host?: string;
  port?: number;
} = {}): Promise<FakeEngine> {
  const state: State = {
    held: new Map<string, string>(),
    calls: [],
    apiKey: undefined,
    down: undefined,
    refusal: undefined,
    refuses: () => undefined,
    sees: () => true,
    limit: Number.POSITIVE_INFINITY,
    lists: 0,
    abandonedLists: 0,
    fault: undefined,
    isFixed: false,
    requests: new Map<string, number>(),
    metrics: readFileSync(join(RECORDINGS, "metrics.txt"), "utf8"),
    before: async () => {},
  };
  const server = await startServer((request, response) => {
    void answer(name, state, request, response);
  }, address);
  return Object.assign(state, server);
}

type State = Omit<FakeEngine, keyof TestServer>;

async function answer(
  engine: EngineName,
  state: State,
  request: IncomingMessage,
  response: ServerResponse,
) {
  const path = request.url ?? "";
  const body = await bodyOf(request);
  const say = ({ status, body, type }: EngineAnswer) =>
    response.writeHead(status, type === undefined ? {} : { "content-type": type }).end(body);
  if (state.down === "hanging") {
    if (path === "/v1/models") response.once("close", () => state.abandonedLists++);
    return;
  }
  if (state.down !== undefined) return say(state.down);
  if (path === "/health") return response.end();
  if (path === "/metrics") {
    const type = "text/plain; version=0.0.4; charset=utf-8";
    return say({ status: 200, body: state.metrics, type });
  }
  const isAllowed =
    state.apiKey === undefined || request.headers.authorization === `Bearer ${state.apiKey}`;
  if (!isAllowed) return say(recorded("auth-02-models-nokey"));
  if (path === "/v1/models") {
    state.lists++;
    return response.end(JSON.stringify(modelList(state.held)));
  }
  if (path === "/v1/completions") {
    const model: string = JSON.parse(body).model;
    const text = await complete(state, model);
    if (text !== undefined) return response.end(JSON.stringify({ choices: [{ text }] }));
    return say(recorded("main-41-completion-unknown-model", { ghost: model }));
  }
  const { load, unload } = ENGINES[engine];
  if (state.isFixed || (path !== load && path !== unload)) {
    return say({ status: 404, body: '{"detail":"Not Found"}' });
  }
  const order = JSON.parse(body) as Order;
  const { lora_name: name = "", lora_path: at = "", load_inplace: inPlace } = order;
  const how = inPlace === true ? "replace" : "load";
  const call = path === unload ? `unload ${name}` : `${how} ${name} ${at}`;
  await state.before(call);
  state.calls.push(call);
  if (state.fault !== undefined) return say(state.fault);
  say(path === unload ? unloaded(engine, state, name) : loaded(engine, state, order));
}

interface Order {
  readonly lora_name?: string;
  readonly lora_path?: string;
  readonly load_inplace?: boolean;
}

function unloaded(engine: EngineName, { held }: State, name: string): EngineAnswer {
  const words = ENGINES[engine];
  return held.delete(name) ? words.unloaded(name, held) : words.unknown(name, held);
}

function loaded(engine: EngineName, state: State, order: Order): EngineAnswer {
  const { held, limit } = state;
  const { lora_name: name = "", lora_path: path = "", load_inplace: inPlace = false } = order;
  const words = ENGINES[engine];
  if (held.has(name) && !(inPlace && words.replaces)) return words.taken(name, held);
  const refusal = state.refusal ?? state.refuses(path);
  if (refusal !== undefined) return words.refused(refusal, held);
  if (!state.sees(path)) return words.missing(name, path, held);
  held.set(name, path);
  const [oldest] = held.keys();
  if (held.size > limit && oldest !== undefined) held.delete(oldest);
  return words.loaded(name, held);
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
