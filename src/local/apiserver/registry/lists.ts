import { isObject, type JsonObject } from "#base/json.ts";
import { stringAt } from "../json-access.ts";
import { resourceOf } from "../kinds/catalog.ts";
import type { Kind } from "../kinds/kind.ts";
import { goJsonError } from "../schema/go-json-error.ts";
import { ApiError, badRequest, expired, invalidObject } from "./api-error.ts";
import { metadataOf } from "./meta.ts";
import { isTrue, wholeNumber } from "./options.ts";
import type { Registry } from "./registry.ts";
import { selectorOf } from "./selectors.ts";

/** metav1.ListOptions of a list, as they come in the query. */
export interface ListQuery {
  readonly labelSelector: string;
  readonly fieldSelector: string;
  /** 0: no limit. */
  readonly limit: number;
  readonly continueToken: string;
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
}

export interface ListResult {
  readonly items: readonly JsonObject[];
  /** metav1.ListMeta */
  readonly metadata: JsonObject;
}

const MATCHES = ["Exact", "NotOlderThan"];

/** @throws ApiError (400, 422) for a query that cannot be read. */
export function listQuery(query: URLSearchParams): ListQuery {
  const result = {
    labelSelector: query.get("labelSelector") ?? "",
    fieldSelector: query.get("fieldSelector") ?? "",
    limit: Math.max(0, wholeNumber(query, "limit")),
    continueToken: query.get("continue") ?? "",
    resourceVersion: query.get("resourceVersion") ?? "",
    resourceVersionMatch: query.get("resourceVersionMatch") ?? "",
  };
  if (query.has("sendInitialEvents") && !isTrue(query.get("watch"))) {
    throw listOptionsError(
      "sendInitialEvents",
      "Forbidden: sendInitialEvents is forbidden for list",
    );
  }
  requireMatch(result);
  return result;
}

