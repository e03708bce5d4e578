import { timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { WebSocketServer } from "ws";
import type { Container, KubeStatus, Pod } from "#api/kubernetes.ts";
import { type Clock, fromTimestamp } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import { requestUrl } from "#serve/request-url.ts";
import type { Log } from "#telemetry/log.ts";
import type { ContainerCommand } from "./container-command.ts";
import { execInContainer } from "./container-exec.ts";
import type { ContainerRunner } from "./container-runner.ts";
import { EXEC_PROTOCOLS, serveExec } from "./exec-session.ts";
import { type LogOptions, readLog } from "./log-reader.ts";

/** A pod as the server needs it. */
export interface ServedPod {
  readonly pod: Pod;
  runner(container: string): ContainerRunner | undefined;
  command(container: Container): ContainerCommand;
}

export interface KubeletServerOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** What callers present as `Authorization: Bearer`. */
  readonly token: string;
  readonly find: (namespace: string, pod: string) => ServedPod | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface KubeletServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Longest command line plus input of `kubectl exec` in one message. */
const MESSAGE_MAX_BYTES = 1024 * 1024;

/** An answer that is not what was asked for. */
class Refusal extends Error {
  readonly code: number;
  readonly reason: string;
  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

interface Target {
  readonly action: "containerLogs" | "exec";
  readonly query: URLSearchParams;
  readonly served: ServedPod;
  readonly container: Container;
  readonly runner: ContainerRunner;
}

/**
 * Serves what the API server asks a kubelet: `GET /containerLogs/<namespace>/<pod>/<container>` and
 * `/exec/<namespace>/<pod>/<container>` as a WebSocket, both with `kubectl`'s query parameters.
 */
export async function startKubeletServer(options: KubeletServerOptions): Promise<KubeletServer> {
  const leave = new AbortController();
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MESSAGE_MAX_BYTES,
    handleProtocols: (offered) => EXEC_PROTOCOLS.find((name) => offered.has(name)) ?? false,
  });
  const server = createServer((request, response) => {
    answer(options, request, response, leave.signal).catch((error: unknown) => {
      refuse(response, error, options.log);
    });
  });
  server.on("upgrade", (request, socket, head) => {
    try {
      const target = targetOf(options, request);
      if (target.action !== "exec")
        throw new Refusal(400, "BadRequest", "only exec is a WebSocket");
      const start = execStarter(target);
      const offered = (request.headers["sec-websocket-protocol"] ?? "").split(/\s*,\s*/);
      if (!EXEC_PROTOCOLS.some((name) => offered.includes(name))) {
        const known = EXEC_PROTOCOLS.join(", ");
        throw new Refusal(400, "BadRequest", `unsupported subprotocol, expected one of ${known}`);
      }
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        void serveExec(webSocket, start, {
          stdout: isSet(target.query, "stdout", "output"),
          stderr: isSet(target.query, "stderr", "error"),
          tty: isSet(target.query, "tty"),
        });
      });
    } catch (error) {
      const { code, body } = statusFor(error, options.log);
      const text = JSON.stringify(body);
      socket.end(
        `HTTP/1.1 ${code} Refused\r\ncontent-type: application/json\r\n` +
          `content-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
      );
    }
  });
  await listen(server, options.host, options.port);
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      leave.abort();
      for (const socket of sockets.clients) socket.terminate();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

async function answer(
  options: KubeletServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  leave: AbortSignal,
): Promise<void> {
  if (requestUrl(request.url).pathname === "/healthz") {
    response.end("ok");
    return;
  }
  const target = targetOf(options, request);
  if (target.action === "exec") {
    throw new Refusal(400, "BadRequest", "exec needs a WebSocket: kubectl 1.30 or newer");
  }
  await sendLog(options, target, response, leave);
}

function isAuthorized(request: IncomingMessage, token: string): boolean {
  const given = Buffer.from(request.headers.authorization ?? "");
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function targetOf(options: KubeletServerOptions, request: IncomingMessage): Target {
  if (!isAuthorized(request, options.token)) {
    throw new Refusal(401, "Unauthorized", "Unauthorized");
  }
  const url = requestUrl(request.url);
  const [action, namespace, name, containerName, ...rest] = url.pathname
    .slice(1)
    .split("/")
    .map(decodeURIComponent);
  const isKnown = action === "containerLogs" || action === "exec";
  if (!isKnown || namespace === undefined || name === undefined || rest.length > 0) {
    throw new Refusal(404, "NotFound", `no such path: ${url.pathname}`);
  }
  const served = options.find(namespace, name);
  if (served === undefined) throw new Refusal(404, "NotFound", `pods "${name}" not found`);
  const { containers, initContainers = [] } = served.pod.spec;
  const container = [...containers, ...initContainers].find(
    (candidate) => candidate.name === containerName,
  );
  const runner = served.runner(containerName ?? "");
  if (container === undefined || runner === undefined) {
    const message = `container ${containerName} is not valid for pod ${name}`;
    throw new Refusal(400, "BadRequest", message);
  }
  return { action, query: url.searchParams, served, container, runner };
}

function isSet(query: URLSearchParams, ...names: string[]): boolean {
  return names.some((name) => ["1", "true"].includes(query.get(name) ?? ""));
}

function count(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  if (!/^\d+$/.test(text)) {
    throw new Refusal(400, "BadRequest", `${name} must be a whole number, not ${text}`);
  }
  return Number(text);
}

function logOptions(query: URLSearchParams, nowMs: number): LogOptions {
  const sinceSeconds = count(query, "sinceSeconds");
  const sinceTime = query.get("sinceTime") ?? undefined;
  const sinceTimeMs = fromTimestamp(sinceTime);
  if (sinceTime !== undefined && sinceTimeMs === undefined) {
    throw new Refusal(400, "BadRequest", `sinceTime must be RFC 3339, not ${sinceTime}`);
  }
  return {
    follow: isSet(query, "follow"),
    timestamps: isSet(query, "timestamps"),
    tailLines: count(query, "tailLines"),
    limitBytes: count(query, "limitBytes"),
    sinceMs: sinceSeconds === undefined ? sinceTimeMs : nowMs - sinceSeconds * 1000,
  };
}

async function sendLog(
  { clock }: KubeletServerOptions,
  { query, served, container, runner }: Target,
  response: ServerResponse,
  leave: AbortSignal,
): Promise<void> {
  const options = logOptions(query, clock.now());
  const isPrevious = isSet(query, "previous");
  const folder = runner.folder(isPrevious ? 1 : 0);
  const { name } = served.pod.metadata;
  if (folder === undefined) {
    throw new Refusal(
      400,
      "BadRequest",
      isPrevious
        ? `previous terminated container "${container.name}" in pod "${name}" not found`
        : `container "${container.name}" in pod "${name}" is waiting to start: ${waitingReason(served.pod, container)}`,
    );
  }
  response.writeHead(200, { "content-type": "text/plain" });
  // The headers tell a follower of a silent container that all is well.
  response.flushHeaders();
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const signal = AbortSignal.any([leave, gone.signal]);
  const ended = isPrevious ? Promise.resolve() : runner.ended;
  const lines = readLog(folder, options, { ended, clock, signal });
  await pipeline(Readable.from(lines), response).catch((error: unknown) => {
    // A reader that leaves, as `kubectl logs -f` does at Ctrl-C, is no failure.
    if (!signal.aborted) throw error;
  });
}

function waitingReason(pod: Pod, container: Container): string {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  const status = [...containerStatuses, ...initContainerStatuses].find(
    (candidate) => candidate.name === container.name,
  );
  return status?.state?.waiting?.reason ?? "ContainerCreating";
}

function execStarter({ query, served, container, runner }: Target) {
  const folder = runner.folder(0);
  if (folder === undefined || !runner.isRunning) {
    const message = `container not found ("${container.name}")`;
    throw new Refusal(400, "BadRequest", message);
  }
  const command = query.getAll("command");
  if (command.length === 0) throw new Refusal(400, "BadRequest", "you must specify a command");
  const stdin = isSet(query, "stdin", "input");
  return () => execInContainer({ command, container: served.command(container), folder, stdin });
}

function statusFor(error: unknown, log: Log): { code: number; body: KubeStatus } {
  const isRefusal = error instanceof Refusal;
  if (!isRefusal) log.error("Request failed", { error: messageOf(error) });
  const code = isRefusal ? error.code : 500;
  const body: KubeStatus = {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: messageOf(error),
    reason: isRefusal ? error.reason : "InternalError",
    code,
  };
  return { code, body };
}

function refuse(response: ServerResponse, error: unknown, log: Log): void {
  const { code, body } = statusFor(error, log);
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(code, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
