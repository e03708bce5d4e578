import { Agent } from "undici";
import { isForbiddenAddress } from "#artifact/address-guard.ts";
import { createDelivery, type DeliveryOptions } from "#artifact/deliver.ts";
import { createHttpClient } from "#artifact/http-client.ts";
import type { Clock } from "#base/clock.ts";
import { messageOf, UserError } from "#base/errors.ts";
import type { Engine } from "#engine/engine.ts";
import { listen } from "#serve/server.ts";
import type { Log } from "#telemetry/log.ts";
import { Adapters } from "./adapters.ts";
import { createApp } from "./app.ts";
import { getFromEngine } from "./engine-proxy.ts";
import { adaptersInUse } from "./lora-requests.ts";
import { Models } from "./models.ts";
import type { RuntimeOptions } from "./options.ts";
import { createOwnMetrics } from "./own-metrics.ts";

const SCRAPE_TIMEOUT_MS = 5_000;

export interface RuntimeDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly log: Log;
  /** Of Loradock, for aibrix:info. */
  readonly version: string;
  /** Told the port once requests are taken. */
  readonly onListening?: (port: number) => void;
}

/**
 * Runs the sidecar until `signal` is aborted; then requests in flight are finished.
 * @throws UserError when the port or the adapters' folder cannot be had.
 */
export async function runRuntime(
  deps: RuntimeDeps,
  options: RuntimeOptions,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log, engine } = deps;
  // Loads in flight may finish while the server drains; only then everything ends.
  const work = new AbortController();
  const http = createHttpClient(isForbiddenAddress, options.network);
  const dispatcher = new Agent();
  const deliveryOptions: DeliveryOptions = {
    content: "adapter",
    root: options.adapterRoot,
    cacheBytesMax: options.cacheBytesMax,
    credentialsFolder: options.credentialsFolder,
    settings: options.sources,
    http,
    clock,
    log,
  };
  const inUse = async (stop: AbortSignal) => {
    if (options.engine !== "vllm") return undefined;
    const get = { dispatcher, timeoutMs: SCRAPE_TIMEOUT_MS, signal: stop };
    const answer = await getFromEngine(`${options.engineUrl}/metrics`, get).catch(() => undefined);
    return answer?.status === 200 ? adaptersInUse(answer.body.toString("utf8")) : undefined;
  };
  const adapters = new Adapters(
    { delivery: createDelivery(deliveryOptions), engine, inUse, clock, log, signal: work.signal },
    {
      engineUrl: options.engineUrl,
      downloadTimeoutMs: options.downloadTimeoutMs,
      maxRank: options.maxRank,
      allowPickle: options.sources.allowPickle,
    },
  );
  const modelDelivery = createDelivery({
    ...deliveryOptions,
    content: "model",
    root: options.modelRoot,
  });
  const models = new Models(modelDelivery, log, work.signal);
  const metrics = createOwnMetrics(options, deps.version);
  try {
    await adapters.open().catch((error: unknown) => {
      throw new UserError(
        `the adapters' folder ${options.adapterRoot} cannot be used: ${messageOf(error)}; mount a writable volume there or set AIBRIX_ADAPTER_DIR`,
        { cause: error },
      );
    });
    const app = createApp(
      { adapters, models, metrics, dispatcher, clock, log, signal: work.signal },
      options,
    );
    const server = await listen(
      {
        host: options.host,
        port: options.port,
        title: "the runtime sidecar",
        cure: "set --port or PORT",
        handler: app,
        log,
        clock,
      },
      signal,
    );
    log.info("Started the runtime sidecar", {
      engine: options.engine,
      endpoint: options.engineUrl,
      adapters: options.adapterRoot,
    });
    deps.onListening?.(server.port);
    await server.closed;
  } finally {
    work.abort(new DOMException("the sidecar is stopping", "AbortError"));
    await Promise.all([adapters.close(), http.close(), dispatcher.destroy()]);
  }
}
