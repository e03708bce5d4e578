import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import type { Clock } from "#base/clock.ts";
import { codeOf, messageOf, UserError } from "#base/errors.ts";
import type { EngineOptions } from "./engine-args.ts";
import { type EngineLog, newEngineLog } from "./engine-log.ts";
import { EngineMetrics } from "./engine-metrics.ts";
import { HttpMetrics } from "./http-metrics.ts";
import { Inference } from "./inference.ts";
import { type ModelConfig, readModelConfig } from "./model-config.ts";
import { ModelRegistry } from "./model-registry.ts";
import { engineRoutes, VLLM_VERSION } from "./routes.ts";
import { newEngineServer } from "./server.ts";
import { readTokenizer } from "./tokenizer.ts";

/** Weights larger than this are not for pure TypeScript: the bundled model stands in. */
const WEIGHTS_BYTES_MAX = 1024 ** 3;

/** A dead engine still answers, with errors, for as long as vLLM's watchdog lets it. */
const DEATH_LINGER_MS = 5_000;

/** Open answers get this long to finish after a stop was asked for. */
const DRAIN_MS_MAX = 30_000;

export type EngineDeps = {
  clock: Clock;
  /** Takes one line of the log, without its end. */
  writeLine: (line: string) => void;
  /** The folder of the bundled model. */
  bundledModelFolder: string;
};

/** An engine that answers. */
export type RunningEngine = {
  port: number;
  /** Resolves when everything is closed: after the signal, or some seconds after the engine died. */
  finished: Promise<"stopped" | "died">;
};

/**
 * Starts an engine with vLLM's HTTP surface; resolves when it answers. When `signal` is aborted it
 * takes no new connections, finishes the open answers, and ends.
 * @throws UserError when the port is taken or an adapter of the command line cannot be loaded
 */
export async function startEngine(
  options: EngineOptions,
  deps: EngineDeps,
  signal: AbortSignal,
): Promise<RunningEngine> {
  const log = newEngineLog(deps.writeLine, deps.clock.now, options.isAccessLogged);
  const model = chooseModel(options, deps.bundledModelFolder, log);
  const modelLengthMax = lengthOf(model.config, options, log);
  const { sequencesMax, lorasMax, isLoraEnabled } = options;
  const metrics = new EngineMetrics({
    modelName: options.servedModelNames[0] ?? "",
    modelLengthMax,
    sequencesMax,
    lorasMax: isLoraEnabled ? lorasMax : undefined,
  });
  const workerOptions = {
    modelFolder: model.folder,
    modelLengthMax,
    sequencesMax,
    adaptersMax: lorasMax,
    residentAdaptersMax: options.cpuLorasMax,
    rankMax: options.loraRankMax,
  };
  const inference = await Inference.start(workerOptions, metrics);
  try {
    const stop = new AbortController();
    const models = new ModelRegistry({
      inference,
      options,
      modelPath: model.path,
      modelLengthMax,
      log: log.info,
      signal: stop.signal,
    });
    for (const { name, path } of options.loraModules) await loadStatic(models, name, path);
    const httpMetrics = new HttpMetrics();
    const routes = engineRoutes({
      inference,
      models,
      metrics,
      httpMetrics,
      tokenizer: readTokenizer(model.folder),
      modelLengthMax,
      systemFingerprint: fingerprint(options, model.folder),
      isLoraUpdatingAllowed: options.isLoraUpdatingAllowed,
    });
    const server = newEngineServer({ routes, apiKeys: options.apiKeys, httpMetrics, log });
    const port = await listen(server, options, log);
    return { port, finished: live({ server, inference, stop, log, clock: deps.clock }, signal) };
  } catch (error) {
    await inference.close();
    throw error;
  }
}

type ChosenModel = {
  folder: string;
  /** As /v1/models shows it. */
  path: string;
  config: ModelConfig;
};

