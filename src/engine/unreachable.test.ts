/** The errors that the documentation calls worth a retry, each as Node and undici bring it, told in the documentation's words. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { constants } from "node:os";
import { type TestContext, test } from "node:test";
import { Agent, type Dispatcher } from "undici";
import { EngineError } from "./errors.ts";
import { ENGINE_HTTP_DEFAULTS } from "./http.ts";
import { vllmEngine } from "./vllm.ts";

const signal = new AbortController().signal;

/** What loading on an engine fails with. */
async function failureAt(
  url: string,
  options: { dispatcher?: Dispatcher; changeTimeoutMs?: number } = {},
): Promise<EngineError> {
  const engine = vllmEngine({ ...ENGINE_HTTP_DEFAULTS, ...options });
  const target = { url, apiKey: undefined };
  const load = engine.load(target, { name: "sql", path: "/sql", replace: false }, signal);
  const error = await load.then(
    () => assert.fail("it was loaded"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof EngineError);
  return error;
}

async function serverOf(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A network in which connecting ends like this; no packet leaves the machine. */
function networkThat(t: TestContext, code: "EHOSTUNREACH" | "ENETUNREACH"): Dispatcher {
  const [address, port] = ["10.9.8.7", 8000];
  const error = Object.assign(new Error(`connect ${code} ${address}:${port}`), {
    ...{ code, errno: -constants.errno[code], syscall: "connect", address, port },
  });
  const agent = new Agent({ connect: (_, callback) => callback(error, null) });
  t.after(() => agent.close());
  return agent;
}

/** A network whose name server has no answer now. */
function namelessNetwork(t: TestContext): Dispatcher {
  const agent = new Agent({
    connect: (_, callback) => {
      const socket = connect({
        host: "engine.example",
        port: 8000,
        lookup: (hostname, _options, done) => {
          const error = new Error(`getaddrinfo EAI_AGAIN ${hostname}`);
          done(Object.assign(error, { code: "EAI_AGAIN", syscall: "getaddrinfo", hostname }), "");
        },
      });
      socket.once("error", (error) => callback(error, null));
    },
  });
  t.after(() => agent.close());
  return agent;
}

async function closedPort(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `http://127.0.0.1:${port}`;
}

const answering = (t: TestContext, status: number) =>
  serverOf(t, (_, response) => response.writeHead(status).end());
const HOST = "http://engine.example:8000";

const CASES: Readonly<Record<string, (t: TestContext) => Promise<EngineError>>> = {
  "connection refused": async () => failureAt(await closedPort()),
  "connection reset": async (t) =>
    failureAt(await serverOf(t, (request) => request.socket.resetAndDestroy())),
  timeout: async (t) => failureAt(await serverOf(t, () => {}), { changeTimeoutMs: 20 }),
  "no route to host": (t) => failureAt(HOST, { dispatcher: networkThat(t, "EHOSTUNREACH") }),
  "network is unreachable": (t) => failureAt(HOST, { dispatcher: networkThat(t, "ENETUNREACH") }),
  "temporary failure": (t) => failureAt(HOST, { dispatcher: namelessNetwork(t) }),
  "service unavailable": async (t) => failureAt(await answering(t, 503)),
  "bad gateway": async (t) => failureAt(await answering(t, 502)),
};

for (const [words, fail] of Object.entries(CASES)) {
  test(`"${words}" is worth a retry`, async (t) => {
    const error = await fail(t);
    assert.ok(error.retriable);
    assert.ok(error.message.startsWith(words), error.message);
  });
}

test("a server that ends a connection without an answer has reset it", async (t) => {
  const url = await serverOf(t, (request) => request.socket.destroy());
  assert.equal((await failureAt(url)).message, "connection reset");
});
