import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import type { KubeEvent, Service } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import { EVENTS, SERVICES } from "#kube/client.ts";
import { fastClock } from "#test/support/fast-clock.ts";
import { MemoryKube } from "#test/support/memory-kube.ts";
import { balancerNote } from "./balancer.ts";

const NAME = { namespace: "envoy-gateway-system", name: "envoy" };
const START_MS = Date.parse("2026-01-01T00:00:10.500Z");

/** The note about a Service at this port, after events that were last seen at these times. */
async function note(port: number, refusedAtMs: readonly number[] = [], ip = "127.0.0.1") {
  const kube = new MemoryKube();
  const service: Service = {
    metadata: NAME,
    spec: { type: "LoadBalancer", ports: [{ name: "http", port }] },
  };
  await kube.create(SERVICES, {
    ...service,
    status: { loadBalancer: { ingress: [{ ip }] } },
  });
  for (const [index, ms] of refusedAtMs.entries()) {
    await kube.create(EVENTS, {
      metadata: { namespace: NAME.namespace, name: `e${index}` },
      involvedObject: { kind: "Service", ...NAME },
      reason: "PortNotOpen",
      type: "Warning",
      message: `${ip}:${port} is not open, another process uses it`,
      lastTimestamp: toTimestamp(ms),
    } as KubeEvent);
  }
  return await balancerNote(service, {
    client: kube,
    clock: fastClock(20),
    signal: new AbortController().signal,
    gateway: "http://127.0.0.1:8888",
    startMs: START_MS,
  });
}

test("the balancer's note says where it answers, or why not and what to use", async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const open = `The gateway is also the Service envoy in envoy-gateway-system: http://127.0.0.1:${port}`;
  assert.equal(await note(port), open);
  assert.equal(await note(port, [START_MS - 60_000]), open, "an earlier run's refusal");
  const foreign = await note(port, [START_MS - 60_000, START_MS]);
  assert.equal(
    foreign,
    `The Service envoy does not answer, use http://127.0.0.1:8888 instead: 127.0.0.1:${port} is not open, another process uses it`,
  );
  server.close();
  await once(server, "close");
  assert.match(await note(port), /does not answer, use http:\/\/127\.0\.0\.1:8888 instead: /);
});
