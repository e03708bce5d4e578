import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Deployment, KubeObject, Pod, Service } from "#api/kubernetes.ts";
import { toTimestamp } from "#base/clock.ts";
import {
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  PODS,
  REPLICA_SETS,
  type Resource,
  SERVICES,
} from "#kube/client.ts";
import { startInformer } from "#kube/informer.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { PodKube } from "#test/support/pod-kube.ts";
import { silentLog as log } from "#test/support/silent-log.ts";
import { runWorkloads } from "./workloads.ts";

const namespace = "default";

describe("runWorkloads", () => {
  const kube = new PodKube();
  const stop = new AbortController();
  const events: string[] = [];
  let running: Promise<void>;

  before(() => {
    const mirror = <T extends KubeObject>(resource: Resource<T>) =>
      startInformer(kube, resource, {}, clock, log, stop.signal);
    running = runWorkloads(
      {
        client: kube,
        clock,
        log,
        events: {
          record: (object, _type, reason, message) =>
            events.push(`${object.metadata.name} ${reason}: ${message}`),
          done: Promise.resolve(),
        },
        pods: mirror(PODS),
        replicaSets: mirror(REPLICA_SETS),
        deployments: mirror(DEPLOYMENTS),
        services: mirror(SERVICES),
        endpointSlices: mirror(ENDPOINT_SLICES),
      },
      stop.signal,
    );
  });
  after(async () => {
    stop.abort();
    await running;
  });

  const pods = async () => (await kube.list(PODS)).items;
  const images = async () => (await pods()).map((pod) => pod.spec.containers[0]?.image).sort();
  const deployment = () => kube.get(DEPLOYMENTS, { namespace, name: "web" });

  /** Plays the kubelet: every pod gets an address and is ready; deleted ones go. */
  async function kubelet(): Promise<void> {
    for (const [index, pod] of (await pods()).entries()) {
      const { name, deletionTimestamp } = pod.metadata;
      if (deletionTimestamp !== undefined) {
        await kube.delete(PODS, { namespace, name }, { gracePeriodSeconds: 0 }).catch(() => {});
      } else if (pod.status === undefined) {
        const lastTransitionTime = toTimestamp(Date.now());
        const status: Pod["status"] = {
          phase: "Running",
          podIP: `127.20.0.${index + 1}`,
          conditions: [{ type: "Ready", status: "True", lastTransitionTime }],
        };
        await kube.patch(PODS, { namespace, name }, "merge", { spec: { nodeName: "n" } });
        await kube
          .patch(PODS, { namespace, name }, "merge", { status }, { subresource: "status" })
          .catch(() => {});
      }
    }
  }

  async function rolledOut(what: string, replicas: number): Promise<Deployment> {
    return await eventually(what, async () => {
      await kubelet();
      const current = await deployment();
      const { status, metadata } = current;
      return (
        status?.observedGeneration === metadata.generation &&
        status?.updatedReplicas === replicas &&
        status?.replicas === replicas &&
        status?.availableReplicas === replicas &&
        (await pods()).length === replicas &&
        current
      );
    });
  }

  const template = (image: string): Deployment["spec"]["template"] => ({
    metadata: { labels: { app: "web" } },
    spec: {
      containers: [{ name: "main", image, ports: [{ name: "http", containerPort: 8000 }] }],
    },
  });

  it("rolls a Deployment out, to another template, to another number, and away", async () => {
    await kube.create(DEPLOYMENTS, {
      metadata: { name: "web", namespace },
      spec: { replicas: 3, selector: { matchLabels: { app: "web" } }, template: template("v1") },
    });
    await rolledOut("the first rollout", 3);
    assert.deepEqual(await images(), ["v1", "v1", "v1"]);
    await kube.patch(DEPLOYMENTS, { namespace, name: "web" }, "merge", {
      spec: { template: template("v2") },
    });
    await rolledOut("the second rollout", 3);
    assert.deepEqual(await images(), ["v2", "v2", "v2"]);
    assert.equal(
      (await deployment()).metadata.annotations?.["deployment.kubernetes.io/revision"],
      "2",
    );
    assert.equal((await kube.list(REPLICA_SETS)).items.length, 2);
    await kube.patch(DEPLOYMENTS, { namespace, name: "web" }, "merge", { spec: { replicas: 1 } });
    await rolledOut("the smaller scale", 1);
    assert.ok(
      events.some((event) => /^web ScalingReplicaSet: Scaled down .* from 3 to 1$/.test(event)),
    );
  });

  it("replaces a pod that is deleted", async () => {
    const [pod] = await pods();
    await kube.delete(PODS, { namespace, name: pod?.metadata.name ?? "" });
    await rolledOut("the replacement", 1);
    assert.notEqual((await pods())[0]?.metadata.name, pod?.metadata.name);
  });

  it("publishes a Service's endpoints and its balancer's address", async () => {
    await kube.create(SERVICES, {
      metadata: { name: "web", namespace },
      spec: {
        type: "LoadBalancer",
        selector: { app: "web" },
        ports: [{ name: "http", port: 0, targetPort: "http" }],
      },
    } as Service);
    const pod = await eventually("the pod runs", async () => {
      await kubelet();
      const [only] = await pods();
      return only?.status?.podIP !== undefined && only;
    });
    const slice = await eventually("the slice has the pod", async () => {
      const [first] = (await kube.list(ENDPOINT_SLICES)).items;
      return first?.endpoints[0]?.addresses[0] === pod.status?.podIP && first;
    });
    assert.deepEqual(slice.ports, [{ name: "http", port: 8000, protocol: "TCP" }]);
    const ip = await eventually("the Service has an address", async () => {
      const service = await kube.get(SERVICES, { namespace, name: "web" });
      return service.status?.loadBalancer?.ingress?.[0]?.ip;
    });
    assert.match(ip, /^127\.97\.\d+\.\d+$/);
    await kube.patch(SERVICES, { namespace, name: "web" }, "merge", { spec: { selector: null } });
    await eventually("without a selector it has no slices of ours", async () => {
      return (await kube.list(ENDPOINT_SLICES)).items.length === 0;
    });
  });

  it("tells of a ReplicaSet that begins empty only when it is scaled up", async () => {
    await kube.create(DEPLOYMENTS, {
      metadata: { name: "alone", namespace },
      spec: {
        replicas: 1,
        strategy: { type: "Recreate" },
        selector: { matchLabels: { app: "alone" } },
        template: { metadata: { labels: { app: "alone" } }, spec: { containers: [] } },
      },
    });
    const told = () => events.filter((event) => event.startsWith("alone ScalingReplicaSet"));
    await eventually("it is scaled up", () => told().some((event) => event.endsWith("to 1")));
    assert.equal(told().length, 1, told().join());
  });
});
