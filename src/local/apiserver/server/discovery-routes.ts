import {
  aggregatedDiscovery,
  apiGroup,
  apiGroupList,
  apiResourceList,
  apiVersions,
} from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import {
  OPENAPI_V2_ACCEPT,
  OPENAPI_V2_CONTENT_TYPE,
  openApiV2Protobuf,
} from "../openapi/openapi-v2.ts";
import { KUBERNETES_VERSION, openApiV3, openApiV3Index } from "../openapi/openapi-v3.ts";
import { ApiError } from "../registry/api-error.ts";
import { type Exchange, sendObject } from "./exchange.ts";
import { aggregatedForm } from "./negotiate.ts";

/** What GET /version answers. */
export function versionInfo(build: string) {
  const [major = "", minor = ""] = KUBERNETES_VERSION.split(".");
  return {
    major,
    minor,
    gitVersion: `v${KUBERNETES_VERSION}.0+loradock-${build}`,
    gitCommit: "",
    gitTreeState: "clean",
    buildDate: "1970-01-01T00:00:00Z",
    goVersion: "none",
    compiler: "none",
    platform: "any",
  };
}

/** Answers what a client asks to find out what is served; false when the path is about something else. */
export function answerDiscovery(
  exchange: Exchange,
  kinds: readonly Kind[],
  about: { readonly build: string; readonly address: string },
): boolean {
  const { url, method, request } = exchange;
  const path = url.pathname.replace(/\/+$/, "");
  const [root, ...rest] = path.split("/").slice(1);
  if (method !== "GET" && method !== "HEAD") return false;
  if (root === "version" && rest.length === 0) {
    sendObject(exchange, 200, versionInfo(about.build));
    return true;
  }
  if (root === "openapi") return answerOpenApi(exchange, kinds, rest);
  if (root !== "api" && root !== "apis") return false;
  if (rest.length === 0) {
    const version = aggregatedForm(request.headers.accept);
    if (version !== undefined) {
      exchange.response.setHeader("vary", "Accept");
      sendAggregated(exchange, kinds, root, version);
    } else {
      sendObject(exchange, 200, root === "api" ? apiVersions(about.address) : apiGroupList(kinds));
    }
    return true;
  }
  const [group = "", version] = root === "api" ? ["", rest[0]] : rest;
  const isGroup = root === "apis" && rest.length === 1;
  const isVersion = rest.length === (root === "api" ? 1 : 2);
  if (!isGroup && !isVersion) return false;
  const body = isGroup ? apiGroup(kinds, group) : apiResourceList(kinds, group, version ?? "");
  if (body === undefined) return false;
  sendObject(exchange, 200, body);
  return true;
}

function sendAggregated(
  { response }: Exchange,
  kinds: readonly Kind[],
  root: "api" | "apis",
  version: "v2" | "v2beta1",
): void {
  const text = JSON.stringify(aggregatedDiscovery(kinds, root, version));
  response.writeHead(200, {
    "content-type": `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

function answerOpenApi(
  exchange: Exchange,
  kinds: readonly Kind[],
  [version, ...rest]: readonly string[],
): boolean {
  const { request, response } = exchange;
  if (version === "v2" && rest.length === 0) {
    const accept = request.headers.accept ?? "";
    if (!accept.includes(OPENAPI_V2_ACCEPT) && !accept.includes("*/*")) {
      throw new ApiError(
        406,
        "NotAcceptable",
        `only the following media types are accepted: ${OPENAPI_V2_ACCEPT}; /openapi/v3 has JSON`,
        {},
      );
    }
    const bytes = openApiV2Protobuf(kinds);
    response.writeHead(200, {
      "content-type": OPENAPI_V2_CONTENT_TYPE,
      "content-length": bytes.byteLength,
    });
    response.end(bytes);
    return true;
  }
  if (version !== "v3") return false;
  if (rest.length === 0) {
    sendObject(exchange, 200, openApiV3Index(kinds));
    return true;
  }
  const [root, ...groupVersion] = rest;
  const isKnown = root === "api" || root === "apis";
  const document = isKnown ? openApiV3(kinds, groupVersion.join("/")) : undefined;
  if (document === undefined) return false;
  sendObject(exchange, 200, document);
  return true;
}
