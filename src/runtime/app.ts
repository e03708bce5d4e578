import { timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type Context, Hono } from "hono";
import type { Dispatcher } from "undici";
import { checkAdapterName } from "#artifact/store.ts";
import type { Clock } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import { METRIC_NAMES } from "#core/metrics/rules.ts";
import type { Log } from "#telemetry/log.ts";
import { type Adapters, LoadError, type LoadRequest, type LoadResult } from "./adapters.ts";
import { AsyncLoads, asyncPreference } from "./async-loads.ts";
import { getFromEngine, isEngineReady } from "./engine-proxy.ts";
import { type Problem, problemOf } from "./errors.ts";
import type { Models } from "./models.ts";
import type { RuntimeOptions } from "./options.ts";
import type { OwnMetrics } from "./own-metrics.ts";
import { bearer, parseLoad, parseModelDownload, parseUnload, readJson } from "./requests.ts";
import { composeExposition } from "./scrape.ts";

/** Probes have a second by default; an engine that needs longer to say that it is well is not. */
const READY_TIMEOUT_MS = 2_000;
const LIST_TIMEOUT_MS = 10_000;
const SCRAPE_TIMEOUT_MS = 5_000;
/** How often a list of models is taken as an occasion to remove old versions. */
const TIDY_PAUSE_MS = 10_000;
/** Carries the sidecar's own token: Authorization is the engine's. */
const TOKEN_HEADER = "x-loradock-token";
/** Which versions of the text formats we can add to. */
const METRICS_ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

export interface AppDeps {
  readonly adapters: Adapters;
  readonly models: Models;
  readonly metrics: OwnMetrics;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the process' work. */
  readonly signal: AbortSignal;
}

/** The sidecar's HTTP API. */
export function createApp(deps: AppDeps, options: RuntimeOptions): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    const startedAt = deps.clock.now();
    await next();
    // Scrapes and probes of a sidecar at rest are not what its users do.
    if (c.req.path === "/metrics") return;
    deps.metrics.apiRequest({
      method: c.req.method,
      endpoint: ROUTES.has(c.req.path) ? c.req.path : "other",
      status: c.res.status,
      seconds: (deps.clock.now() - startedAt) / 1000,
    });
  });
  app.onError((error, c) => {
    if (c.req.raw.signal.aborted) return c.body(null, 499 as 400);
    const problem = error instanceof LoadError ? error.problem : problemOf(error);
    if (problem.code === "Internal") deps.log.error("Request failed", { error: problem.error });
    return answerProblem(c, problem);
  });
  app.notFound((c) => {
    const error = `there is no ${c.req.method} ${c.req.path}`;
    return answerProblem(c, { status: 404, error, code: "InvalidRequest", retriable: false });
  });
  addLoraRoutes(app, deps, options);
  addModelRoutes(app, deps, options);
  addObservationRoutes(app, deps, options);
  if (options.docs) {
    app.get("/openapi.json", async (c) => c.json((await import("./openapi.ts")).OPENAPI));
    app.get("/docs", async (c) => c.html((await import("./openapi.ts")).docsPage()));
  }
  return app;
}

/** Paths that may appear as a label. */
const ROUTES = new Set([
  "/v1/lora_adapter/load",
  "/v1/lora_adapter/unload",
  "/v1/lora_adapter/status",
  "/v1/models",
  "/v1/model/download",
  "/v1/model/list",
  "/healthz",
  "/ready",
]);

function answerProblem(c: Context, { status, ...body }: Problem): Response {
  return c.json({ error: body.error, code: body.code, retriable: body.retriable }, status as 400);
}

/** Lets pass who brings the token of the file, when there is such a file. */
async function checkToken(c: Context, file: string | undefined): Promise<Response | undefined> {
  if (file === undefined) return undefined;
  const wanted = Buffer.from((await readFile(file, "utf8")).trim());
  const given = Buffer.from(c.req.header(TOKEN_HEADER) ?? "");
  const isRight =
    wanted.length > 0 && wanted.length === given.length && timingSafeEqual(wanted, given);
  if (isRight) return undefined;
  const error = `Access denied: this sidecar asks for its token in the header ${TOKEN_HEADER}`;
  return answerProblem(c, { status: 403, error, code: "AccessDenied", retriable: false });
}

