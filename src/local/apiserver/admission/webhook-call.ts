import { isIP } from "node:net";
import type { PeerCertificate } from "node:tls";
import { buildConnector, Client } from "undici";
import { isAbort } from "#base/abort.ts";
import type { Clock } from "#base/clock.ts";
import { codeOf, messageOf } from "#base/errors.ts";
import type { JsonObject } from "#base/json.ts";
import { numberAt, objectAt, stringAt } from "../json-access.ts";
import type { Webhook } from "./webhook-match.ts";

/** The Service that a webhook's clientConfig names. */
export interface ServiceReference {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
}

export interface CallDeps {
  readonly clock: Clock;
  /**
   * `host:port` where a Service can be reached now; undefined when there is no such Service. What it
   * throws is told to the client.
   */
  readonly serviceAddress: (service: ServiceReference) => string | undefined;
}

const SERVICE_PORT_DEFAULT = 443;
/** Objects have at most 1.5 MiB, and a patch of one is not much larger. */
const ANSWER_MAX_BYTES = 8 * 1024 * 1024;

/**
 * Asks a webhook and returns its answer, parsed.
 * @throws Error in the words of kube-apiserver
 */
export async function callWebhook(
  deps: CallDeps,
  webhook: Webhook,
  body: JsonObject,
): Promise<unknown> {
  const target = targetOf(webhook);
  const text = JSON.stringify(body);
  const expired = new AbortController();
  const cancel = deps.clock.after(webhook.timeoutSeconds * 1000, () => expired.abort());
  // Connections are not kept: a webhook's pod may be another at the next call.
  const client = new Client(target.url.origin, {
    connect: connectorOf(deps, target),
    pipelining: 0,
    maxResponseSize: ANSWER_MAX_BYTES,
  });
  try {
    const response = await client.request({
      method: "POST",
      path: target.url.pathname + target.url.search,
      headers: { "content-type": "application/json", accept: "application/json" },
      body: text,
      signal: expired.signal,
    });
    const answer = await response.body.text();
    const type = String(response.headers["content-type"] ?? "");
    if (response.statusCode < 200 || response.statusCode > 206) {
      throw new AnswerError(statusText(response.statusCode, type, answer));
    }
    return parsed(answer);
  } catch (error) {
    if (error instanceof AnswerError) throw new Error(`failed to call webhook: ${error.message}`);
    const why = expired.signal.aborted ? "context deadline exceeded" : goText(error, target);
    throw new Error(`failed to call webhook: Post "${target.shown}": ${why}`);
  } finally {
    cancel();
    void client.destroy();
  }
}

/** The webhook was reached, but what it answers is of no use. */
class AnswerError extends Error {}

interface Target {
  readonly url: URL;
  /** The URL as messages write it, which always tells the port of a Service. */
  readonly shown: string;
  readonly service: ServiceReference | undefined;
  /** PEM; undefined trusts what the machine trusts. */
  readonly ca: string | undefined;
  readonly servername: string | undefined;
}

function targetOf({ clientConfig, timeoutSeconds }: Webhook): Target {
  const bundle = stringAt(clientConfig, "caBundle");
  const ca = bundle === "" ? undefined : Buffer.from(bundle, "base64").toString("utf8");
  const service = objectAt(clientConfig, "service");
  const name = stringAt(service, "name");
  const search = `?timeout=${timeoutSeconds}s`;
  if (name === "") {
    const text = stringAt(clientConfig, "url");
    if (!URL.canParse(text)) throw new Error(`could not get REST client: Unparsable URL: ${text}`);
    const { protocol, host, pathname } = new URL(text);
    const shown = `${protocol}//${host}${pathname}${search}`;
    return { url: new URL(shown), shown, service: undefined, ca, servername: undefined };
  }
  const namespace = stringAt(service, "namespace");
  const port = numberAt(service, "port") || SERVICE_PORT_DEFAULT;
  const servername = `${name}.${namespace}.svc`;
  const path = `/${stringAt(service, "path").replace(/^\//, "")}`;
  const shown = `https://${servername}:${port}${path}${search}`;
  return { url: new URL(shown), shown, service: { namespace, name, port }, ca, servername };
}

