import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { request } from "undici";
import { describeError } from "#base/network-error.ts";
import {
  type AddressRule,
  checkUrlHost,
  guardedLookup,
  isForbiddenAddress,
} from "./address-guard.ts";
import { ArtifactError } from "./errors.ts";
import { createDispatcher, DIRECT_NETWORK, type NetworkSettings } from "./network.ts";

/** A store that is silent for longer is given up; the download goes on with the next try. */
const SILENCE_MS = 30_000;
const CONNECT_MS = 10_000;
const REDIRECTS_MAX = 8;
const CONNECTIONS_PER_ORIGIN_MAX = 16;

export interface HttpRequest {
  readonly method?: "GET" | "HEAD" | "POST";
  readonly body?: string | Uint8Array;
  /** False: a redirect is an answer like any other, as to signed requests, which fit one host only. */
  readonly followsRedirects?: boolean;
  /** Sent to whichever host the redirects lead to. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent to the URL's own origin only: tokens and the user's headers. */
  readonly originHeaders?: Readonly<Record<string, string>>;
  /** Past all proxies, as to the metadata server of the machine itself. */
  readonly isDirect?: boolean;
  /** Loopback, link-local and metadata addresses are not refused. */
  readonly allowPrivate: boolean;
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** Of the last answer. */
  readonly headers: IncomingHttpHeaders;
  /** Of the first answer: a hub describes the file there and redirects to where its bytes are. */
  readonly firstHeaders: IncomingHttpHeaders;
  /** Where the redirects led to. */
  readonly url: URL;
  /** Must be read or destroyed. */
  readonly body: Readable;
}

/**
 * Requests to artifact stores: redirects by hand, so that each hop is checked and no token
 * follows to another origin; time limits on silence, none on size.
 */
export interface HttpClient {
  /** @throws ArtifactError for a refused address, a bad redirect and whatever the network does. */
  send(url: URL, options: HttpRequest): Promise<HttpResponse>;
  close(): Promise<void>;
}

/**
 * @param isForbidden which addresses need `allowPrivate`.
 * @throws UserError when the network's settings cannot be used.
 */
export function createHttpClient(
  isForbidden: AddressRule = isForbiddenAddress,
  network: NetworkSettings = DIRECT_NETWORK,
): HttpClient {
  const limits = {
    connections: CONNECTIONS_PER_ORIGIN_MAX,
    headersTimeout: SILENCE_MS,
    bodyTimeout: SILENCE_MS,
  };
  const open = createDispatcher(network, limits, { timeout: CONNECT_MS });
  const direct = createDispatcher(DIRECT_NETWORK, limits, { timeout: CONNECT_MS });
  const lookup = guardedLookup(isForbidden);
  const guarded = createDispatcher(network, limits, { timeout: CONNECT_MS, lookup });

  async function send(url: URL, options: HttpRequest): Promise<HttpResponse> {
    let current = url;
    let firstHeaders: IncomingHttpHeaders | undefined;
    for (let hop = 0; hop <= REDIRECTS_MAX; hop++) {
      if (!options.allowPrivate) checkUrlHost(current, isForbidden);
      const isHome = current.origin === url.origin;
      const response = await exchange(current, isHome, options);
      firstHeaders ??= response.headers;
      const location = response.headers["location"];
      const isRedirect = response.statusCode >= 300 && response.statusCode <= 399;
      if (!isRedirect || typeof location !== "string" || options.followsRedirects === false) {
        const { statusCode: status, headers, body } = response;
        return { status, headers, firstHeaders, url: current, body };
      }
      response.body.on("error", () => {});
      response.body.destroy();
      current = redirectTarget(location, current);
    }
    throw new ArtifactError(
      "Unreachable",
      `${url.host} redirects more than ${REDIRECTS_MAX} times`,
    );
  }

  async function exchange(url: URL, isHome: boolean, options: HttpRequest) {
    // Userinfo goes as a header, and only home, as the other credentials do.
    const target = new URL(url);
    target.username = "";
    target.password = "";
    target.hash = "";
    try {
      return await request(target, {
        method: options.method ?? "GET",
        ...(options.body === undefined ? {} : { body: options.body }),
        headers: {
          // The bytes are counted, resumed and hashed: they must come as they are.
          "accept-encoding": "identity",
          "user-agent": "loradock",
          ...options.headers,
          ...(isHome ? { ...basicAuth(url), ...options.originHeaders } : {}),
        },
        dispatcher: options.isDirect === true ? direct : options.allowPrivate ? open : guarded,
        signal: options.signal,
      });
    } catch (error) {
      throw transportError(error, url.host, options.signal);
    }
  }

  return {
    send,
    close: async () => {
      await Promise.all([open.destroy(), guarded.destroy(), direct.destroy()]);
    },
  };
}

function redirectTarget(location: string, from: URL): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (target === undefined || !/^https?:$/.test(target.protocol)) {
    throw new ArtifactError(
      "AccessDenied",
      `Access denied: ${from.host} redirects to something that is not http(s)`,
    );
  }
  return target;
}

function basicAuth(url: URL): Record<string, string> {
  if (url.username === "" && url.password === "") return {};
  const pair = `${percentDecoded(url.username)}:${percentDecoded(url.password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * What a failed exchange means: our own errors and the caller's abort as they are, everything else
 * that store and network do to us as Unreachable, in the words that users grep for.
 */
export function transportError(error: unknown, host: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  const own = ownError(error);
  if (own !== undefined) return own;
  return new ArtifactError("Unreachable", `${host}: ${describeError(error)}`, { cause: error });
}

/** The guard's refusal reaches us as the cause of a failed connection. */
function ownError(error: unknown): ArtifactError | undefined {
  if (error instanceof ArtifactError) return error;
  if (error instanceof AggregateError) return ownError(error.errors[0]);
  return error instanceof Error && error.cause !== undefined ? ownError(error.cause) : undefined;
}
