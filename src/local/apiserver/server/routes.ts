import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "#base/errors.ts";
import { requestUrl } from "#serve/request-url.ts";
import type { Log } from "#telemetry/log.ts";
import { ApiError, methodNotSupported, notFound } from "../registry/api-error.ts";
import type { ApiContext } from "./api-context.ts";
import { answerDiscovery } from "./discovery-routes.ts";
import { type Exchange, sendObject } from "./exchange.ts";
import {
  execWithoutWebSocket,
  proxyExec,
  refuseUpgrade,
  subresourceNotServed,
} from "./kubelet-proxy.ts";
import { answerObjects } from "./object-routes.ts";
import { type RequestInfo, requestInfo } from "./request-info.ts";
import { answerReview } from "./reviews.ts";
import { answerBinding, kubeletTarget, subresourceHandler } from "./subresources.ts";

const HEALTH = ["/healthz", "/readyz", "/livez"];
/** Open to everybody, as on a real API server. */
const PUBLIC = [...HEALTH, "/version"];

/** Answers one request, whatever happens. */
export async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  context: ApiContext,
): Promise<void> {
  const url = requestUrl(request.url);
  try {
    if (HEALTH.some((path) => url.pathname === path || url.pathname.startsWith(`${path}/`))) {
      const headers = {
        "content-type": "text/plain; charset=utf-8",
        "x-content-type-options": "nosniff",
      };
      response.writeHead(200, headers).end("ok");
      return;
    }
    await route(exchangeOf(request, response, url, context), context);
  } catch (error) {
    refuse(request, response, error, context.log);
  }
}

function exchangeOf(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  context: ApiContext,
): Exchange {
  const user = context.tokens.authenticate(request.headers.authorization);
  if (user === undefined && !PUBLIC.includes(url.pathname)) {
    throw new ApiError(401, "Unauthorized", "Unauthorized");
  }
  const anonymous = { name: "system:anonymous", groups: ["system:unauthenticated"] };
  const method = request.method ?? "GET";
  return { request, response, method, url, user: user ?? anonymous, warnings: [] };
}

async function route(exchange: Exchange, context: ApiContext): Promise<void> {
  const { url } = exchange;
  const { registry } = context;
  const about = { build: context.build, address: context.address() };
  if (answerDiscovery(exchange, registry.catalog.kinds(), about)) return;
  const info = requestInfo(url.pathname);
  if (info !== undefined && (await answerReview(exchange, info))) return;
  if (info === undefined || !isServedGroup(context, info.group)) throw new PageNotFound();
  const pods = registry.catalog.find("", "v1", "pods");
  if (info.group === "" && info.resource === "bindings" && pods !== undefined) {
    await answerBinding(exchange, pods, "", info, context);
    return;
  }
  const kind = registry.catalog.find(info.group, info.version, info.resource);
  if (kind === undefined || !fitsScope(info, kind.namespaced)) throw nothingServed();
  const { subresource } = info;
  if (subresource === "" || (subresource === "status" && kind.subresources.includes("status"))) {
    await answerObjects(exchange, kind, info, context);
    return;
  }
  const handler = subresourceHandler(kind, subresource);
  if (handler === undefined) {
    throw kind.custom && subresource === "scale" ? notFound(kind, info.name) : nothingServed();
  }
  await handler(exchange, info, context);
}

const isServedGroup = ({ registry }: ApiContext, group: string) =>
  registry.catalog.kinds().some((kind) => kind.group === group);

/** A path of a served group that leads to no kind. */
const nothingServed = () =>
  new ApiError(404, "NotFound", "the server could not find the requested resource", {});

/** Objects of namespaced kinds have no address outside of a namespace, and others none inside. */
function fitsScope(info: RequestInfo, isNamespaced: boolean): boolean {
  if (!isNamespaced) return info.namespace === undefined;
  return info.namespace !== undefined || info.name === "";
}

/** Nothing is served at this path. */
class PageNotFound extends Error {}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  log: Log,
): void {
  if (response.headersSent) {
    log.debug("A request failed after its answer began", { error: messageOf(error) });
    response.destroy();
    return;
  }
  if (error instanceof PageNotFound) {
    response.writeHead(404, { "content-type": "text/plain; charset=utf-8" });
    response.end("404 page not found\n");
    return;
  }
  const refusal = asApiError(error);
  if (refusal.code >= 500 && !(error instanceof ApiError)) {
    log.error("A request failed", {
      request: `${request.method} ${requestUrl(request.url).pathname}`,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  }
  const exchange = { request, response, warnings: [] } as unknown as Exchange;
  sendObject(exchange, refusal.code, refusal.status());
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const message = messageOf(error);
  return new ApiError(500, "InternalError", `Internal error occurred: ${message}`, {
    causes: [{ message }],
  });
}

/** Answers a request to leave HTTP for a WebSocket: `kubectl exec`. */
export async function answerUpgrade(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  context: ApiContext,
): Promise<void> {
  try {
    const url = requestUrl(request.url);
    if (context.tokens.authenticate(request.headers.authorization) === undefined) {
      throw new ApiError(401, "Unauthorized", "Unauthorized");
    }
    const info = requestInfo(url.pathname);
    const pods = context.registry.catalog.find("", "v1", "pods");
    if (pods === undefined || info?.group !== "" || info.resource !== "pods") {
      throw methodNotSupported();
    }
    const { subresource } = info;
    if (subresource === "attach" || subresource === "portforward") {
      throw subresourceNotServed(subresource);
    }
    if (subresource !== "exec") throw methodNotSupported();
    const target = kubeletTarget(context, pods, info);
    if (request.headers.upgrade?.toLowerCase() !== "websocket") {
      throw execWithoutWebSocket(target, url.searchParams, request.headers.upgrade);
    }
    await proxyExec(target, url.searchParams, { request, socket, head });
  } catch (error) {
    refuseUpgrade(socket, asApiError(error));
  }
}
