import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates } from "node:tls";
import { type Agent, type Dispatcher, EnvHttpProxyAgent } from "undici";
import { messageOf, UserError } from "#base/errors.ts";
import type { guardedLookup } from "./address-guard.ts";

/** How the outside is reached, from the environment by its conventional names. */
export interface NetworkSettings {
  readonly httpProxy: string | undefined;
  readonly httpsProxy: string | undefined;
  /** Hosts that are reached without a proxy, separated by commas. */
  readonly noProxy: string | undefined;
  /** PEM file of certificate authorities to be trusted beside Node's own and NODE_EXTRA_CA_CERTS. */
  readonly caFile: string | undefined;
}

export const DIRECT_NETWORK: NetworkSettings = {
  httpProxy: undefined,
  httpsProxy: undefined,
  noProxy: undefined,
  caFile: undefined,
};

type Lookup = ReturnType<typeof guardedLookup>;

/**
 * A dispatcher that goes through the proxies. `lookup` counts where there is no proxy between: with
 * one, resolving names is the proxy's.
 * @throws UserError when the file of authorities cannot be used.
 */
export function createDispatcher(
  network: NetworkSettings,
  limits: Pick<Agent.Options, "connections" | "headersTimeout" | "bodyTimeout">,
  connect: { timeout: number; lookup?: Lookup },
): Dispatcher {
  const tls = trust(network.caFile);
  return new EnvHttpProxyAgent({
    ...limits,
    connect: { ...connect, ...tls },
    requestTls: { timeout: connect.timeout, ...tls },
    proxyTls: { timeout: connect.timeout, ...tls },
    // Empty rather than undefined, which would have undici look into the environment by itself.
    httpProxy: network.httpProxy ?? "",
    httpsProxy: network.httpsProxy ?? "",
    noProxy: network.noProxy ?? "",
  });
}

/** Made once: reading the authorities takes longer than a handshake. */
function trust(caFile: string | undefined) {
  if (caFile === undefined) return {};
  try {
    const ca = [...getCACertificates("default"), readFileSync(caFile, "utf8")];
    return { secureContext: createSecureContext({ ca }) };
  } catch (error) {
    throw new UserError(
      `SSL_CERT_FILE ${caFile} cannot be used: ${messageOf(error)}; name a file of PEM certificates`,
      { cause: error },
    );
  }
}
