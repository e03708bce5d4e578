import type { JsonObject } from "#base/json.ts";
import { stringAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { ApiError, methodNotSupported, notFound } from "../registry/api-error.ts";
import { bodyOf, decode, parseBody } from "../registry/decode.ts";
import { list, listQuery } from "../registry/lists.ts";
import { metadataOf } from "../registry/meta.ts";
import type { ObjectName } from "../registry/object-api.ts";
import { objectName } from "../registry/objects.ts";
import { deleteOptions, isTrue, type WriteOptions, writeOptions } from "../registry/options.ts";
import { patchOf, requirePatchOptions } from "../registry/patches.ts";
import type { ApiContext } from "./api-context.ts";
import { bodyBytes, type Exchange, sendObject } from "./exchange.ts";
import { answerForm } from "./negotiate.ts";
import { includeObjectOf, showList, showObject, type View } from "./represent.ts";
import type { RequestInfo } from "./request-info.ts";
import { answerWatch } from "./watch-route.ts";

/** Built-in kinds whose DELETE answers with the object instead of a Status. */
const SHOWN_WHEN_DELETED = new Set([
  "serviceaccounts",
  "persistentvolumeclaims",
  "namespaces",
  "pods",
  "services",
]);

/** Answers a request for objects of a kind, or for their status. */
export async function answerObjects(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  const { method } = exchange;
  if (info.name === "") await answerCollection(exchange, kind, info, context);
  else if (method === "GET" || method === "HEAD") {
    const object = context.registry.get(kind, nameOf(info));
    sendObject(
      exchange,
      200,
      showObject(kind, object, viewOf(exchange, context)),
      isYaml(exchange),
    );
  } else if (method === "PUT") await answerPut(exchange, kind, info, context);
  else if (method === "PATCH") await answerPatch(exchange, kind, info, context);
  else if (method === "DELETE" && info.subresource === "") {
    await answerDelete(exchange, kind, info, context);
  } else throw methodNotSupported();
}

export const nameOf = ({ namespace = "", name }: RequestInfo): ObjectName => ({ namespace, name });
const isYaml = ({ request }: Exchange) => answerForm(request.headers.accept).isYaml;

function viewOf({ request, url }: Exchange, { clock }: ApiContext): View {
  return {
    form: answerForm(request.headers.accept),
    includeObject: includeObjectOf(url.searchParams),
    nowMs: clock.now(),
  };
}

export function optionsOf(
  { url, user, request, warnings }: Exchange,
  kind: "CreateOptions" | "UpdateOptions" | "PatchOptions",
): WriteOptions {
  return writeOptions(url.searchParams, {
    kind,
    user,
    userAgent: request.headers["user-agent"] ?? "",
    warn: (text) => warnings.push(text),
  });
}

async function answerCollection(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  const { method, url, request } = exchange;
  const { registry } = context;
  if (method === "GET" || method === "HEAD") {
    const view = viewOf(exchange, context);
    const { namespace } = info;
    if (info.isWatch || isTrue(url.searchParams.get("watch"))) {
      answerWatch(exchange, { kind, namespace, view }, context);
      return;
    }
    const { items, metadata } = list(registry, kind, namespace, listQuery(url.searchParams));
    sendObject(exchange, 200, showList(kind, items, metadata, view), view.form.isYaml);
    return;
  }
  // All namespaces at once can be read, not written.
  if (kind.namespaced && info.namespace === undefined) throw methodNotSupported();
  if (method === "DELETE") {
    await answerDeleteCollection(exchange, kind, info, context);
    return;
  }
  if (method !== "POST") throw methodNotSupported();
  const options = optionsOf(exchange, "CreateOptions");
  const body = bodyOf(await bodyBytes(exchange), request.headers["content-type"]);
  const object = decode(kind, body, options);
  const created = await registry.create(kind, info.namespace ?? "", object, options);
  sendObject(exchange, 201, showObject(kind, created, viewOf(exchange, context)), isYaml(exchange));
}

async function answerPut(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  const options = optionsOf(exchange, "UpdateOptions");
  const body = bodyOf(await bodyBytes(exchange), exchange.request.headers["content-type"]);
  const object = decode(kind, body, options);
  const written = await context.registry.update(
    kind,
    nameOf(info),
    info.subresource,
    object,
    options,
  );
  const shown = showObject(kind, written.object, viewOf(exchange, context));
  sendObject(exchange, written.isCreated ? 201 : 200, shown, isYaml(exchange));
}

async function answerPatch(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  const bytes = await bodyBytes(exchange);
  const patch = patchOf(kind, exchange.request.headers["content-type"], bytes);
  const options = optionsOf(exchange, "PatchOptions");
  requirePatchOptions(patch, exchange.url.searchParams);
  const { registry } = context;
  const written = await registry.patch(kind, nameOf(info), info.subresource, patch, options);
  const shown = showObject(kind, written.object, viewOf(exchange, context));
  sendObject(exchange, written.isCreated ? 201 : 200, shown, isYaml(exchange));
}

async function answerDelete(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  const request = await deleteRequest(exchange);
  const options = { ...optionsOf(exchange, "UpdateOptions"), dryRun: request.dryRun };
  const removal = await context.registry.delete(kind, nameOf(info), request, options);
  const isShown =
    removal.step !== "remove" || (!kind.custom && SHOWN_WHEN_DELETED.has(kind.plural));
  const body = isShown
    ? showObject(kind, removal.object, viewOf(exchange, context))
    : deletedStatus(kind, removal.object);
  sendObject(exchange, 200, body, isYaml(exchange));
}

async function deleteRequest(exchange: Exchange) {
  const bytes = await bodyBytes(exchange);
  const type = exchange.request.headers["content-type"];
  const body = bytes.length === 0 ? undefined : parseBody(bodyOf(bytes, type)).object;
  return deleteOptions(body, exchange.url.searchParams);
}

function deletedStatus(kind: Kind, object: JsonObject): JsonObject {
  const { name = "", uid = "" } = metadataOf(object);
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: {
      name,
      ...(kind.group === "" ? {} : { group: kind.group }),
      kind: kind.plural,
      uid,
    },
  };
}

