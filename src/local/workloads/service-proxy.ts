import { platform } from "node:os";
import type { Service } from "#api/kubernetes.ts";
import { codeOf, messageOf } from "#base/errors.ts";
import { isNotFound, keyOf, SERVICES } from "#kube/client.ts";
import type { HandlerResult } from "#kube/workqueue.ts";
import { runController, type WorkloadDeps } from "./controller.ts";
import { balancerAddresses, type Forward, planForwards } from "./service-plan.ts";
import { TcpForward } from "./tcp-forward.ts";

/** A port that could not be opened is tried again after this time: who holds it may have ended. */
const RETRY_MS = 15_000;
/** Everything is looked at together: ports and addresses are shared by all Services. */
const ALL = "services";

/** Opens the ports of Services on their own addresses and hands connections to ready pods. */
export async function runServiceProxy(deps: WorkloadDeps, signal: AbortSignal): Promise<void> {
  const { services, endpointSlices } = deps;
  const open = new Map<string, TcpForward>();
  /** Why a port is closed, so that each reason is told once. */
  const refused = new Map<string, string>();
  await runController(
    deps,
    {
      name: "service-proxy",
      workers: 1,
      watch: (add) => {
        add(ALL);
        return [services.onChange(() => add(ALL)), endpointSlices.onChange(() => add(ALL))];
      },
      reconcile: async () => {
        const hasRefusals = await openPorts(deps, open, refused);
        await publishAddresses(deps);
        return (hasRefusals ? { requeueAfterMs: RETRY_MS } : undefined) satisfies
          | HandlerResult
          | undefined;
      },
    },
    signal,
  );
  await Promise.all([...open.values()].map((forward) => forward.close()));
}

async function openPorts(
  deps: WorkloadDeps,
  open: Map<string, TcpForward>,
  refused: Map<string, string>,
): Promise<boolean> {
  const wanted = planForwards(deps.services.list(), deps.endpointSlices.list());
  for (const [place, forward] of open) {
    if (wanted.has(place)) continue;
    open.delete(place);
    await forward.close();
  }
  for (const place of refused.keys()) if (!wanted.has(place)) refused.delete(place);
  for (const [place, { service, address, port, targets }] of wanted) {
    const forward = open.get(place) ?? new TcpForward();
    forward.aim(targets);
    if (open.has(place)) continue;
    try {
      await forward.listen(address, port);
      open.set(place, forward);
      refused.delete(place);
    } catch (error) {
      const why = refusal({ address, port }, error);
      if (refused.get(place) === why) continue;
      refused.set(place, why);
      deps.events.record(service, "Warning", "PortNotOpen", why);
    }
  }
  return refused.size > 0;
}

/** What a person can do about a port that the system does not give. */
function refusal({ address, port }: Pick<Forward, "address" | "port">, error: unknown): string {
  const place = `${address}:${port}`;
  switch (codeOf(error)) {
    case "EACCES": {
      const cure =
        platform() === "linux"
          ? `allow it with: sudo sysctl net.ipv4.ip_unprivileged_port_start=${port}`
          : "use a Service port of 1024 or above";
      return `${place} is not open, ports below 1024 need a privilege here; ${cure}. All other ports work`;
    }
    case "EADDRNOTAVAIL":
      return `${place} is not open, this system lacks the address; add it with: sudo ifconfig lo0 alias ${address} up`;
    case "EADDRINUSE":
      return `${place} is not open, another process uses it`;
    default:
      return `${place} is not open: ${messageOf(error)}`;
  }
}

/** Says in the status of Services of type LoadBalancer where they are. */
async function publishAddresses({ client, services }: WorkloadDeps): Promise<void> {
  const addresses = balancerAddresses(services.list());
  for (const service of services.list()) {
    const ip = addresses.get(keyOf(service));
    const held = service.status?.loadBalancer?.ingress?.[0]?.ip;
    if (held === ip) continue;
    await setIngress(service, ip === undefined ? [] : [{ ip }]);
  }
  async function setIngress(service: Service, ingress: { ip: string }[]): Promise<void> {
    const { name, namespace } = service.metadata;
    const patch = { status: { loadBalancer: { ingress } } };
    const status = { subresource: "status" } as const;
    try {
      services.written(await client.patch(SERVICES, { name, namespace }, "merge", patch, status));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
