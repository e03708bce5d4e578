import { connect } from "node:net";
import type { KubeEvent, Service } from "#api/kubernetes.ts";
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
  /** When this run began: Events of earlier ones are about other attempts. */
  readonly sinceMs: number;
}

/** Where a Service of type LoadBalancer answers, or why it does not. */
export async function balancerNote(service: Service, deps: Deps): Promise<string> {
  const { client, clock, signal, sinceMs } = deps;
  const { namespace, name } = service.metadata;
  const port = service.spec.ports?.[0]?.port ?? 0;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const { status } = await client.get(SERVICES, { namespace, name }, signal);
    const ip = status?.loadBalancer?.ingress?.[0]?.ip;
    if (ip !== undefined) {
      // Asked first: another process that holds the port would answer as well.
      const events = (await client.list(EVENTS, { namespace }, signal)).items;
      const refusal = portRefusal(name, `${ip}:${port}`, events, sinceMs);
      if (refusal !== undefined) return `The Service ${name} does not answer: ${refusal}`;
      if (await isOpen(ip, port)) {
        return `The gateway is also the Service ${name} in ${namespace}: http://${ip}:${port}`;
      }
    }
    await clock.sleep(POLL_MS, signal);
  }
  return `The Service ${name} does not answer yet; see kubectl describe service -n ${namespace} ${name}`;
}

/** Why `place` of a Service could not be opened in this run; undefined when nothing says so. Pure. */
export function portRefusal(
  service: string,
  place: string,
  events: readonly KubeEvent[],
  sinceMs: number,
): string | undefined {
  return events.find(
    ({ reason, involvedObject, lastTimestamp, message }) =>
      reason === "PortNotOpen" &&
      // A Service has other addresses than its balancer's.
      message?.startsWith(`${place} `) === true &&
      involvedObject.name === service &&
      // Events know only whole seconds.
      (fromTimestamp(lastTimestamp ?? undefined) ?? 0) >= Math.floor(sinceMs / 1000) * 1000,
  )?.message;
}

function isOpen(host: string, port: number): Promise<boolean> {
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