/** The model that the user named, if this engine can run it, else the bundled one; says which and why. */
function chooseModel(options: EngineOptions, bundled: string, log: EngineLog): ChosenModel {
  const { model, servedModelNames } = options;
  const names = servedModelNames.map((name) => `'${name}'`).join(", ");
  if (options.ignoredFlags.length > 0) {
    log.info(
      `These flags are accepted and have no effect in the built-in engine: ${options.ignoredFlags.join(", ")}`,
    );
  }
  const chosen = model === undefined ? "no --model was given" : tryModel(model);
  if (typeof chosen !== "string") {
    log.info(
      `Loradock's built-in engine (vLLM ${VLLM_VERSION} API) runs ${chosen.folder} as ${names}`,
    );
    return chosen;
  }
  log.info(
    `Loradock's built-in engine (vLLM ${VLLM_VERSION} API) runs its bundled tiny model as ${names}, not real weights of that name: ${chosen}`,
  );
  return { folder: bundled, path: bundled, config: readModelConfig(bundled) };
}

/** The model, or the reason why it cannot be run. */
function tryModel(model: string): ChosenModel | string {
  const folder = resolve(model);
  try {
    const size = statSync(join(folder, "model.safetensors")).size;
    if (size > WEIGHTS_BYTES_MAX)
      return `${model} has ${size} bytes of weights, more than it can run`;
    readTokenizer(folder);
    return { folder, path: model, config: readModelConfig(folder) };
  } catch (error) {
    if (codeOf(error) === "ENOENT") return `${model} is not a folder with a model's files`;
    return messageOf(error);
  }
}

function lengthOf(config: ModelConfig, { modelLengthMax }: EngineOptions, log: EngineLog): number {
  if (modelLengthMax === undefined || modelLengthMax <= config.positionsMax) {
    return modelLengthMax ?? config.positionsMax;
  }
  log.info(
    `--max-model-len ${modelLengthMax} is more than this model can do; it is ${config.positionsMax}`,
  );
  return config.positionsMax;
}

async function loadStatic(models: ModelRegistry, name: string, path: string): Promise<void> {
  try {
    await models.load({ name, path, inPlace: false });
  } catch (error) {
    throw new UserError(`--lora-modules ${name}=${path}: ${messageOf(error)}`);
  }
}

/** Equal for equal settings, like vLLM's. */
function fingerprint(options: EngineOptions, folder: string): string {
  const { loraRankMax, lorasMax, modelLengthMax } = options;
  const text = JSON.stringify([folder, loraRankMax, lorasMax, modelLengthMax]);
  return `vllm-${VLLM_VERSION}-${createHash("sha256").update(text).digest("hex").slice(0, 8)}`;
}

async function listen(
  server: Server,
  { host, port }: EngineOptions,
  log: EngineLog,
): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  }).catch((error: unknown) => {
    const reason =
      codeOf(error) === "EADDRINUSE" ? "another process listens there" : messageOf(error);
    throw new UserError(`cannot listen on ${host}:${port}: ${reason}`);
  });
  const address = server.address() as AddressInfo;
  log.server("Application startup complete.");
  log.server(`Uvicorn running on http://${host}:${address.port} (Press CTRL+C to quit)`);
  return address.port;
}

type Living = {
  server: Server;
  inference: Inference;
  /** Ends downloads and waiting loads. */
  stop: AbortController;
  log: EngineLog;
  clock: Clock;
};

async function live(engine: Living, signal: AbortSignal): Promise<"stopped" | "died"> {
  const { inference, log, clock } = engine;
  const stopped = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  const death = await Promise.race([inference.died, stopped]);
  if (death === undefined) {
    log.server("Shutting down");
    await close(engine, DRAIN_MS_MAX);
    return "stopped";
  }
  log.error(`EngineCore encountered a fatal error: ${death}`);
  await clock.sleep(DEATH_LINGER_MS, signal).catch(() => undefined);
  await close(engine, 0);
  return "died";
}

async function close({ server, inference, stop, clock }: Living, drainMs: number): Promise<void> {
  stop.abort(new Error("the engine is stopping"));
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const cancel = clock.after(drainMs, () => server.closeAllConnections());
  await closed;
  cancel();
  await inference.close();
}
