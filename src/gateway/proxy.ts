import type { IncomingMessage, RequestListener } from "node:http";
import type { Clock } from "#base/clock.ts";
import { describeError } from "#base/network-error.ts";
import { pickEndpoint } from "#core/route/pick.ts";
import type { Route, RouteEndpoint, RouteTable } from "#core/route/table.ts";
import { BodyTooLarge } from "#serve/body.ts";
import type { Log } from "#telemetry/log.ts";
import { Exchange } from "./exchange.ts";
import { upstreamHeaders } from "./headers.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { BadBody, type ModelField, ModelScanner } from "./model-scanner.ts";
import { modelBody, modelList } from "./models-api.ts";
import { boundaryOf, MultipartScanner } from "./multipart-scanner.ts";
import {
  type ApiError,
  badRequest,
  gatewayNotReady,
  methodNotAllowed,
  modelNotFound,
  modelNotReady,
  tooLarge,
  unknownUrl,
  upstreamFailed,
  upstreamTimedOut,
} from "./openai-error.ts";
import { isInferencePath } from "./paths.ts";
import { RequestBody } from "./request-body.ts";
import { type TryOutcome, tryUpstream } from "./upstream-try.ts";
import type { Upstreams } from "./upstreams.ts";

const MODELS = "/v1/models";

export interface ProxyDeps {
  readonly table: () => RouteTable;
  /** Why the table says nothing yet; undefined when it does. */
  readonly notReady: () => string | undefined;
  readonly upstreams: Upstreams;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: GatewayMetrics;
  /** 0 to 1; decides between equally loaded pods. */
  readonly random: () => number;
  readonly limits: {
    readonly bodyBytesMax: number;
    readonly replayBytesMax: number;
    readonly triesMax: number;
  };
}

