import { randomInt, randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { formatAddress } from "#serve/address.ts";
import { listen } from "#serve/server.ts";
import type { Log } from "#telemetry/log.ts";
import { makeFolder } from "../pods/files.ts";
import { Registry } from "./registry/registry.ts";
import type { ApiContext } from "./server/api-context.ts";
import { loadOrMakePki } from "./server/pki.ts";
import { answer, answerUpgrade } from "./server/routes.ts";
import { openTokens, TOKEN_ISSUER, writeKubeconfig } from "./server/tokens.ts";
import { publishApi, startSystem } from "./start-system.ts";
import { Store } from "./storage/store.ts";

export interface ApiServerOptions {
  /** Absolute; the store, certificates, tokens and the kubeconfig lie below it. */
  readonly stateDir: string;
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly clock: Clock;
  readonly log: Log;
  /** What the version says about us. */
  readonly build: string;
  /** Namespaces get no ServiceAccount and no ConfigMap of their own. */
  readonly emptyNamespaces: boolean;
  /** The bearer token of the kubelet's port, asked for at each use. */
  readonly kubeletToken: () => string;
}

export interface ApiServer {
  /** `https://host:port` */
  readonly url: string;
  /** The administrator's. */
  readonly kubeconfig: string;
  /** Resolves when everything has stopped, after the signal. */
  readonly closed: Promise<void>;
}

/** How long requests may go on after the stop; watches end at once. */
const DRAIN_MS = 2_000;

/**
 * Runs the embedded Kubernetes API until `signal` is aborted. Resolves when it answers.
 * @throws UserError when the port or the state folder cannot be used.
 */
export async function startApiServer(
  options: ApiServerOptions,
  signal: AbortSignal,
): Promise<ApiServer> {
  const { stateDir, host, clock, log } = options;
  makeFolder(stateDir);
  const store = new Store(join(stateDir, "api.db"));
  const leave = new AbortController();
  try {
    const pki = await loadOrMakePki(stateDir, { hosts: host === "" ? [] : [host], clock });
    const registry = new Registry({ store, clock, randomText, newUid: randomUUID });
    const tokens = openTokens(stateDir, { clock, uidOf: uidIn(registry) });
    const system = startSystem(
      { registry, clock, log, ca: options.emptyNamespaces ? undefined : pki.ca },
      leave.signal,
    );
    let port = options.port;
    const context: ApiContext = {
      registry,
      clock,
      log,
      random: Math.random,
      tokens,
      tokenAudience: TOKEN_ISSUER,
      kubeletToken: options.kubeletToken,
      address: () => formatAddress({ host, port }),
      build: options.build,
      leave: leave.signal,
    };
    const listening = await listen(
      {
        title: "the Kubernetes API",
        cure: "choose another --port",
        host,
        port,
        tls: { cert: pki.cert, key: pki.key },
        handler: (request, response) => void answer(request, response, context),
        onUpgrade: (request, socket, head) => void answerUpgrade(request, socket, head, context),
        clock,
        log,
        drainMs: DRAIN_MS,
      },
      signal,
    );
    port = listening.port;
    publishApi(registry, host === "" ? "127.0.0.1" : host, port);
    const url = `https://${formatAddress({ host, port })}`;
    const kubeconfig = join(stateDir, "kubeconfig");
    writeKubeconfig(kubeconfig, { server: url, ca: pki.ca, token: tokens.adminToken });
    const stop = () => leave.abort();
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    const closed = Promise.all([listening.closed, system.stopped]).then(() => store.close());
    return { url, kubeconfig, closed };
  } catch (error) {
    leave.abort();
    store.close();
    throw error;
  }
}

function randomText(length: number, alphabet: string): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join("");
}

/** Tokens end with the account or pod that they speak for. */
const uidIn =
  (registry: Registry) =>
  (name: "ServiceAccount" | "Pod", namespace: string, object: string): string | undefined => {
    const kind = registry.catalog.named("v1", name);
    const found = kind === undefined ? undefined : registry.read(kind, { namespace, name: object });
    const uid = (found?.["metadata"] as { uid?: unknown } | undefined)?.uid;
    return typeof uid === "string" ? uid : undefined;
  };
