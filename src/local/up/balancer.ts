import { connect } from "node:net";
import type { Service } from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import { EVENTS, type KubeClient, SERVICES } from "#kube/client.ts";

const CONNECT_TIMEOUT_MS = 500;
/** The address is given as soon as the kubelet's controllers see the Service. */
const TRIES_MAX = 20;
const POLL_MS = 100;

interface Deps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Where a Service of type LoadBalancer answers, or why it does not. */
export async function balancerNote(service: Service, deps: Deps): Promise<string | undefined> {
  const { client, clock, signal } = deps;
  const { metadata, spec } = service;
  const port = spec.ports?.[0]?.port ?? 0;
  let ip: string | undefined;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    ip = (await client.get(SERVICES, metadata, signal)).status?.loadBalancer?.ingress?.[0]?.ip;
    if (ip !== undefined && (await answers(ip, port))) {
      return `The gateway is also the Service ${metadata.name} in ${metadata.namespace}: http://${ip}:${port}`;
    }
    await clock.sleep(POLL_MS, signal);
  }
  const { items } = await client.list(EVENTS, { namespace: metadata.namespace }, signal);
  const refusal = items.find(
    ({ reason, involvedObject }) =>
      reason === "PortNotOpen" && involvedObject.name === metadata.name,
  );
  return `The Service ${metadata.name} does not answer: ${refusal?.message ?? "it has no address yet"}`;
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
