import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
// Plain node:http: three engines start at once on a laptop, a framework would cost each of them as much
// as the rest of its start, and streams that stop when the client leaves need the response itself.
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import { messageOf } from "#base/errors.ts";
import { AnswerStream } from "./answer-stream.ts";
import type { EngineLog } from "./engine-log.ts";
import { ApiError, errorBody } from "./http-errors.ts";
import type { HttpMetrics } from "./http-metrics.ts";
import { EngineDeadError } from "./inference.ts";
import type { Route, RouteAnswer } from "./routes.ts";

/** Larger bodies are refused: a prompt that fits the model is far smaller. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;

/** The paths that an API key guards; everything else is open, as in vLLM. */
const GUARDED = ["/v1", "/v2", "/inference", "/cohere"];

export type ServerDeps = {
  routes: Route[];
  apiKeys: string[];
  httpMetrics: HttpMetrics;
  log: EngineLog;
};

/** An HTTP server with these routes, not yet listening. */
export function newEngineServer(deps: ServerDeps): Server {
  const isAuthorized = authorizer(deps.apiKeys);
  const server = createServer((request, response) => {
    response.once("close", () => {
      // While the server closes, a connection becomes idle only after its last answer.
      if (!server.listening) setImmediate(() => server.closeIdleConnections());
    });
    const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
    response.setHeader("server", "uvicorn");
    logAccess(deps.log, request, response);
    if (GUARDED.some((prefix) => path.startsWith(prefix)) && !isAuthorized(request)) {
      send(response, { status: 401, json: { error: "Unauthorized" } });
      return;
    }
    response.setHeader("vary", "Origin");
    const match = findRoute(deps.routes, request.method ?? "GET", path);
    measure(deps.httpMetrics, match.template, request, response);
    if (match.route === undefined) {
      if (match.allow !== undefined) response.setHeader("allow", match.allow);
      const status = match.allow === undefined ? 404 : 405;
      send(response, { status, json: { detail: STATUS_CODES[status] } });
      return;
    }
    void answer(match.route, match.parameter, { request, response, log: deps.log });
  });
  return server;
}

function authorizer(apiKeys: string[]): (request: IncomingMessage) => boolean {
  if (apiKeys.length === 0) return () => true;
  // Compared as hashes in constant time, so that the time of an answer tells nothing about a key.
  const digest = (text: string) => createHash("sha256").update(text).digest();
  const known = apiKeys.map(digest);
  return ({ method, headers }) => {
    if (method === "OPTIONS") return true;
    const [scheme, ...rest] = (headers.authorization ?? "").split(" ");
    if (scheme?.toLowerCase() !== "bearer") return false;
    const given = digest(rest.join(" "));
    return known.some((key) => timingSafeEqual(key, given));
  };
}

type Match = {
  route: Route | undefined;
  parameter: string;
  /** The template that fits the path, whatever the method. */
  template: string;
  /** The methods that the path takes, when it does not take this one. */
  allow: string | undefined;
};

function findRoute(routes: Route[], method: string, path: string): Match {
  const fitting = routes.filter(({ template }) => openPart(template, path) !== undefined);
  const route = fitting.find((candidate) => candidate.method === method);
  const template = (route ?? fitting[0])?.template ?? "none";
  const allow =
    route === undefined && fitting.length > 0 ? fitting.map((r) => r.method).join(", ") : undefined;
  return { route, parameter: openPart(template, path) ?? "", template, allow };
}

/** What stands for `{}` in the path; empty when the template has none, undefined when it does not fit. */
function openPart(template: string, path: string): string | undefined {
  if (!template.endsWith("{}")) return template === path ? "" : undefined;
  const part = path.slice(template.length - 2);
  if (!path.startsWith(template.slice(0, -2)) || part === "" || part.includes("/"))
    return undefined;
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

type WholeAnswer = Exclude<RouteAnswer, { stream: unknown }>;

type Exchange = { request: IncomingMessage; response: ServerResponse; log: EngineLog };

async function answer(
  route: Route,
  parameter: string,
  { request, response, log }: Exchange,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const header = request.headers["x-request-id"];
  try {
    const result = await route.handle({
      contentType: request.headers["content-type"],
      requestId: typeof header === "string" ? header : randomBytes(8).toString("hex"),
      body: () => readBody(request),
      parameter,
      signal: gone.signal,
    });
    if ("stream" in result) await stream(result.stream, response);
    else send(response, result);
  } catch (error) {
    if (!gone.signal.aborted) send(response, errorAnswer(error, log));
  }
}

/** After the first byte of a stream, an error can only be told inside it. */
async function stream(
  run: (stream: AnswerStream) => Promise<void>,
  response: ServerResponse,
): Promise<void> {
  const events = new AnswerStream(response);
  events.open();
  try {
    await run(events);
  } catch (error) {
    if (response.closed) return;
    events.sendError(error as Error);
  }
  events.close();
}

function errorAnswer(error: unknown, log: EngineLog): WholeAnswer {
  const known =
    error instanceof ApiError ? error : new ApiError(500, "InternalServerError", messageOf(error));
  if (!(error instanceof ApiError) && !(error instanceof EngineDeadError)) {
    log.error(`request failed: ${messageOf(error)}`);
  }
  return { status: known.status, json: errorBody(known) };
}

async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const tooLarge = () =>
    new ApiError(
      413,
      "Request Entity Too Large",
      `The body is larger than ${BODY_BYTES_MAX} bytes.`,
    );
  // Known beforehand, it is refused unread, and the connection stays in order.
  if (Number(request.headers["content-length"] ?? 0) > BODY_BYTES_MAX) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > BODY_BYTES_MAX) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, answer: WholeAnswer): void {
  if (response.headersSent || response.destroyed) return;
  const isJson = "json" in answer;
  const text = isJson ? JSON.stringify(answer.json) : (answer.text ?? "");
  const contentType = isJson ? "application/json" : answer.contentType;
  if (contentType !== undefined) response.setHeader("content-type", contentType);
  response.writeHead(answer.status, { "content-length": Buffer.byteLength(text) });
  response.end(text);
}

function logAccess(log: EngineLog, request: IncomingMessage, response: ServerResponse): void {
  const { remoteAddress, remotePort } = request.socket;
  response.once("close", () => {
    const line = `"${request.method} ${request.url} HTTP/${request.httpVersion}"`;
    const status = `${response.statusCode} ${STATUS_CODES[response.statusCode] ?? ""}`;
    log.server(`${remoteAddress}:${remotePort} - ${line} ${status}`);
  });
}

function measure(
  metrics: HttpMetrics,
  template: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const startedAt = performance.now();
  const lengthOf = (value: unknown) => {
    const length = Number(value ?? 0);
    return Number.isFinite(length) ? length : 0;
  };
  response.once("finish", () =>
    metrics.observe({
      handler: template,
      method: request.method ?? "GET",
      status: response.statusCode,
      requestBytes: lengthOf(request.headers["content-length"]),
      responseBytes: lengthOf(response.getHeader("content-length")),
      seconds: (performance.now() - startedAt) / 1000,
    }),
  );
}
