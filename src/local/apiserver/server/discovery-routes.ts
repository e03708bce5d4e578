import type { JsonObject } from "#base/json.ts";
import { objectAt, stringAt } from "../json-access.ts";
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
import { openApiV2Json } from "../openapi/openapi-v2-json.ts";
import {
  KUBERNETES_VERSION,
  openApiV3,
  openApiV3Index,
  openApiV3OfVersion,
} from "../openapi/openapi-v3.ts";
import { type Exchange, sendDocument, sendObject } from "./exchange.ts";
import { aggregatedForm } from "./negotiate.ts";

/** What GET /version answers. */
function versionInfo(build: string) {
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
  exchange: Exchange,
  kinds: readonly Kind[],
  root: "api" | "apis",
  version: "v2" | "v2beta1",
): void {
  sendDocument(exchange, {
    body: JSON.stringify(aggregatedDiscovery(kinds, root, version)),
    contentType: `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
  });
}

function answerOpenApi(
  exchange: Exchange,
  kinds: readonly Kind[],
  [version, ...rest]: readonly string[],
): boolean {
  const { request } = exchange;
  if (version === "v2" && rest.length === 0) {
    if (!(request.headers.accept ?? "").includes(OPENAPI_V2_ACCEPT)) {
      const body = JSON.stringify(openApiV2Json(kinds));
      sendDocument(exchange, { body, contentType: "application/json" });
      return true;
    }
    const body = openApiV2Protobuf(kinds);
    sendDocument(exchange, { body, contentType: OPENAPI_V2_CONTENT_TYPE });
    return true;
  }
  if (version !== "v3") return false;
  const index = openApiV3Index(kinds);
  if (rest.length === 0) {
    sendObject(exchange, 200, index);
    return true;
  }
  const [root, ...groupVersion] = rest;
  const isKnown = root === "api" || root === "apis";
  const document = isKnown
    ? openApiV3(kinds, groupVersion.join("/"))
    : rest.join("/") === "version"
      ? openApiV3OfVersion()
      : undefined;
  if (document === undefined) return false;
  sendOpenApiV3(exchange, document, currentAddress(index, rest.join("/")));
  return true;
}

/** Where a document is, with the hash of what it says now. */
const currentAddress = (index: JsonObject, path: string) =>
  stringAt(objectAt(objectAt(index, "paths"), path), "serverRelativeURL");

/** A document whose address names its content never changes; an old address leads to the new one. */
function sendOpenApiV3(exchange: Exchange, document: JsonObject, address: string): void {
  const { url, response } = exchange;
  const asked = url.searchParams.get("hash");
  const current = new URLSearchParams(address.split("?")[1]).get("hash");
  if (asked !== null && asked !== current) {
    response.writeHead(301, { location: address }).end();
    return;
  }
  const caching = asked === null ? "no-cache, private" : "public, immutable";
  const body = { body: JSON.stringify(document), contentType: "application/json" };
  sendDocument(exchange, body, { "cache-control": caching });
}
