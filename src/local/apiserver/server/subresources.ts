import { toTimestamp } from "#base/clock.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { scaleOf, scaleToChange, withScale } from "../builtins/scale.ts";
import { validateScale } from "../builtins/validation.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import { scaleSchema } from "../kinds/builtin-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { badRequest, conflict, invalidObject, methodNotSupported } from "../registry/api-error.ts";
import { bodyOf, parseBody } from "../registry/decode.ts";
import { metadataOf, withMetadata } from "../registry/meta.ts";
import { patched, patchOf } from "../registry/patches.ts";
import { invalid } from "../schema/field-error.ts";
import type { ApiContext } from "./api-context.ts";
import { bodyBytes, type Exchange, sendObject } from "./exchange.ts";
import {
  execWithoutWebSocket,
  type KubeletTarget,
  proxyLog,
  subresourceNotServed,
} from "./kubelet-proxy.ts";
import { nameOf, optionsOf, requireObject, virtualBody } from "./object-routes.ts";
import type { RequestInfo } from "./request-info.ts";

/** Answers a request for a subresource other than status; undefined when the kind has no such one. */
export function subresourceHandler(
  kind: Kind,
  subresource: string,
): ((exchange: Exchange, info: RequestInfo, context: ApiContext) => Promise<void>) | undefined {
  if (subresource === "scale" && kind.subresources.includes("scale")) {
    return (exchange, info, context) => answerScale(exchange, kind, info, context);
  }
  if (kind.group !== "" || kind.custom) return undefined;
  switch (`${kind.plural}/${subresource}`) {
    case "pods/log":
      return (exchange, info, context) => answerLog(exchange, kind, info, context);
    case "pods/exec":
      return async ({ url, request }, info, context) => {
        const target = kubeletTarget(context, kind, info);
        throw execWithoutWebSocket(target, url.searchParams, request.headers.upgrade);
      };
    case "pods/attach":
    case "pods/portforward":
      return async () => {
        throw subresourceNotServed(subresource === "attach" ? "attach" : "portforward");
      };
    case "pods/binding":
      return (exchange, info, context) => answerBinding(exchange, kind, info.name, info, context);
    case "serviceaccounts/token":
      return (exchange, info, context) => answerToken(exchange, kind, info, context);
    case "namespaces/finalize":
      return (exchange, info, context) => answerFinalize(exchange, kind, info, context);
    default:
      return undefined;
  }
}

async function answerScale(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  const { method, request } = exchange;
  const { registry } = context;
  if (method === "GET") {
    sendObject(exchange, 200, scaleOf(kind, requireObject(context, kind, info)));
    return;
  }
  if (method !== "PUT" && method !== "PATCH") throw methodNotSupported();
  const bytes = await bodyBytes(exchange);
  const type = request.headers["content-type"];
  const options = optionsOf(exchange, method === "PUT" ? "UpdateOptions" : "PatchOptions");
  const scaleKind: Kind = { ...kind, custom: false, schema: scaleSchema() };
  const wanted = (current: JsonObject): JsonObject => {
    if (method === "PUT") return parseBody(bodyOf(bytes, type)).object;
    return patched(scaleKind, scaleToChange(kind, current), patchOf(scaleKind, type, bytes));
  };
  const written = await registry.rewrite(
    kind,
    nameOf(info),
    "",
    (current) => {
      const scale = wanted(current);
      requireScale(info.name, scale);
      const scaled = withScale(kind, current, scale);
      const version = stringAt(metadataOf(scale), "resourceVersion");
      const { resourceVersion = "" } = metadataOf(current);
      return withMetadata(scaled, { resourceVersion: version === "" ? resourceVersion : version });
    },
    options,
  );
  sendObject(exchange, 200, scaleOf(kind, written));
}

function requireScale(name: string, scale: JsonObject): void {
  const errors = validateScale(scale);
  const target = { group: "autoscaling", kind: "Scale", plural: "scales" } as Kind;
  if (errors.length > 0) throw invalidObject(target, name, errors);
}

async function answerLog(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  if (exchange.method !== "GET") throw methodNotSupported();
  await proxyLog(kubeletTarget(context, kind, info), exchange.url.searchParams, exchange.response);
}

/** The pod, its node, and what that node's kubelet wants to hear from us. */
export function kubeletTarget(context: ApiContext, kind: Kind, info: RequestInfo): KubeletTarget {
  const pod = requireObject(context, kind, info);
  const nodes = context.registry.catalog.find("", "v1", "nodes");
  const name = stringAt(objectAt(pod, "spec"), "nodeName");
  const node =
    nodes === undefined ? undefined : context.registry.read(nodes, { namespace: "", name });
  return { pod, node, token: context.kubeletToken() };
}

