import type { RequestListener } from "node:http";
import type { TestContext } from "node:test";
import type { EndpointSlice, Pod } from "#api/kubernetes.ts";
import { LABEL } from "#api/names.ts";
import { type GatewayOptions, gatewayDefaults, runGateway } from "#gateway/gateway.ts";
import { ENDPOINT_SLICES, MODEL_ADAPTERS, PODS } from "#kube/client.ts";
import type { Log, LogFields } from "#telemetry/log.ts";
import { createMetrics } from "#telemetry/metrics.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { eventually } from "./eventually.ts";
import { startServer, type TestServer } from "./http-server.ts";
import { MemoryKube } from "./memory-kube.ts";

/** A gateway over engines that a test writes, each on a port of its own as a pod `p0`, `p1`, ... */
export class GatewayWorld {
  readonly kube = new MemoryKube();
  readonly engines: TestServer[] = [];
  readonly pods: Pod[] = [];
  /** What the gateway logged: message and fields. */
  readonly lines: (LogFields & { message: string })[] = [];
  readonly metrics = createMetrics();
  readonly stop = new AbortController();
  url = "";
  adminUrl = "";
  done: Promise<void> = Promise.resolve();

  /** Adds a pod of the base model `qwen` with this engine. */
  async engine(listener: RequestListener, labels: Record<string, string> = {}): Promise<Pod> {
    const server = await startServer(listener);
    this.engines.push(server);
    const name = `p${this.pods.length}`;
    const pod: Pod = {
      metadata: {
        name,
        namespace: "default",
        uid: `uid-${name}`,
        creationTimestamp: "2026-11-24T00:00:00Z",
        labels: { [LABEL.modelName]: "qwen", [LABEL.modelPort]: String(server.port), ...labels },
      },
      spec: { containers: [] },
      status: { podIP: "127.0.0.1", conditions: [{ type: "Ready", status: "True" }] },
    };
    this.pods.push(pod);
    await this.kube.apply(PODS, pod);
    return pod;
  }

  /** Declares an adapter; `pods` serve it, each by a slice of its own because their ports differ. */
  async adapter(name: string, pods: readonly Pod[], namespace = "default"): Promise<void> {
    await this.kube.apply(MODEL_ADAPTERS, {
      apiVersion: "model.aibrix.ai/v1alpha1",
      kind: "ModelAdapter",
      metadata: { name, namespace, creationTimestamp: "2026-11-24T00:00:00Z" },
      spec: {
        podSelector: {},
        artifactURL: `huggingface://loradock/${name}`,
        schedulerName: "default",
        baseModel: "qwen",
      },
      status: { phase: pods.length === 0 ? "Loading" : "Running" },
    });
    for (const pod of pods) {
      const slice: EndpointSlice = {
        metadata: {
          name: `${name}-${pod.metadata.name}`,
          namespace,
          labels: { [LABEL.adapterName]: name },
        },
        addressType: "IPv4",
        endpoints: [
          {
            addresses: ["127.0.0.1"],
            conditions: { ready: true },
            targetRef: { kind: "Pod", name: pod.metadata.name, uid: pod.metadata.uid ?? "" },
          },
        ],
        ports: [{ port: Number(pod.metadata.labels?.[LABEL.modelPort]) }],
      };
      await this.kube.apply(ENDPOINT_SLICES, slice);
    }
  }

  /** Starts the gateway and waits until it knows its routes. */
  async start(t: TestContext, options: Partial<GatewayOptions> = {}): Promise<void> {
    const write = (message: string, fields: LogFields = {}) =>
      this.lines.push({ message, ...fields });
    const log: Log = { debug: write, info: write, warn: write, error: write, child: () => log };
    const deps = { client: this.kube, clock: systemClock, log, metrics: this.metrics };
    const listening = Promise.withResolvers<void>();
    this.done = runGateway(
      { ...deps, random: Math.random },
      {
        ...gatewayDefaults,
        host: "127.0.0.1",
        port: 0,
        adminBindAddress: "127.0.0.1:0",
        drainMs: 2_000,
        ...options,
      },
      this.stop.signal,
      (running) => {
        this.url = `http://127.0.0.1:${running.port}`;
        this.adminUrl = `http://127.0.0.1:${running.adminPort}`;
        listening.resolve();
      },
    );
    t.after(async () => {
      this.stop.abort();
      await Promise.all(this.engines.map((engine) => engine.close()));
      await this.done;
    });
    await listening.promise;
    await eventually(
      "the gateway is ready",
      async () => (await fetch(`${this.adminUrl}/readyz`)).ok,
    );
    await eventually("routes", () =>
      this.lines.some((line) => line.message === "Routes are complete"),
    );
  }

  post(body: unknown, path = "/v1/completions", init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...init,
    });
  }

  /** The access log's line of the request that is over. */
  async accessLine(find: (line: LogFields) => boolean = () => true): Promise<LogFields> {
    return await eventually("an access log line", () =>
      this.lines.find((line) => line.message === "Request" && find(line)),
    );
  }
}