/** Connects where the Service is at that moment, but expects a certificate for its name. */
function connectorOf(deps: CallDeps, { service, ca, servername }: Target) {
  const connect = buildConnector({
    ...(ca === undefined ? {} : { ca }),
    ...(servername === undefined ? {} : { servername }),
    // The webhook's own time limit applies, on the injected clock.
    timeout: 0,
  });
  if (service === undefined) return connect;
  return (...[options, callback]: Parameters<typeof connect>) => {
    let address: string | undefined;
    try {
      address = deps.serviceAddress(service);
    } catch (error) {
      callback(new Error(messageOf(error)), null);
      return;
    }
    if (address === undefined) {
      callback(new Error(`service ${JSON.stringify(service.name)} not found`), null);
      return;
    }
    const { hostname, port, host } = new URL(`https://${address}`);
    connect({ ...options, hostname, host, port: port || "443" }, callback);
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AnswerError(`couldn't get version/kind; json parse error: ${messageOf(error)}`);
  }
}

const STATUS_TEXTS: { readonly [code: number]: string } = {
  400: "the server rejected our request for an unknown reason",
  401: "the server has asked for the client to provide credentials",
  404: "the server could not find the requested resource",
  405: "the server does not allow this method on the requested resource",
  409: "the server reported a conflict",
  422: "the server rejected our request due to an error in our request",
  429: "the server has received too many requests and has asked us to try again later",
  503: "the server is currently unable to handle the request",
  504: "the server was unable to return a response in the time allotted, but may still be processing the request",
};

/** What client-go makes of an answer that is no success. */
function statusText(code: number, type: string, body: string): string {
  const isText = type === "" || type.startsWith("text/");
  const message = isText && body.trim() !== "" ? body.trim() : "unknown";
  if (code === 403 || code === 415) return message;
  const fixed = STATUS_TEXTS[code];
  if (fixed !== undefined) return fixed;
  if (code >= 500) {
    const quoted = JSON.stringify(message);
    return `an error on the server (${quoted}) has prevented the request from succeeding`;
  }
  return `the server responded with the status code ${code} but did not return more information`;
}

const UNVERIFIED = "tls: failed to verify certificate: x509:";
const TLS_WORDS: { readonly [code: string]: string } = {
  DEPTH_ZERO_SELF_SIGNED_CERT: `${UNVERIFIED} certificate signed by unknown authority`,
  SELF_SIGNED_CERT_IN_CHAIN: `${UNVERIFIED} certificate signed by unknown authority`,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `${UNVERIFIED} certificate signed by unknown authority`,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: `${UNVERIFIED} certificate signed by unknown authority`,
  CERT_HAS_EXPIRED: `${UNVERIFIED} certificate has expired or is not yet valid`,
  CERT_NOT_YET_VALID: `${UNVERIFIED} certificate has expired or is not yet valid`,
  ERR_SSL_WRONG_VERSION_NUMBER: "http: server gave HTTP response to HTTPS client",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "http: server gave HTTP response to HTTPS client",
};

/** What Go would say about a call that failed. */
function goText(error: unknown, { url, servername }: Target): string {
  const code = codeOf(error) ?? "";
  const words = TLS_WORDS[code];
  if (words !== undefined) return words;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const { cert } = error as { cert?: Pick<PeerCertificate, "subjectaltname"> };
    return `${UNVERIFIED} ${nameText(cert?.subjectaltname ?? "", servername ?? url.hostname)}`;
  }
  if (code === "ECONNREFUSED")
    return `dial tcp ${addressOf(error, url)}: connect: connection refused`;
  if (code === "ENOTFOUND") return `dial tcp: lookup ${url.hostname}: no such host`;
  if (["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"].includes(code)) return "EOF";
  return isAbort(error) ? "context canceled" : messageOf(error);
}

/** Only names of the same sort are told, as they are all that could have matched. */
function nameText(subjectAltName: string, wanted: string): string {
  const isAddress = isIP(wanted) !== 0;
  const prefix = isAddress ? "IP Address:" : "DNS:";
  const names = subjectAltName
    .split(", ")
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length));
  if (names.length > 0) return `certificate is valid for ${names.join(", ")}, not ${wanted}`;
  return isAddress
    ? `cannot validate certificate for ${wanted} because it doesn't contain any IP SANs`
    : `certificate is not valid for any names, but wanted to match ${wanted}`;
}

function addressOf(error: unknown, url: URL): string {
  const first = error instanceof AggregateError ? error.errors[0] : error;
  const { address, port } = (first ?? {}) as { address?: unknown; port?: unknown };
  if (typeof address !== "string") return url.host;
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}
