import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import type { Clock } from "#base/clock.ts";
import { codeOf, messageOf, UserError } from "#base/errors.ts";
import type { Log } from "#telemetry/log.ts";
import { formatAddress, type ListenAddress } from "./address.ts";

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

export interface ListenOptions extends ListenAddress {
  /** What listens, for a person: `the gateway`. */
  readonly title: string;
  /** How to choose another address, for the error when this one cannot be had: `set --port`. */
  readonly cure: string;
  /** Answers requests: Node's own form where each byte counts, the web standard's elsewhere. */
  readonly handler: RequestListener | { fetch: (request: Request) => Response | Promise<Response> };
  /** Takes over the connection of a request that leaves HTTP; without it such requests are refused. */
  readonly onUpgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  readonly tls?: TlsFiles;
  readonly log: Log;
  readonly clock: Clock;
  /** After the stop: how long requests in flight may go on. Default: 10 s. */
  readonly drainMs?: number;
  /** From the first to the last byte of a request. Default: 5 minutes. */
  readonly requestTimeoutMs?: number;
  /** Connections at once; further ones are closed. Default: 10,000. */
  readonly connectionsMax?: number;
}

export interface Listening extends ListenAddress {
  /** Resolves when the last connection has been closed, after the stop. */
  readonly closed: Promise<void>;
  /** Connections from now on use this certificate. */
  setTls(tls: TlsFiles): void;
}

const DRAIN_MS = 10_000;
const REQUEST_TIMEOUT_MS = 300_000;
const HEADERS_TIMEOUT_MS = 30_000;
const CONNECTIONS_MAX = 10_000;
/** Longer than the minute after which load balancers usually drop an idle connection, so that they do it first. */
const KEEP_ALIVE_MS = 75_000;
const HEADER_BYTES_MAX = 32 * 1024;
const BACKLOG = 1024;

/**
 * Listens until `signal` is aborted; then no new connection is taken, requests in flight get
 * `drainMs` to finish, and what is left is cut.
 * @throws UserError when the address cannot be had.
 */
export async function listen(options: ListenOptions, signal: AbortSignal): Promise<Listening> {
  const server = createHttpServer(options);
  server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX;
  if (options.onUpgrade !== undefined) server.on("upgrade", options.onUpgrade);
  const drain = trackForDrain(server);
  await bind(server, options);
  const { port } = server.address() as AddressInfo;
  options.log.info("Listening", {
    for: options.title,
    address: formatAddress({ host: options.host, port }),
  });

  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  const stop = () => {
    drain();
    const cancel = options.clock.after(options.drainMs ?? DRAIN_MS, () =>
      server.closeAllConnections(),
    );
    void closed.then(cancel);
  };
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  return {
    host: options.host,
    port,
    closed,
    setTls: (tls) => {
      if ("setSecureContext" in server) server.setSecureContext(tls);
    },
  };
}

function createHttpServer(options: ListenOptions): Server | TlsServer {
  const listener =
    typeof options.handler === "function"
      ? options.handler
      : getRequestListener(options.handler.fetch, { overrideGlobalObjects: false });
  const settings = {
    requestTimeout: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: HEADER_BYTES_MAX,
    noDelay: true,
  };
  if (options.tls === undefined) return createServer(settings, listener);
  return createTlsServer({ ...settings, ...options.tls }, listener);
}

function bind(server: Server, options: ListenOptions): Promise<void> {
  const { host, port } = options;
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(explain(error, options)));
    server.listen({ port, backlog: BACKLOG, ...(host === "" ? {} : { host }) }, () => {
      server.removeAllListeners("error");
      // From here on an error is one of accepting a single connection (too many open files).
      server.on("error", (error) => {
        options.log.error("Accepting a connection failed", { error: messageOf(error) });
      });
      resolve();
    });
  });
}

function explain(error: Error, options: ListenOptions): Error {
  const what = `${options.title} cannot listen on ${formatAddress(options)}`;
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return new UserError(
        `${what}: another process uses the port; stop that process or ${options.cure}`,
        { cause: error },
      );
    case "EACCES":
      return new UserError(
        `${what}: permission denied (ports below 1024 need it); ${options.cure}`,
        {
          cause: error,
        },
      );
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return new UserError(`${what}: this machine has no such address; ${options.cure}`, {
        cause: error,
      });
    default:
      return error;
  }
}

/** Returns what begins the drain: idle connections close now, busy ones after their answer. */
function trackForDrain(server: Server): () => void {
  const inFlight = new Set<ServerResponse>();
  let isDraining = false;
  // Before the handler, so that an answer that is written at once is known, too.
  server.prependListener("request", (_request, response: ServerResponse) => {
    if (isDraining) response.shouldKeepAlive = false;
    inFlight.add(response);
    response.once("close", () => {
      inFlight.delete(response);
      if (isDraining) setImmediate(() => server.closeIdleConnections());
    });
  });
  return () => {
    isDraining = true;
    // Says `Connection: close`, unless the headers are out already.
    for (const response of inFlight) response.shouldKeepAlive = false;
    server.close();
  };
}
