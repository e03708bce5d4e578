import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Clock } from "#base/clock.ts";
import type { KubeClient } from "#kube/client.ts";
import { parseListenAddress } from "#serve/address.ts";
import { createProbes, probesFetch } from "#serve/probes.ts";
import { listen } from "#serve/server.ts";
import type { Log } from "#telemetry/log.ts";
import type { Metrics } from "#telemetry/metrics.ts";
import { createGatewayMetrics } from "./metrics.ts";
import { createProxy } from "./proxy.ts";
import { startRoutes } from "./routes.ts";
import { Upstreams } from "./upstreams.ts";

export interface GatewayDeps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface GatewayOptions {
  /** Empty: all interfaces. */
  readonly host: string;
  readonly port: number;
  /** `host:port` for probes and metrics alone; left out: they are on the gateway's own port. */
  readonly adminBindAddress?: string | undefined;
  /** What an address without a host listens on. */
  readonly emptyHost?: string | undefined;
  /** Whose models answer to their bare name when several namespaces have one of that name. */
  readonly defaultNamespace: string;
  readonly maxBodyBytes: number;
  /** How much of a body is kept so that another pod can be tried; longer ones are sent once. */
  readonly replayBytes: number;
  /** Pods that one request is tried on at most. */
  readonly maxTries: number;
  readonly connectTimeoutMs: number;
  /** From the request to the first byte of the engine's answer; without streaming that is the whole generation. */
  readonly firstByteTimeoutMs: number;
  /** Between two pieces of an answer. */
  readonly idleTimeoutMs: number;
  /** How long requests in flight may go on after the stop. */
  readonly drainMs: number;
}

export const gatewayDefaults: GatewayOptions = {
  host: "",
  port: 8888,
  defaultNamespace: "default",
  maxBodyBytes: 64 * 1024 * 1024,
  replayBytes: 8 * 1024 * 1024,
  maxTries: 3,
  connectTimeoutMs: 3_000,
  firstByteTimeoutMs: 600_000,
  idleTimeoutMs: 300_000,
  drainMs: 25_000,
};

/** What a running gateway is told apart by, for whoever started it on port 0. */
export interface RunningGateway {
  readonly port: number;
  readonly adminPort: number | undefined;
}

/**
 * The embedded proxy: OpenAI's API over all models of the cluster, until `signal` is aborted.
 * `onListening` hears the ports once they are open; the routes may still be missing then.
 * @throws UserError when an address cannot be had.
 */
export async function runGateway(
  deps: GatewayDeps,
  options: GatewayOptions,
  signal: AbortSignal,
  onListening?: (running: RunningGateway) => void,
): Promise<void> {
  const { clock, log, metrics } = deps;
  // The routes and connections outlive the stop until the last request is answered.
  const drained = new AbortController();
  const routes = startRoutes(deps, options.defaultNamespace, drained.signal);
  const upstreams = new Upstreams(clock, {
    connectMs: options.connectTimeoutMs,
    firstByteMs: options.firstByteTimeoutMs,
    idleMs: options.idleTimeoutMs,
  });
  routes.onChange((table) => {
    const addresses = [...table.names.values()].flatMap((route) =>
      route.endpoints.map((endpoint) => endpoint.address),
    );
    upstreams.retain(new Set(addresses));
  });
  let inFlight = 0;
  const proxy = createProxy({
    table: routes.current,
    notReady: routes.notReady,
    upstreams,
    clock,
    log,
    metrics: createGatewayMetrics(metrics, () => inFlight),
    random: deps.random,
    limits: {
      bodyBytesMax: options.maxBodyBytes,
      replayBytesMax: options.replayBytes,
      triesMax: options.maxTries,
    },
  });
  const counted: RequestListener = (request, response) => {
    inFlight++;
    response.once("close", () => inFlight--);
    proxy(request, response);
  };
  const notReady = () => (signal.aborted ? "shutting down" : routes.notReady());
  const probes = { notReady, metrics };
  const admin =
    options.adminBindAddress === undefined
      ? undefined
      : parseListenAddress("--admin-bind-address", options.adminBindAddress, options.emptyHost);
  const common = { clock, log, drainMs: options.drainMs };
  try {
    const main = await listen(
      {
        ...common,
        host: options.host === "" ? (options.emptyHost ?? "") : options.host,
        port: options.port,
        title: "the gateway",
        cure: "choose another with --port",
        handler: options.adminBindAddress === undefined ? withProbes(probes, counted) : counted,
      },
      signal,
    );
    const adminServer =
      admin === undefined
        ? undefined
        : await listen(
            {
              ...common,
              ...admin,
              title: "the gateway's admin server",
              cure: "choose another address with --admin-bind-address",
              handler: { fetch: probesFetch(probes) },
            },
            // Probes and metrics are readable to the end.
            drained.signal,
          );
    onListening?.({ port: main.port, adminPort: adminServer?.port });
    await main.closed;
    drained.abort();
    await adminServer?.closed;
  } finally {
    drained.abort();
    await routes.done;
    await upstreams.destroy();
  }
}

/** Answers the probes on the gateway's own port; everything else is the proxy's. */
function withProbes(
  options: Parameters<typeof createProbes>[0],
  proxy: RequestListener,
): RequestListener {
  const probes = createProbes(options);
  return (request, response) => {
    // Of all paths only a few begin so; the hot path must not pay for them.
    if (request.url?.startsWith("/v1/") === true) proxy(request, response);
    else {
      void answerProbe(probes, request, response).then((isProbe) => {
        if (!isProbe) proxy(request, response);
      });
    }
  };
}

async function answerProbe(
  probes: ReturnType<typeof createProbes>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
  const answer = await probes(request.method ?? "GET", path);
  if (answer === undefined) return false;
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  response.end(await answer.text());
  return true;
}
