import { connect } from "node:net";
import type { Service } from "#api/kubernetes.ts";
import { type Clock, fromTimestamp } from "#base/clock.ts";
import { EVENTS, type KubeClient, SERVICES } from "#kube/client.ts";

const CONNECT_TIMEOUT_MS = 500;
/** The address is given as soon as the kubelet's controllers see the Service. */
const TRIES_MAX = 20;
const POLL_MS = 100;

interface Deps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Where the gateway answers in any case, for the user to take instead. */
  readonly gateway: string;
  /** When this run began: refusals of earlier ones count for nothing. */
  readonly startMs: number;
}

/** Where the gateway's Service of type LoadBalancer answers, or why it does not and what does. */
export async function balancerNote(service: Service, deps: Deps): Promise<string> {
  const { client, clock, signal, gateway } = deps;
  const { metadata, spec } = service;
  const port = spec.ports?.[0]?.port ?? 0;
  let why: string | undefined;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const ip = (await client.get(SERVICES, metadata, signal)).status?.loadBalancer?.ingress?.[0]
      ?.ip;
    if (ip !== undefined) {
      // First: what listens there may be somebody else's.
      why = await refusal(service, `${ip}:${port} `, deps);
      if (why !== undefined) break;
      if (await answers(ip, port)) {
        return `The gateway is also the Service ${metadata.name} in ${metadata.namespace}: http://${ip}:${port}`;
      }
    }
    await clock.sleep(POLL_MS, signal);
  }
  return `The Service ${metadata.name} does not answer, use ${gateway} instead: ${why ?? "it has no address yet"}`;
}

/** What this run's kubelet says about a port that it could not open. */
async function refusal(
  { metadata }: Service,
  place: string,
  { client, signal, startMs }: Deps,
): Promise<string | undefined> {
  const { items } = await client.list(EVENTS, { namespace: metadata.namespace }, signal);
  return items.find(
    ({ reason, involvedObject, message, lastTimestamp }) =>
      reason === "PortNotOpen" &&
      involvedObject.name === metadata.name &&
      message?.startsWith(place) &&
      // Events know only whole seconds.
      (fromTimestamp(lastTimestamp ?? undefined) ?? 0) >= Math.floor(startMs / 1000) * 1000,
  )?.message;
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const settle = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => settle(false));
    socket.once("error", () => settle(false));
    socket.once("connect", () => settle(true));
  });
}