function requireMatch(query: ListQuery): void {
  const { resourceVersion, resourceVersionMatch: match, continueToken } = query;
  if (match === "") return;
  const forbid = (message: string) =>
    listOptionsError("resourceVersionMatch", `Forbidden: ${message}`);
  if (resourceVersion === "") {
    throw forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (continueToken !== "") {
    throw forbid("resourceVersionMatch is forbidden when continue is provided");
  }
  if (!MATCHES.includes(match)) {
    throw listOptionsError(
      "resourceVersionMatch",
      `Unsupported value: ${JSON.stringify(match)}: supported values: "Exact", "NotOlderThan", ""`,
      "FieldValueNotSupported",
    );
  }
  if (match === "Exact" && resourceVersion === "0") {
    throw forbid('resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  }
}

/** The refusal of a ListOptions field. */
export function listOptionsError(
  field: string,
  message: string,
  reason: "FieldValueForbidden" | "FieldValueNotSupported" = "FieldValueForbidden",
): ApiError {
  const target = { group: "meta.k8s.io", kind: "ListOptions", plural: "ListOptions" };
  return invalidObject(target as Kind, "", [{ field, reason, message }]);
}

/** @throws ApiError (400) unless the text is empty or a revision. */
export function revisionOf(text: string): number | undefined {
  if (text === "") return undefined;
  if (!/^\d{1,15}$/.test(text)) {
    throw invalidVersion(text);
  }
  return Number(text);
}

const invalidVersion = (text: string) =>
  badRequest(
    `invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
  );

interface Token {
  /** The revision of the list that is continued; -1: any, the list is known to be inconsistent. */
  readonly revision: number;
  /** Path of the last object that was sent, below what is listed. */
  readonly after: string;
}

/**
 * One page of a list. Pages of one list show the same moment.
 * @param namespace undefined: all.
 * @throws ApiError (400, 410, 504)
 */
export function list(
  registry: Registry,
  kind: Kind,
  namespace: string | undefined,
  query: ListQuery,
): ListResult {
  const { store } = registry;
  const selector = selectorOf(kind, query);
  const token = query.continueToken === "" ? undefined : tokenOf(query);
  const revision = revisionFor(store.revision, query, token);
  const resource = resourceOf(kind);
  const stored =
    revision === store.revision
      ? store.list(resource, namespace)
      : store.listAt(resource, namespace, revision);
  if (stored === undefined) throw tooOld(token, revision, store.revision);
  const objects = stored.map((object) => registry.shownAs(kind, object)).filter(selector);
  const path = pathBelow(namespace);
  const rest =
    token === undefined ? objects : objects.filter((object) => path(object) > token.after);
  const items = query.limit > 0 ? rest.slice(0, query.limit) : rest;
  const last = items.at(-1);
  const metadata: JsonObject = { resourceVersion: String(revision) };
  if (last !== undefined && items.length < rest.length) {
    metadata["continue"] = encodeToken({ revision, after: path(last) });
    const isFiltered = query.labelSelector !== "" || query.fieldSelector !== "";
    if (!isFiltered) metadata["remainingItemCount"] = rest.length - items.length;
  }
  return { items, metadata };
}

/** Where an object stands in a list: its name, and its namespace where there are several. */
const pathBelow =
  (namespace: string | undefined) =>
  (object: JsonObject): string => {
    const metadata = metadataOf(object);
    const own = stringAt(metadata, "namespace");
    const name = stringAt(metadata, "name");
    return namespace !== undefined || own === "" ? name : `${own}/${name}`;
  };

function revisionFor(newest: number, query: ListQuery, token: Token | undefined): number {
  if (token !== undefined) return token.revision < 0 ? newest : token.revision;
  const asked = revisionOf(query.resourceVersion) ?? 0;
  if (asked > newest) throw tooLarge(asked, newest);
  const isExact =
    query.resourceVersionMatch === "Exact" ||
    (query.limit > 0 && asked > 0 && query.resourceVersionMatch === "");
  return isExact && asked > 0 ? asked : newest;
}

/** The client knows a revision that this server has not reached. */
export const tooLarge = (asked: number, newest: number) =>
  new ApiError(
    504,
    "Timeout",
    `Timeout: Too large resource version: ${asked}, current: ${newest}`,
    {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    },
  );

function tooOld(token: Token | undefined, asked: number, newest: number): ApiError {
  if (token === undefined) {
    return expired(`The resourceVersion for the provided list is too old: ${asked} (${newest}).`);
  }
  const next = encodeToken({ revision: -1, after: token.after });
  return new ExpiredToken(next);
}

/** A list cannot be continued as it was; its answer offers to go on with what there is now. */
class ExpiredToken extends ApiError {
  readonly #next: string;

  constructor(next: string) {
    super(
      410,
      "Expired",
      "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    this.#next = next;
  }

  override status(): JsonObject {
    return { ...super.status(), metadata: { continue: this.#next } };
  }
}

/** Follows the last key in a token: the next page begins behind it. */
const END_OF_KEY = "\u0000";
const TOKEN_VERSION = "meta.k8s.io/v1";

function encodeToken({ revision, after }: Token): string {
  const token = { v: TOKEN_VERSION, rv: revision, start: `${after}${END_OF_KEY}` };
  return Buffer.from(JSON.stringify(token)).toString("base64url");
}

function tokenOf({ continueToken, resourceVersion }: ListQuery): Token {
  if (resourceVersion !== "" && resourceVersion !== "0") {
    throw badRequest("specifying resource version is not allowed when using continue");
  }
  const bytes = Buffer.from(continueToken, "base64url");
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    // Go looks at bytes, not at characters.
    throw badToken(goJsonError(bytes.toString("latin1")));
  }
  if (!isObject(value) || value["v"] !== TOKEN_VERSION) {
    throw badToken("server does not recognize this encoded version");
  }
  const { rv, start } = value;
  if (typeof rv !== "number" || rv === 0 || typeof start !== "string" || start === "") {
    throw badToken("incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
  }
  return { revision: rv, after: start.split(END_OF_KEY)[0] ?? "" };
}

const badToken = (why: string) =>
  badRequest(`invalid continue token: continue key is not valid: ${why}`);