/** Puts a pod on a node: POST of a Binding, below the pod or beside all pods. */
export async function answerBinding(
  exchange: Exchange,
  pods: Kind,
  podName: string,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  if (exchange.method !== "POST") throw methodNotSupported();
  const options = optionsOf(exchange, "CreateOptions");
  const binding = await virtualBody(exchange, "Binding");
  const target = objectAt(binding, "target");
  const node = stringAt(target, "name");
  const name = podName === "" ? stringAt(metadataOf(binding), "name") : podName;
  if (node === "") throw badRequest("target.name: Required value: the name of a node");
  const now = toTimestamp(context.clock.now());
  context.registry.rewriteNow(
    pods,
    { namespace: info.namespace ?? "", name },
    "binding",
    (pod) => bound(pods, pod, node, now),
    options,
  );
  sendObject(exchange, 201, {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    code: 201,
  });
}

function bound(pods: Kind, pod: JsonObject, node: string, now: string): JsonObject {
  const spec = objectAt(pod, "spec");
  const name = stringAt(metadataOf(pod), "name");
  const holder = stringAt(spec, "nodeName");
  if (stringAt(metadataOf(pod), "deletionTimestamp") !== "") {
    throw conflict(
      { ...pods, plural: "pods/binding" },
      name,
      `pod ${name} is being deleted, cannot be assigned to a host`,
    );
  }
  if (holder !== "") {
    throw conflict(
      { ...pods, plural: "pods/binding" },
      name,
      `pod ${name} is already assigned to node ${JSON.stringify(holder)}`,
    );
  }
  const status = objectAt(pod, "status");
  const others = objectsAt(status, "conditions").filter(({ type }) => type !== "PodScheduled");
  const scheduled = {
    type: "PodScheduled",
    status: "True",
    lastProbeTime: null,
    lastTransitionTime: now,
  };
  return {
    ...pod,
    spec: { ...spec, nodeName: node },
    status: { ...status, conditions: [...others, scheduled] },
  };
}

const TOKEN_SECONDS = 3600;
const TOKEN_SECONDS_MIN = 600;

/** POST of a TokenRequest: a token with which a pod speaks as its service account. */
async function answerToken(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  if (exchange.method !== "POST") throw methodNotSupported();
  const account = requireObject(context, kind, info);
  const request = await virtualBody(exchange, "TokenRequest");
  const spec = objectAt(request, "spec");
  const seconds = spec["expirationSeconds"];
  if (typeof seconds === "number" && seconds < TOKEN_SECONDS_MIN) {
    const target = { ...kind, group: "authentication.k8s.io", kind: "TokenRequest" };
    throw invalidObject(target, "", [
      invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"),
    ]);
  }
  const expirationSeconds = typeof seconds === "number" ? seconds : TOKEN_SECONDS;
  const audiences = stringsAt(spec, "audiences");
  const { boundObjectRef } = spec;
  const isPod = isObject(boundObjectRef) && boundObjectRef["kind"] === "Pod";
  const { namespace = "" } = info;
  const issued = context.tokens.issueToken({
    namespace,
    serviceAccount: info.name,
    uid: stringAt(metadataOf(account), "uid"),
    expirationSeconds,
    audiences,
    pod: isPod
      ? { name: stringAt(boundObjectRef, "name"), uid: stringAt(boundObjectRef, "uid") }
      : undefined,
  });
  sendObject(exchange, 201, {
    kind: "TokenRequest",
    apiVersion: "authentication.k8s.io/v1",
    metadata: {
      name: info.name,
      namespace,
      creationTimestamp: toTimestamp(context.clock.now()),
    },
    spec: {
      ...spec,
      audiences: audiences.length === 0 ? [context.tokenAudience] : audiences,
      expirationSeconds,
      boundObjectRef: boundObjectRef ?? null,
    },
    status: { ...issued },
  });
}

/** PUT of a Namespace whose spec keeps fewer finalizers than before. */
async function answerFinalize(
  exchange: Exchange,
  kind: Kind,
  info: RequestInfo,
  context: ApiContext,
): Promise<void> {
  if (exchange.method !== "PUT") throw methodNotSupported();
  const body = await virtualBody(exchange, "Namespace");
  const finalizers = stringsAt(objectAt(body, "spec"), "finalizers");
  sendObject(exchange, 200, context.registry.finalizeNamespace(kind, info.name, finalizers));
}