function addLoraRoutes(app: Hono, deps: AppDeps, options: RuntimeOptions): void {
  const { adapters, metrics, clock } = deps;
  const load = async (request: LoadRequest, signal?: AbortSignal): Promise<LoadResult> => {
    const startedAt = clock.now();
    const done = (result: string) => metrics.load(result, (clock.now() - startedAt) / 1000);
    try {
      const result = await adapters.load(request, signal);
      done(result.engine.replaceAll(" ", "_"));
      return result;
    } catch (error) {
      done(error instanceof LoadError ? error.problem.code : "Cancelled");
      throw error;
    }
  };

  const asyncLoads = new AsyncLoads(clock, load);

  app.post("/v1/lora_adapter/load", async (c) => {
    const denied = await checkToken(c, options.tokenFile);
    if (denied !== undefined) return denied;
    const parsed = parseLoad(await readJson(c.req.raw), c.req.header("authorization"));
    const request = { ...parsed, apiKey: parsed.apiKey ?? options.engineApiKey };
    const preference = asyncPreference(c.req.header("prefer"));
    if (preference === undefined) {
      return c.json(loadedAnswer(request, await load(request, c.req.raw.signal)));
    }
    checkAdapterName(request.name);
    const result = await asyncLoads.start(request, preference);
    if (result !== undefined) return c.json(loadedAnswer(request, result));
    const status = `/v1/lora_adapter/status?lora_name=${request.name}`;
    c.header("preference-applied", "respond-async");
    c.header("location", status);
    return c.json({ status: "accepted", lora_name: request.name, status_url: status }, 202);
  });

  app.post("/v1/lora_adapter/unload", async (c) => {
    const denied = await checkToken(c, options.tokenFile);
    if (denied !== undefined) return denied;
    const parsed = parseUnload(await readJson(c.req.raw), c.req.header("authorization"));
    try {
      await adapters.unload({ ...parsed, apiKey: parsed.apiKey ?? options.engineApiKey });
      metrics.unload("unloaded");
    } catch (error) {
      metrics.unload(error instanceof LoadError ? error.problem.code : "InvalidRequest");
      throw error;
    }
    return c.json({ status: "success", message: `Successfully unloaded adapter ${parsed.name}` });
  });

  app.get("/v1/lora_adapter/status", (c) => {
    const name = c.req.query("lora_name");
    if (name === undefined) return c.json({ adapters: adapters.progress.all() });
    asyncLoads.asked(name);
    const status = adapters.progress.get(name);
    if (status !== undefined) return c.json(status);
    const error = "Not found: no load of this adapter is known";
    return answerProblem(c, { status: 404, error, code: "NotFound", retriable: false });
  });
}

function loadedAnswer({ name }: LoadRequest, { localPath, path, engine }: LoadResult) {
  return {
    status: "success",
    message: `Successfully loaded adapter ${name}`,
    local_path: localPath,
    loaded_path: path,
    engine_response: { status: engine, lora_name: name, lora_path: path },
  };
}

function addModelRoutes(app: Hono, deps: AppDeps, options: RuntimeOptions): void {
  let tidiedAt = Number.NEGATIVE_INFINITY;

  app.get("/v1/models", async (c) => {
    const { authorization, apiKey } = engineAuth(c, options);
    const answer = await getFromEngine(`${options.engineUrl}/v1/models`, {
      dispatcher: deps.dispatcher,
      timeoutMs: LIST_TIMEOUT_MS,
      authorization,
      signal: deps.signal,
    });
    if (answer.status === 200 && deps.clock.now() - tidiedAt > TIDY_PAUSE_MS) {
      tidiedAt = deps.clock.now();
      deps.adapters.tidy(apiKey).catch((error: unknown) => {
        // It comes again with the next list.
        deps.log.warn("Earlier versions could not be removed", { error: messageOf(error) });
      });
    }
    return new Response(new Uint8Array(answer.body), {
      status: answer.status,
      // An engine that restarted has forgotten everything: the list of a moment ago is worth nothing.
      headers: { "content-type": answer.contentType, "cache-control": "no-store" },
    });
  });

  app.post("/v1/model/download", async (c) => {
    const denied = await checkToken(c, options.tokenFile);
    if (denied !== undefined) return denied;
    return c.json(await deps.models.download(parseModelDownload(await readJson(c.req.raw))));
  });

  app.get("/v1/model/list", async (c) =>
    c.json({ object: "list", data: await deps.models.list() }),
  );
}

/** The caller's Authorization as it is; our own key where the caller brings none. */
function engineAuth(c: Context, { engineApiKey }: RuntimeOptions) {
  const own = engineApiKey === undefined ? undefined : `Bearer ${engineApiKey}`;
  const authorization = c.req.header("authorization") ?? own;
  return { authorization, apiKey: bearer(authorization) };
}

function addObservationRoutes(app: Hono, deps: AppDeps, options: RuntimeOptions): void {
  const { dispatcher, signal, log, metrics } = deps;

  app.get("/healthz", (c) => c.json({ status: "ok" }));

  app.get("/ready", async (c) => {
    const get = { dispatcher, timeoutMs: READY_TIMEOUT_MS, signal };
    const state = await isEngineReady(options.engineUrl, get);
    if (state.ready) return c.json({ status: "ready" });
    return c.json({ status: "not ready", error: state.why }, 503);
  });

  app.get("/metrics", async (c) => {
    const path = options.metrics.path.replace(/^(?!\/)/, "/");
    const scraped = await getFromEngine(options.engineUrl + path, {
      dispatcher,
      timeoutMs: SCRAPE_TIMEOUT_MS,
      authorization: engineAuth(c, options).authorization,
      accept: METRICS_ACCEPT,
      signal,
    }).catch((error: unknown) => problemOf(error));
    if ("error" in scraped) {
      const status = /timeout/.test(scraped.error) ? 504 : 502;
      return c.text(`scraping the engine failed: ${scraped.error}\n`, status);
    }
    if (scraped.status !== 200) {
      return c.text(`scraping the engine failed: ${path} answers ${scraped.status}\n`, 502);
    }
    const headers = { "content-type": scraped.contentType };
    if (options.metrics.isRaw) return new Response(new Uint8Array(scraped.body), { headers });
    const names = METRIC_NAMES[options.engine] ?? {};
    const own = await metrics.registry.text();
    const { body, contentType, fault } = composeExposition(scraped, names, own);
    if (fault !== undefined) {
      metrics.translationFault();
      log.warn("Serving the engine's metrics untranslated", { error: problemOf(fault).error });
    }
    const bytes = typeof body === "string" ? body : new Uint8Array(body);
    return new Response(bytes, { headers: { "content-type": contentType } });
  });
}