/** Answers OpenAI's API: the models that there are, and every inference call by the pod that serves its model. */
export function createProxy(deps: ProxyDeps): RequestListener {
  return (request, response) => {
    const exchange = new Exchange(request, response, deps);
    serve(deps, exchange, request).catch((error: unknown) => {
      deps.log.error("Request failed in the gateway itself", {
        requestId: exchange.requestId,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
      exchange.breakOff(upstreamFailed(exchange.model ?? "", "internal error"));
    });
  };
}

async function serve(deps: ProxyDeps, exchange: Exchange, request: IncomingMessage): Promise<void> {
  const { method = "GET" } = request;
  const { path } = exchange;
  const missing = deps.notReady();
  // Not a word about models before they are known: "does not exist" would be a lie.
  if (missing !== undefined) exchange.refuse(gatewayNotReady(missing));
  else if (path === MODELS || path.startsWith(`${MODELS}/`)) {
    if (method === "GET" || method === "HEAD") serveModels(deps, exchange);
    else exchange.refuse(methodNotAllowed(method, path));
  } else if (!isInferencePath(path)) exchange.refuse(unknownUrl(method, path));
  else if (method !== "POST") exchange.refuse(methodNotAllowed(method, path));
  else await forward(deps, exchange, request);
}

function serveModels(deps: ProxyDeps, exchange: Exchange): void {
  const table = deps.table();
  if (exchange.path === MODELS || exchange.path === `${MODELS}/`) {
    exchange.answer(modelList(table));
    return;
  }
  const id = decoded(exchange.path.slice(MODELS.length + 1));
  const body = modelBody(table, id);
  if (body === undefined) exchange.refuse(modelNotFound(id));
  else exchange.answer(body);
}

/** Sends the request to a pod that serves its model, and to another one while nothing has been answered. */
async function forward(
  deps: ProxyDeps,
  exchange: Exchange,
  request: IncomingMessage,
): Promise<void> {
  const boundary = boundaryOf(request.headers["content-type"]);
  const scanner = boundary === undefined ? new ModelScanner() : new MultipartScanner(boundary);
  const body = new RequestBody(request, scanner, {
    bytesMax: deps.limits.bodyBytesMax,
    replayBytesMax: deps.limits.replayBytesMax,
  });
  exchange.body = body;
  let field: ModelField;
  try {
    field = await body.readModel();
  } catch (error) {
    refuseBody(exchange, error);
    return;
  }
  exchange.model = field.value;
  const tried = new Set<string>();
  let failure: TryOutcome | undefined;
  while (!exchange.signal.aborted) {
    // Read anew for each try: the table may know better by now.
    const route = deps.table().lookup(field.value);
    const isLast = exchange.tries >= deps.limits.triesMax || !body.isReplayable;
    if (route !== undefined) exchange.route = route;
    const endpoint =
      route === undefined || isLast
        ? undefined
        : pickEndpoint(route, deps.upstreams.loadOf, tried, deps.random());
    if (route === undefined || endpoint === undefined) {
      giveUp(exchange, field.value, route, failure);
      return;
    }
    tried.add(endpoint.address);
    if (failure !== undefined) deps.metrics.retried(route, reasonOf(failure));
    failure = await tryOnce(deps, exchange, { request, body, field, route, endpoint, boundary });
    if (failure === undefined) return;
    // Time is up for the caller, too; and what was sent cannot be taken back.
    if (failure.kind === "failed" && failure.reason === "timeout") {
      exchange.refuse(upstreamTimedOut(field.value));
      return;
    }
  }
}

interface Try {
  request: IncomingMessage;
  body: RequestBody;
  field: ModelField;
  route: Route;
  endpoint: RouteEndpoint;
  /** Of a form; undefined for JSON. */
  boundary: string | undefined;
}

/** One try; undefined when the caller has its answer, whatever it is. */
async function tryOnce(
  deps: ProxyDeps,
  exchange: Exchange,
  { request, body, field, route, endpoint, boundary }: Try,
): Promise<TryOutcome | undefined> {
  const { engineModel, address } = endpoint;
  const isRenamed = engineModel !== field.value;
  const written = boundary === undefined ? JSON.stringify(engineModel) : engineModel;
  const forTry = body.forTry(field, isRenamed ? Buffer.from(written) : undefined);
  exchange.beginTry(endpoint);
  const { pool, release } = deps.upstreams.acquire(address);
  const outcome = await tryUpstream(
    pool,
    {
      ...forTry,
      method: request.method ?? "POST",
      path: request.url ?? "/",
      headers: upstreamHeaders(request, exchange.requestId, forTry.lengthBytes),
    },
    exchange.sink(isRenamed ? field.value : undefined),
    exchange.signal,
  ).finally(release);
  if (outcome.kind === "answered" || exchange.signal.aborted) return undefined;
  if (body.error !== undefined) {
    // Not the engine's fault: the rest of the body was.
    refuseBody(exchange, body.error);
    return undefined;
  }
  deps.metrics.upstreamFailed(route, reasonOf(outcome));
  if (outcome.kind === "broken") {
    exchange.breakOff(upstreamFailed(field.value, describeError(outcome.error)));
    return undefined;
  }
  if (outcome.kind === "failed" && outcome.reason !== "timeout") deps.upstreams.suspect(address);
  deps.log.info("Upstream failed", {
    requestId: exchange.requestId,
    model: field.value,
    pod: endpoint.pod,
    reason: reasonOf(outcome),
    ...(outcome.kind === "failed" ? { error: describeError(outcome.error) } : {}),
  });
  return outcome;
}

/** No pod is left to try: the last failure, or its absence, says what to answer. */
function giveUp(
  exchange: Exchange,
  model: string,
  route: Route | undefined,
  failure: TryOutcome | undefined,
): void {
  if (route === undefined) exchange.refuse(modelNotFound(model));
  else if (failure === undefined) exchange.refuse(modelNotReady(model, route.phase));
  else if (failure.kind === "failed") {
    exchange.refuse(upstreamFailed(model, describeError(failure.error)));
  } else if (failure.kind === "refused" && failure.reason === "unavailable") {
    exchange.passOn(failure.status, failure.headers, failure.body);
  } else exchange.refuse(modelNotReady(model, route.phase));
}

function refuseBody(exchange: Exchange, error: unknown): void {
  let answer: ApiError | undefined;
  if (error instanceof BadBody) answer = badRequest(error.message);
  else if (error instanceof BodyTooLarge) answer = tooLarge(error.limitBytes);
  // Anything else is a caller that stopped sending: there is nobody to answer.
  if (answer === undefined) exchange.close();
  else exchange.breakOff(answer);
}

function reasonOf(outcome: TryOutcome): string {
  return outcome.kind === "failed" || outcome.kind === "refused" ? outcome.reason : outcome.kind;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
