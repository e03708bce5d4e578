import { createHash } from "node:crypto";
import type { EndpointSlice, Service } from "#api/kubernetes.ts";
import { LABEL } from "#api/names.ts";

/** Addresses of Services on this machine: `clusterIP`s come from the API server, the others from us. */
const CLUSTER_PREFIX = "127.96.";
const BALANCER_PREFIX = "127.97.";

const POOL_SIZE = 256 * 254;

const keyOf = (service: Service) => `${service.metadata.namespace}/${service.metadata.name}`;

function balancerAddress(index: number): string {
  const at = index % POOL_SIZE;
  return `${BALANCER_PREFIX}${Math.floor(at / 254)}.${(at % 254) + 1}`;
}

/**
 * The address of each Service of type LoadBalancer, by `namespace/name`: what its status says, what
 * it asks for, else one that follows from its UID: the same after a new start, and another one for
 * a Service of that name in another state folder of this machine. Pure.
 */
export function balancerAddresses(services: readonly Service[]): Map<string, string> {
  const balancers = services
    .filter((service) => service.spec.type === "LoadBalancer")
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const addresses = new Map<string, string>();
  const taken = new Set<string>();
  const give = (service: Service, address: string | undefined) => {
    if (!address?.startsWith(BALANCER_PREFIX) || taken.has(address)) return;
    taken.add(address);
    addresses.set(keyOf(service), address);
  };
  for (const service of balancers) give(service, service.status?.loadBalancer?.ingress?.[0]?.ip);
  for (const service of balancers) {
    if (!addresses.has(keyOf(service))) give(service, service.spec.loadBalancerIP);
  }
  for (const service of balancers) {
    if (addresses.has(keyOf(service))) continue;
    const identity = service.metadata.uid ?? keyOf(service);
    let index = createHash("sha256").update(identity).digest().readUInt32BE(0);
    while (taken.has(balancerAddress(index))) index++;
    give(service, balancerAddress(index));
  }
  return addresses;
}

/** One TCP port that stands for the pods of a Service. */
export interface Forward {
  readonly service: Service;
  readonly address: string;
  readonly port: number;
  /** `address:port` of ready endpoints. */
  readonly targets: readonly { readonly host: string; readonly port: number }[];
}

/** All ports that have to be open for all Services, by `address:port`. Pure. */
export function planForwards(
  services: readonly Service[],
  slices: readonly EndpointSlice[],
): Map<string, Forward> {
  const balancers = balancerAddresses(services);
  const forwards = new Map<string, Forward>();
  for (const service of services) {
    if (service.metadata.deletionTimestamp !== undefined) continue;
    const clusterAddress = service.spec.clusterIP ?? "";
    const addresses = [
      clusterAddress.startsWith(CLUSTER_PREFIX) ? clusterAddress : undefined,
      balancers.get(keyOf(service)),
    ];
    const own = slices.filter(
      (slice) =>
        slice.metadata.namespace === service.metadata.namespace &&
        slice.metadata.labels?.[LABEL.serviceName] === service.metadata.name,
    );
    for (const address of addresses) {
      if (address === undefined) continue;
      for (const { port, name, protocol } of service.spec.ports ?? []) {
        if ((protocol ?? "TCP") !== "TCP") continue;
        const targets = own.flatMap((slice) => readyTargets(slice, name ?? ""));
        forwards.set(`${address}:${port}`, { service, address, port, targets });
      }
    }
  }
  return forwards;
}

function readyTargets(slice: EndpointSlice, portName: string) {
  const port = slice.ports?.find((candidate) => (candidate.name ?? "") === portName)?.port;
  if (port === undefined) return [];
  return (slice.endpoints ?? [])
    .filter((endpoint) => endpoint.conditions?.ready !== false)
    .flatMap((endpoint) => endpoint.addresses.slice(0, 1).map((host) => ({ host, port })));
}
