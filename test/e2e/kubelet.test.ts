/**
 * The kubelet as users meet it: its own process, kubectl, an API server. It is the embedded one unless
 * LORADOCK_TEST_KUBECONFIG names another's kubeconfig, which must have no other nodes and accept
 * loopback endpoints.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { markedProcesses } from "#local/pods/process-table.ts";
import { supervise } from "#local/supervise.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { canUse } from "#test/support/programs.ts";
import { silentLog as log } from "#test/support/silent-log.ts";

const entries = join(import.meta.dirname, "../../src/main");
const otherApi = process.env["LORADOCK_TEST_KUBECONFIG"];
const run = promisify(execFile);
const TIMEOUT_MS = 30_000;

const server = (answer: string) =>
  `require("http").createServer((_, response) => response.end(${JSON.stringify(answer)})).listen(8000, "0.0.0.0"); process.on("SIGTERM", () => process.exit(0))`;

const manifest = (namespace: string) => [
  { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
  {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: "web" } },
      template: {
        metadata: { labels: { app: "web" } },
        spec: {
          containers: [
            {
              name: "main",
              image: "loradock/test:1",
              command: ["node", "-e", server("one")],
              ports: [{ name: "http", containerPort: 8000 }],
              readinessProbe: { httpGet: { port: "http" }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace },
    spec: {
      type: "LoadBalancer",
      selector: { app: "web" },
      ports: [{ port: 18080, targetPort: "http" }],
    },
  },
];

const suite = () => {
  const stateDir = mkdtempSync(join(tmpdir(), "loradock-node-"));
  const namespace = `kubelet-${process.pid}`;
  const file = join(stateDir, "manifest.json");
  const kubeconfig = otherApi ?? join(stateDir, "kubeconfig");
  const stop = new AbortController();
  let running: Promise<void>;

  const kubectl = async (...args: string[]) =>
    (await run("kubectl", ["--kubeconfig", kubeconfig, "-n", namespace, ...args])).stdout;
  const rollout = () =>
    kubectl("rollout", "status", "deployment/web", `--timeout=${TIMEOUT_MS / 1000}s`);
  const processes = () => markedProcesses(`${stateDir}/`);
  const pods = async () => JSON.parse(await kubectl("get", "pods", "-o", "json")).items;
  const ask = async () => {
    const ip = await kubectl(
      "get",
      "service",
      "web",
      "-o",
      "jsonpath={.status.loadBalancer.ingress[0].ip}",
    );
    return await (await fetch(`http://${ip}:18080/`)).text();
  };

  /** A pod that is on its way out may cut a connection: that is no answer yet, and no failure. */
  const answers = (text: string) =>
    ask().then(
      (answer) => answer === text,
      () => false,
    );

  before(async () => {
    const env = { PATH: process.env["PATH"] ?? "" };
    const common = { command: process.execPath, env, stopGraceMs: TIMEOUT_MS };
    const succeeds = (...args: string[]) =>
      eventually(
        `kubectl ${args.join(" ")}`,
        () =>
          kubectl(...args).then(
            () => true,
            () => false,
          ),
        TIMEOUT_MS,
      ).then(() => {});
    const api = {
      ...{ ...common, name: "Kubernetes API", logFile: join(stateDir, "apiserver.log") },
      args: [
        join(entries, "apiserver.ts"),
        ...["--state-dir", stateDir, "--port", "0", "--with-parent"],
      ],
      ready: () => succeeds("get", "namespaces"),
    };
    const kubelet = {
      ...{ ...common, name: "kubelet", logFile: join(stateDir, "kubelet.log") },
      args: [
        join(entries, "kubelet.ts"),
        ...["--state-dir", stateDir, "--kubeconfig", kubeconfig, "--with-parent"],
      ],
      ready: () => succeeds("get", "node", "loradock"),
    };
    const all = otherApi === undefined ? [api, kubelet] : [kubelet];
    const ready = Promise.withResolvers<void>();
    running = supervise(all, { clock, log, onReady: ready.resolve }, stop.signal);
    await Promise.race([ready.promise, running]);
    const items = manifest(namespace);
    writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    await kubectl("apply", "-f", file);
    await rollout();
  });

  after(async () => {
    try {
      const gone = ["deployment,service", "--all", "--wait=true"];
      await kubectl("delete", ...gone);
      await kubectl("delete", "namespace", namespace, "--wait=false");
    } finally {
      stop.abort();
      await running;
    }
    assert.deepEqual(processes(), [], "no process is left");
    rmSync(stateDir, { recursive: true, force: true });
  });

  it("serves a Service of type LoadBalancer", async () => {
    await eventually("the Service answers", () => answers("one"), TIMEOUT_MS);
  });

  it("rolls out, back and to another scale as kubectl asks for it", async () => {
    const command = JSON.stringify(["node", "-e", server("two")]);
    const path = "/spec/template/spec/containers/0/command";
    const patch = `[{"op":"replace","path":"${path}","value":${command}}]`;
    await kubectl("patch", "deployment", "web", "--type=json", "-p", patch);
    await rollout();
    await eventually("the new version answers", () => answers("two"), TIMEOUT_MS);
    assert.match(await kubectl("rollout", "history", "deployment/web"), /^1 .*\n2 /m);
    await kubectl("rollout", "undo", "deployment/web");
    await rollout();
    await eventually("the old version answers", () => answers("one"), TIMEOUT_MS);
    await kubectl("scale", "deployment/web", "--replicas=3");
    await rollout();
    assert.equal((await pods()).length, 3);
    await kubectl("scale", "deployment/web", "--replicas=2");
    await rollout();
    await kubectl("rollout", "restart", "deployment/web");
    await rollout();
  });

  it("tells the story of a pod as kubectl describe shows it", async () => {
    const text = await kubectl("describe", "pods", "-l", "app=web");
    for (const expected of [
      /Status: +Running/,
      /IP: +127\.20\./,
      /Ready +True/,
      /Scheduled .*Successfully assigned kubelet-\d+\/web-/,
      /Started .*Started container main/,
      /QoS Class: +BestEffort/,
    ]) {
      assert.match(text, expected);
    }
  });

  it("replaces a deleted pod", async () => {
    const [first] = await pods();
    await kubectl("delete", "pod", first.metadata.name);
    await rollout();
    assert.ok(!(await pods()).some((pod: typeof first) => pod.metadata.uid === first.metadata.uid));
  });

  it("comes back when everything is killed at once", async () => {
    const before = (await pods()).map((pod: { metadata: { uid: string } }) => pod.metadata.uid);
    const killed = processes();
    const kubelets = (await run("pgrep", ["-f", `kubelet.ts --state-dir ${stateDir}`])).stdout;
    for (const kubelet of kubelets.trim().split("\n")) process.kill(Number(kubelet), "SIGKILL");
    for (const one of killed) process.kill(one.pid, "SIGKILL");
    await eventually(
      "the pods run again",
      async () => {
        const now = await pods();
        return now.every(
          (pod: { status: { containerStatuses: { restartCount: number; ready: boolean }[] } }) =>
            pod.status.containerStatuses.every((main) => main.restartCount === 1 && main.ready),
        );
      },
      TIMEOUT_MS,
    );
    const after = (await pods()).map((pod: { metadata: { uid: string } }) => pod.metadata.uid);
    assert.deepEqual(after.sort(), before.sort(), "they are the same pods");
    await eventually("they answer", () => ask().catch(() => ""), TIMEOUT_MS);
  });
};

if (canUse("kubectl")) describe("kubelet process", suite);