async function answerDeleteCollection(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  const { registry } = context;
  if (kind.plural === "namespaces" && !kind.custom) throw methodNotSupported();
  const request = await deleteRequest(exchange);
  const options = { ...optionsOf(exchange, "UpdateOptions"), dryRun: request.dryRun };
  const query = listQuery(exchange.url.searchParams);
  const { items, metadata } = list(registry, kind, info.namespace, query);
  for (const object of items) {
    try {
      await registry.delete(kind, objectName(object), request, options);
    } catch (error) {
      // Somebody else was faster.
      if (!(error instanceof ApiError) || error.code !== 404) throw error;
    }
  }
  const view = viewOf(exchange, context);
  sendObject(exchange, 200, showList(kind, items, metadata, view), view.form.isYaml);
}

/** The object that a request names, or the API's words for its absence. */
export function requireObject(context: ApiContext, kind: Kind, info: RequestInfo): JsonObject {
  const object = context.registry.read(kind, nameOf(info));
  if (object === undefined) throw notFound(kind, info.name);
  return object;
}

/** A body of a kind that is not stored, such as a Binding. @throws ApiError (400, 415) */
export async function virtualBody(exchange: Exchange, kindName: string): Promise<JsonObject> {
  const bytes = await bodyBytes(exchange);
  const { object } = parseBody(bodyOf(bytes, exchange.request.headers["content-type"]));
  const given = stringAt(object, "kind");
  if (given !== "" && given !== kindName) {
    throw new ApiError(400, "BadRequest", `this address takes a ${kindName}, not a ${given}`);
  }
  return object;
}
