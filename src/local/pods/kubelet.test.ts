import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { WebSocket } from "ws";
import type { Container, KubeObject, Pod, PodSpec } from "#api/kubernetes.ts";
import { CONFIG_MAPS, NODES, PODS, type Resource, SECRETS } from "#kube/client.ts";
import { startInformer } from "#kube/informer.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { PodKube } from "#test/support/pod-kube.ts";
import { silentLog as log } from "#test/support/silent-log.ts";
import { POD_POOL } from "./addresses.ts";
import { type Kubelet, startKubelet } from "./kubelet.ts";
import { markedProcesses } from "./process-table.ts";

const TOKEN = "for-tests";
const IMAGE = "loradock/test";
const root = mkdtempSync(join(tmpdir(), "loradock-kubelet-"));
let machines = 0;

/** One machine with an API in memory; its kubelet can come and go. */
class Machine {
  readonly kube = new PodKube();
  readonly stateDir = join(root, String(machines++));
  readonly events: string[] = [];
  kubelet: Kubelet | undefined;
  #caches = new AbortController();

  async start(): Promise<void> {
    this.#caches = new AbortController();
    const mirror = <T extends KubeObject>(resource: Resource<T>) =>
      startInformer(this.kube, resource, {}, clock, log, this.#caches.signal);
    this.kubelet = await startKubelet({
      client: this.kube,
      clock,
      log,
      events: {
        record: (_object, _type, reason, message) => this.events.push(`${reason}: ${message}`),
        done: Promise.resolve(),
      },
      pods: mirror(PODS),
      secrets: mirror(SECRETS),
      configMaps: mirror(CONFIG_MAPS),
      stateDir: this.stateDir,
      nodeName: "loradock",
      version: "v0",
      pool: POD_POOL,
      entries: "/none",
      node: process.execPath,
      defaults: { PATH: "/usr/local/bin:/usr/bin:/bin" },
      engine: { from: "built-in", why: "for tests" },
      podApi: {
        server: "http://127.0.0.1:1",
        tokenFor: async (namespace, account) => `token of ${namespace}/${account}`,
      },
      server: { port: 0, token: TOKEN },
      backoff: { baseMs: 100, maxMs: 400, resetAfterMs: 60_000 },
    });
  }

  async stop(how: "stop" | "abandon" = "stop"): Promise<void> {
    await this.kubelet?.[how]();
    this.kubelet = undefined;
    this.#caches.abort();
  }

  run(name: string, script: string, more: Partial<PodSpec> = {}): Promise<Pod> {
    return this.create(name, [shell(script)], more);
  }

  async create(name: string, containers: Container[], more: Partial<PodSpec> = {}): Promise<Pod> {
    const metadata = { name, namespace: "default" };
    return await this.kube.create(PODS, { metadata, spec: { containers, ...more } });
  }

  async pod(name: string): Promise<Pod | undefined> {
    return await this.kube.get(PODS, { namespace: "default", name }).catch(() => undefined);
  }

  /** Waits until the pod is as asked. */
  async until(name: string, what: string, holds: (pod: Pod) => boolean): Promise<Pod> {
    return await eventually(`${name} ${what}`, async () => {
      const pod = await this.pod(name);
      return pod !== undefined && holds(pod) && pod;
    });
  }

  ready(name: string): Promise<Pod> {
    return this.until(name, "is ready", (pod) => conditionOf(pod, "Ready") === "True");
  }

  /** Waits until a `serving` container has come so far that it takes SIGTERM. */
  async up(name: string): Promise<Pod> {
    const pod = await this.ready(name);
    await eventually(`${name} is up`, async () => (await this.logOf(pod)).endsWith("up\n"));
    return pod;
  }

  get processes(): number {
    return markedProcesses(`${this.stateDir}/`).length;
  }

  logOf(pod: Pod, query = ""): Promise<string> {
    const path = `containerLogs/default/${pod.metadata.name}/main${query}`;
    return fetch(`http://127.0.0.1:${this.kubelet?.port}/${path}`, {
      headers: { authorization: `Bearer ${TOKEN}` },
    }).then((response) => response.text());
  }
}

const shell = (script: string, more: Partial<Container> = {}): Container => ({
  name: "main",
  image: IMAGE,
  command: ["sh", "-c", script],
  ...more,
});

/** A container that runs until it is told to stop, and then ends with `exitCode`. */
const serving = (exitCode = 0) =>
  `trap 'exit ${exitCode}' TERM; echo up; while :; do sleep 100 & wait; done`;

const conditionOf = (pod: Pod, type: string) =>
  pod.status?.conditions?.find((condition) => condition.type === type)?.status;
const mainOf = (pod: Pod) => pod.status?.containerStatuses?.[0];

const open: Machine[] = [];

async function machine(): Promise<Machine> {
  const made = new Machine();
  open.push(made);
  await made.start();
  return made;
}

after(async () => {
  for (const one of open) await one.stop();
  const left = open.map((one) => one.processes);
  rmSync(root, { recursive: true, force: true });
  assert.deepEqual(
    left,
    open.map(() => 0),
    "no process is left",
  );
});

describe("kubelet", () => {
  it("registers its node, runs init containers and containers, and lets a deleted pod go", async () => {
    const here = await machine();
    const node = (await here.kube.get(NODES, { name: "loradock" })) as KubeObject & {
      status: { daemonEndpoints: unknown };
    };
    assert.deepEqual(node.status.daemonEndpoints, {
      kubeletEndpoint: { Port: here.kubelet?.port },
    });
    const volumeMounts = [{ name: "shared", mountPath: "/shared" }];
    const probe = { exec: { command: ["test", "-f", "/shared/ready"] }, periodSeconds: 1 };
    await here.create(
      "web",
      [
        shell(`cat /shared/greeting; touch /shared/ready; ${serving(7)}`, {
          volumeMounts,
          readinessProbe: probe,
        }),
      ],
      {
        volumes: [{ name: "shared", emptyDir: {} }],
        initContainers: [
          shell("echo hello from $POD_IP > /shared/greeting", {
            name: "init",
            volumeMounts,
            env: [{ name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }],
          }),
        ],
      },
    );
    const pod = await here.up("web");
    assert.equal(pod.spec.nodeName, "loradock");
    assert.match(pod.status?.podIP ?? "", /^127\.20\.\d+\.\d+$/);
    assert.equal(await here.logOf(pod), `hello from ${pod.status?.podIP}\nup\n`);
    assert.equal(pod.status?.initContainerStatuses?.[0]?.state?.terminated?.exitCode, 0);
    const deletion = here.kube.watch(
      PODS,
      { resourceVersion: pod.metadata.resourceVersion },
      AbortSignal.timeout(5_000),
    );
    await here.kube.delete(PODS, { namespace: "default", name: "web" });
    let last = pod;
    for await (const event of deletion) {
      if (event.type === "DELETED") break;
      last = event.object;
    }
    assert.equal(mainOf(last)?.state?.terminated?.exitCode, 7, "the last status tells the end");
    await eventually("nothing is left", () => {
      return here.processes === 0 && readdirSync(join(here.stateDir, "pods")).length === 0;
    });
    assert.deepEqual(
      here.events.filter((event) => !event.startsWith("Unhealthy")),
      [
        "Scheduled: Successfully assigned default/web to loradock",
        `Pulled: Container image "${IMAGE}" already present on machine`,
        "Created: Created container: init",
        "Started: Started container init",
        `Pulled: Container image "${IMAGE}" already present on machine`,
        "Created: Created container: main",
        "Started: Started container main",
        "Killing: Stopping container main",
      ],
    );
  });

  it("adopts what runs after its own crash, and ends what no pod wants any more", async () => {
    const here = await machine();
    const fifo = join(here.stateDir, "go");
    await here.run("kept", `mkfifo ${fifo}; echo up; read line < ${fifo}; exit 5`, {
      restartPolicy: "Never",
    });
    await here.run("orphan", serving());
    const before = await here.ready("kept");
    await here.ready("orphan");
    await eventually("it waits", () => existsSync(fifo));
    await here.stop("abandon");
    await here.kube.delete(
      PODS,
      { namespace: "default", name: "orphan" },
      { gracePeriodSeconds: 0 },
    );
    const writes = here.kube.writes.length;
    await here.start();
    const found = await here.until(
      "kept",
      "is ready",
      (pod) => conditionOf(pod, "Ready") === "True",
    );
    assert.equal(mainOf(found)?.containerID, mainOf(before)?.containerID);
    assert.equal(mainOf(found)?.restartCount, 0);
    await eventually("the orphan has gone", () => here.processes <= 2);
    writeFileSync(fifo, "\n");
    const done = await here.until("kept", "is over", (pod) => pod.status?.phase === "Failed");
    assert.equal(
      mainOf(done)?.state?.terminated?.exitCode,
      5,
      "an adopted process tells its exit code",
    );
    assert.ok(here.kube.writes.length > writes);
  });

  it("stops all processes when it goes down and starts them again, without counting a crash", async () => {
    const here = await machine();
    await here.run("web", serving(3));
    const { status } = await here.up("web");
    await here.stop();
    assert.equal(here.processes, 0);
    const down = await here.pod("web");
    assert.equal(down && conditionOf(down, "Ready"), "False");
    await here.start();
    const up = await here.ready("web");
    assert.equal(mainOf(up)?.restartCount, 1);
    assert.equal(mainOf(up)?.lastState?.terminated?.exitCode, 3);
    assert.equal(up.status?.podIP, status?.podIP, "the address stays the pod's");
    assert.ok(!here.events.some((event) => event.startsWith("BackOff")));
  });

  it("restarts what crashes with growing pauses and keeps the log of the time before", async () => {
    const here = await machine();
    const counter = join(here.stateDir, "count");
    await here.run("crash", `echo x >> ${counter}; echo try $(wc -l < ${counter}); exit 9`);
    const pod = await here.until("crash", "backs off a second time", (one) => {
      const main = mainOf(one);
      return main?.restartCount === 2 && main.state?.waiting?.reason === "CrashLoopBackOff";
    });
    assert.equal(mainOf(pod)?.lastState?.terminated?.exitCode, 9);
    assert.equal(await here.logOf(pod, "?previous=true"), "try 2\n");
    assert.ok(here.events.some((event) => event.startsWith("BackOff: Back-off restarting failed")));
  });

  it("kills and restarts a container whose liveness probe fails", async () => {
    const here = await machine();
    const probe = { exec: { command: ["sh", "-c", "echo sick; exit 1"] }, failureThreshold: 1 };
    await here.create("sick", [shell(serving(), { livenessProbe: probe })]);
    await here.until("sick", "was restarted", (pod) => (mainOf(pod)?.restartCount ?? 0) > 0);
    assert.ok(here.events.includes("Unhealthy: Liveness probe failed: sick"));
    assert.ok(
      here.events.includes("Killing: Container main failed liveness probe, will be restarted"),
    );
  });

  it("ends Job-like pods as Succeeded or Failed", async () => {
    const here = await machine();
    await here.run("good", "exit 0", { restartPolicy: "Never" });
    await here.run("bad", "exit 2", { restartPolicy: "Never" });
    await here.until("good", "succeeded", (pod) => pod.status?.phase === "Succeeded");
    const bad = await here.until("bad", "failed", (pod) => pod.status?.phase === "Failed");
    assert.equal(mainOf(bad)?.state?.terminated?.exitCode, 2);
  });

  it("gives each pod its address, its token and its private folders", async () => {
    const here = await machine();
    const script = `cat $KUBECONFIG; echo; ${serving()}`;
    await Promise.all(["a", "b"].map((name) => here.run(name, script)));
    await here.run("host", serving(), { hostNetwork: true });
    const [a, b, host] = [await here.up("a"), await here.up("b"), await here.up("host")];
    assert.notEqual(a.status?.podIP, b.status?.podIP);
    assert.equal(host.status?.podIP, "127.0.0.1");
    const kubeconfig = JSON.parse((await here.logOf(a)).split("\n")[0] ?? "");
    assert.equal(kubeconfig.users[0].user.token, "token of default/default");
  });

  it("waits for a missing Secret, then starts, and follows the Secret's changes", async () => {
    const here = await machine();
    const secretKeyRef = { name: "keys", key: "token" };
    await here.create(
      "needy",
      [
        shell(`echo $TOKEN; ${serving()}`, {
          env: [{ name: "TOKEN", valueFrom: { secretKeyRef } }],
          volumeMounts: [{ name: "keys", mountPath: "/keys" }],
        }),
      ],
      { volumes: [{ name: "keys", secret: { secretName: "keys", optional: true } }] },
    );
    const waiting = await here.until("needy", "waits", (pod) => {
      return mainOf(pod)?.state?.waiting?.reason === "CreateContainerConfigError";
    });
    assert.equal(mainOf(waiting)?.state?.waiting?.message, 'secret "keys" not found');
    const data = (token: string) => ({ token: Buffer.from(token).toString("base64") });
    const metadata = { name: "keys", namespace: "default" };
    await here.kube.create(SECRETS, { metadata, data: data("first") });
    const pod = await here.up("needy");
    assert.equal(await here.logOf(pod), "first\nup\n");
    const file = join(here.stateDir, "pods", pod.metadata.uid ?? "", "volumes/keys/token");
    assert.equal(readFileSync(file, "utf8"), "first");
    await here.kube.patch(SECRETS, metadata, "merge", { data: data("second") });
    await eventually("the file changes", () => readFileSync(file, "utf8") === "second");
  });

  it("says what it cannot run", async () => {
    const here = await machine();
    await here.create("unknown", [{ name: "main", image: "nginx:1.27" }]);
    await here.create("nothing", [{ name: "main", image: IMAGE, command: ["no-such-program"] }]);
    const unknown = await here.until("unknown", "waits", (pod) => {
      return mainOf(pod)?.state?.waiting?.reason === "ImagePullBackOff";
    });
    assert.match(mainOf(unknown)?.state?.waiting?.message ?? "", /known images: vllm\/vllm-openai/);
    assert.equal(unknown.status?.phase, "Pending");
    const nothing = await here.until("nothing", "waits", (pod) => {
      return mainOf(pod)?.state?.waiting?.reason === "RunContainerError";
    });
    assert.match(
      mainOf(nothing)?.state?.waiting?.message ?? "",
      /exec: "no-such-program": executable file not found in \$PATH/,
    );
    await here.kube.patch(PODS, { namespace: "default", name: "unknown" }, "merge", {
      spec: { containers: [shell(serving())] },
    });
    await here.ready("unknown");
  });

  it("refuses a second kubelet on the same folder, but not the lock of a dead one", async () => {
    const here = await machine();
    await here.stop();
    const lock = join(here.stateDir, "kubelet.lock");
    const parent = readFileSync(`/proc/${process.ppid}/stat`, "utf8");
    writeFileSync(lock, parent);
    await assert.rejects(here.start(), /is in use by another Loradock \(process \d+\): stop it/);
    writeFileSync(lock, `${process.ppid} another start time`);
    await here.stop();
    await here.start();
  });
});

describe("kubelet's server", () => {
  interface Answer {
    protocol: string;
    output: Record<number, string>;
    code: number;
  }

  function exec(here: Machine, query: string, protocols: string[], send: Buffer[] = []) {
    return new Promise<Answer>((resolve, reject) => {
      const url = `ws://127.0.0.1:${here.kubelet?.port}/exec/default/web/main?${query}`;
      const headers = { authorization: `Bearer ${TOKEN}` };
      const socket = new WebSocket(url, protocols, { headers });
      const output: Record<number, string> = {};
      socket.on("open", () => send.forEach((data) => void socket.send(data)));
      socket.on("message", (data: Buffer) => {
        const channel = data[0] ?? 0;
        output[channel] = (output[channel] ?? "") + data.subarray(1).toString("utf8");
      });
      socket.on("close", (code) => resolve({ protocol: socket.protocol, output, code }));
      socket.on("error", reject);
    });
  }

  it("runs commands in a container as kubectl exec asks for them", async () => {
    const here = await machine();
    await here.run("web", serving());
    const pod = await here.ready("web");
    const script = "cat; echo at localhost >&2; exit 4";
    const command = ["sh", "-c", script].map((word) => `command=${encodeURIComponent(word)}`);
    const query = `stdin=1&stdout=1&stderr=1&${command.join("&")}`;
    const input = [Buffer.from("\0typed\n"), Buffer.from([255, 0])];
    const v5 = await exec(here, query, ["v5.channel.k8s.io", "v4.channel.k8s.io"], input);
    assert.equal(v5.protocol, "v5.channel.k8s.io");
    assert.equal(v5.code, 1000);
    assert.deepEqual([v5.output[1], v5.output[2]], ["typed\n", `at ${pod.status?.podIP}\n`]);
    assert.deepEqual(JSON.parse(v5.output[3] ?? ""), {
      metadata: {},
      status: "Failure",
      reason: "NonZeroExitCode",
      message: "command terminated with non-zero exit code: exit status 4",
      details: { causes: [{ reason: "ExitCode", message: "4" }] },
    });
    const v4 = await exec(here, "command=true&stdout=1", ["v4.channel.k8s.io"]);
    assert.deepEqual(v4.output, { 3: '{"metadata":{},"status":"Success"}' });
    const absent = await exec(here, "command=no-such&stdout=1", ["v5.channel.k8s.io"]);
    assert.match(absent.output[3] ?? "", /executable file not found/);
    await assert.rejects(exec(here, "command=true", ["v3.channel.k8s.io"]), /400/);
  });

  it("ends a command whose client has gone", async () => {
    const here = await machine();
    await here.run("web", serving());
    await here.up("web");
    const command = "command=sh&command=-c&command=echo+up%3B+sleep+90";
    const url = `ws://127.0.0.1:${here.kubelet?.port}/exec/default/web/main?${command}&stdout=1`;
    const headers = { authorization: `Bearer ${TOKEN}` };
    const socket = new WebSocket(url, ["v5.channel.k8s.io"], { headers });
    await once(socket, "message");
    await eventually("the container and the command run", () => here.processes === 5);
    socket.terminate();
    await eventually("the command has ended", () => here.processes === 3);
  });

  it("follows a log to the container's end and answers mistakes clearly", async () => {
    const here = await machine();
    const fifo = join(here.stateDir, "go");
    await here.run("web", `mkfifo ${fifo}; echo one; read line < ${fifo}; echo two`, {
      restartPolicy: "Never",
    });
    const pod = await here.ready("web");
    await eventually("it waits", () => existsSync(fifo));
    const followed = here.logOf(pod, "?follow=true");
    writeFileSync(fifo, "\n");
    assert.equal(await followed, "one\ntwo\n");
    const get = (path: string, token = TOKEN) =>
      fetch(`http://127.0.0.1:${here.kubelet?.port}/${path}`, {
        headers: { authorization: `Bearer ${token}` },
      }).then(async (response) => [response.status, JSON.parse(await response.text()).message]);
    assert.deepEqual(await get("containerLogs/default/web/main", "wrong"), [401, "Unauthorized"]);
    assert.deepEqual(await get("containerLogs/default/no/main"), [404, 'pods "no" not found']);
    assert.deepEqual(await get("containerLogs/default/web/no"), [
      400,
      "container no is not valid for pod web",
    ]);
    assert.deepEqual(await get("containerLogs/default/web/main?tailLines=x"), [
      400,
      "tailLines must be a whole number, not x",
    ]);
    assert.deepEqual(await get("containerLogs/default/web/main?previous=true"), [
      400,
      'previous terminated container "main" in pod "web" not found',
    ]);
    assert.deepEqual(await get("exec/default/web/main?command=true"), [
      400,
      "exec needs a WebSocket: kubectl 1.30 or newer",
    ]);
  });
});
