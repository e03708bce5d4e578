import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { get, request as httpRequest, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { WebSocket } from "ws";
import type { Pod } from "#api/kubernetes.ts";
import type { JsonObject } from "#base/json.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { bodyOf, startServer } from "#test/support/http-server.ts";
import { silentLog as log } from "#test/support/silent-log.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import type { ContainerRunner } from "../../pods/container-runner.ts";
import { startKubeletServer } from "../../pods/kubelet-server.ts";
import { logFilesOf } from "../../pods/log-keeper.ts";
import { ApiError } from "../registry/api-error.ts";
import {
  execWithoutWebSocket,
  type KubeletTarget,
  proxyExec,
  proxyLog,
  refuseUpgrade,
  subresourceNotServed,
} from "./kubelet-proxy.ts";

const TOKEN = "of-the-kubelet";

const podOf = (containers: string[], more: JsonObject = {}): JsonObject => ({
  metadata: { name: "web", namespace: "default" },
  spec: { nodeName: "here", containers: containers.map((name) => ({ name })), ...more },
});
const nodeOf = (port: number): JsonObject => ({
  metadata: { name: "here" },
  status: { daemonEndpoints: { kubeletEndpoint: { Port: port } } },
});

/** A front server that proxies to the kubelet as the API server will. */
async function front(t: TestContext, target: KubeletTarget) {
  const { server, port } = await startServer((request, response) => {
    const { searchParams } = new URL(request.url ?? "/", "http://front");
    const action = request.url?.startsWith("/exec")
      ? Promise.reject(execWithoutWebSocket(target, searchParams, request.headers.upgrade))
      : proxyLog(target, searchParams, response);
    action.catch((error: unknown) => {
      assert.ok(error instanceof ApiError, String(error));
      response.writeHead(error.code).end(JSON.stringify(error.status()));
    });
  });
  server.on("upgrade", (request, socket, head) => {
    const { searchParams } = new URL(request.url ?? "/", "http://front");
    proxyExec(target, searchParams, { request, socket, head }).catch((error: unknown) => {
      assert.ok(error instanceof ApiError, String(error));
      refuseUpgrade(socket, error);
    });
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    logs: async (query = "") => {
      const response = await fetch(`http://127.0.0.1:${port}/log?${query}`);
      return { code: response.status, text: await response.text() };
    },
    message: async (path: string, method = "GET") => {
      const response = await fetch(`http://127.0.0.1:${port}/${path}`, { method });
      const status = (await response.json()) as { code: number; message: string };
      assert.equal(status.code, response.status);
      return `${status.code} ${status.message}`;
    },
    exec: (query: string, protocols = ["v5.channel.k8s.io"]) =>
      new WebSocket(`ws://127.0.0.1:${port}/exec?${query}`, protocols),
    port,
  };
}

/** The real server of the kubelet with one pod `web`, whose container `main` is as asked. */
async function kubelet(t: TestContext, container: "running" | "waiting" = "running") {
  const folder = join(await tempFolder(t), "attempt");
  mkdirSync(folder, { recursive: true });
  const { log: logFile } = logFilesOf(folder)[1];
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(logFile, "one\ntwo\n");
  const isRunning = container === "running";
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const runner: Pick<ContainerRunner, "folder" | "isRunning" | "ended"> = {
    folder: (back) => (back === 0 && isRunning ? folder : undefined),
    isRunning,
    ended,
  };
  const pod = podOf(["main"]);
  const server = await startKubeletServer({
    host: "127.0.0.1",
    port: 0,
    token: TOKEN,
    find: (namespace, name) => {
      if (namespace !== "default" || name !== "web") return undefined;
      return {
        pod: pod as unknown as Pod,
        runner: () => runner as ContainerRunner,
        command: () => ({
          argv: [],
          environment: { PATH: "/usr/local/bin:/usr/bin:/bin" },
          workingDir: folder,
          skippedNames: [],
          localize: (word) => word,
        }),
      };
    },
    clock,
    log,
  });
  t.after(() => server.close());
  t.after(end);
  return { pod, node: nodeOf(server.port), token: TOKEN, logFile, end };
}

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What a WebSocket gets on each channel until it is closed. */
async function channels(socket: WebSocket): Promise<{ out: string; error: JsonObject }> {
  const texts = ["", "", "", ""];
  socket.on("message", (data: Buffer) => {
    texts[data[0] ?? 0] += data.subarray(1).toString();
  });
  await once(socket, "close");
  return { out: texts[1] ?? "", error: JSON.parse(texts[3] || "{}") };
}

describe("pods/log", () => {
  it("hands over the kubelet's log with the parameters of the request", async (t) => {
    const { logs } = await front(t, await kubelet(t));
    assert.deepEqual(await logs(), { code: 200, text: "one\ntwo\n" });
    assert.deepEqual(await logs("container=main&tailLines=1"), { code: 200, text: "two\n" });
    assert.deepEqual(await logs("limitBytes=3"), { code: 200, text: "one" });
    const previous = await logs("previous=true");
    assert.equal(previous.code, 400);
    assert.match(
      previous.text,
      /previous terminated container \\"main\\" in pod \\"web\\" not found/,
    );
  });

  it("passes on each line of a followed log at once, and ends the kubelet's side with the client", async (t) => {
    const target = await kubelet(t);
    const { port } = await front(t, target);
    const response = await new Promise<IncomingMessage>((resolve) => {
      get(`http://127.0.0.1:${port}/log?follow=true`, { agent: false }, resolve);
    });
    let text = "";
    response.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
    });
    await eventually("the first lines", () => text === "one\ntwo\n");
    appendFileSync(target.logFile, "three\n");
    await eventually("the next line", () => text === "one\ntwo\nthree\n");
    target.end();
    await once(response, "end");
  });

  for (const [when, answers] of [
    ["before the first byte", false],
    ["in the middle", true],
  ] as const) {
    it(`cancels the request to the kubelet when the client leaves ${when}`, async (t) => {
      let isAsked = false;
      let isGone = false;
      const upstream = await startServer((request, response) => {
        isAsked = true;
        request.socket.once("close", () => {
          isGone = true;
        });
        if (answers) response.writeHead(200).write("so far\n");
      });
      t.after(() => upstream.close());
      const target = { pod: podOf(["main"]), node: nodeOf(upstream.port), token: TOKEN };
      const { port } = await front(t, target);
      const client = get(`http://127.0.0.1:${port}/log?follow=true`, { agent: false });
      client.on("error", () => {});
      client.on("response", (response) => response.on("error", () => {}));
      if (answers) await once(client, "response");
      await eventually("the kubelet is asked", () => isAsked);
      client.destroy();
      await eventually("the kubelet's side ends", () => isGone);
    });
  }

  it("cuts the answer when the kubelet breaks off in the middle", async (t) => {
    const upstream = await startServer((_request, response) => {
      response.writeHead(200).write("so far\n", () => response.destroy());
    });
    t.after(() => upstream.close());
    const target = { pod: podOf(["main"]), node: nodeOf(upstream.port), token: TOKEN };
    const { logs } = await front(t, target);
    await assert.rejects(logs());
  });

  it("refuses in Kubernetes' words", async (t) => {
    const running = await kubelet(t);
    const refusal = async (target: KubeletTarget, query = "") =>
      (await front(t, target)).message(`log?${query}`);
    const several = podOf(["a", "b"], { initContainers: [{ name: "first" }] });
    assert.equal(
      await refusal({ ...running, pod: several }),
      "400 a container name must be specified for pod web, choose one of: [first a b]",
    );
    assert.equal(
      await refusal(running, "container=other"),
      "400 container other is not valid for pod web",
    );
    assert.equal(
      await refusal(await kubelet(t, "waiting")),
      '400 container "main" in pod "web" is waiting to start: ContainerCreating',
    );
    assert.equal(await refusal({ ...running, node: undefined }), '404 pods "here" not found');
    assert.equal(
      await refusal({ ...running, token: "wrong" }),
      "401 the server has asked for the client to provide credentials ( pods/log web)",
    );
    assert.equal(
      await refusal(running, "tailLines=-1&limitBytes=0"),
      '422 PodLogOptions "web" is invalid: [tailLines: Invalid value: -1: must be greater than or equal to 0, limitBytes: Invalid value: 0: must be greater than 0]',
    );
    assert.equal(
      await refusal(running, "tailLines=x"),
      '400 strconv.ParseInt: parsing "x": invalid syntax',
    );
    assert.equal(
      await refusal(running, "sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z"),
      '422 PodLogOptions "web" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified',
    );
    assert.equal(
      await refusal(running, "sinceTime=xx"),
      '400 parsing time "xx" as "2006-01-02T15:04:05Z07:00": cannot parse "xx" as "2006"',
    );
    const port = await closedPort();
    assert.equal(
      await refusal({ ...running, node: nodeOf(port) }),
      `500 Get "http://127.0.0.1:${port}/containerLogs/default/web/main": dial tcp 127.0.0.1:${port}: connect: connection refused`,
    );
  });

  it("has nothing to say about a pod that no node runs", async (t) => {
    const pod = podOf(["main"], { nodeName: "" });
    const { logs } = await front(t, { pod, node: undefined, token: TOKEN });
    assert.deepEqual(await logs(), { code: 204, text: "" });
  });
});

describe("pods/exec", () => {
  it("runs a command with input, output and exit code through the tunnel", async (t) => {
    const { exec } = await front(t, await kubelet(t));
    const words = ["sh", "-c", "read line; echo got $line; exit 4"];
    const command = words.map((word) => `command=${encodeURIComponent(word)}`).join("&");
    const socket = exec(`${command}&stdin=true&stdout=true&stderr=true`);
    await once(socket, "open");
    assert.equal(socket.protocol, "v5.channel.k8s.io");
    const done = channels(socket);
    socket.send(Buffer.from("\u0000hello\n"));
    const { out, error } = await done;
    assert.equal(out, "got hello\n");
    assert.equal(error["reason"], "NonZeroExitCode");
  });

  it("carries much output and ends the command when the client leaves", async (t) => {
    const { exec } = await front(t, await kubelet(t));
    const many = exec("command=head&command=-c&command=3000000&command=/dev/zero&stdout=1");
    assert.equal((await channels(many)).out.length, 3_000_000);
    const script = encodeURIComponent("while :; do echo $$; sleep 0.02; done");
    const socket = exec(`command=sh&command=-c&command=${script}&stdout=1`);
    const [first] = (await once(socket, "message")) as [Buffer];
    const pid = Number(first.subarray(1).toString().split("\n")[0]);
    socket.terminate();
    await eventually("the command has ended", () => !existsSync(`/proc/${pid}`));
  });

  it("says inside the WebSocket what the kubelet refuses, so that kubectl shows it", async (t) => {
    const waiting = await front(t, await kubelet(t, "waiting"));
    const { error } = await channels(waiting.exec("command=ls&stdout=1"));
    assert.equal(
      error["message"],
      'Internal error occurred: unable to upgrade connection: container not found ("main")',
    );
    assert.equal(error["code"], 500);
    const port = await closedPort();
    const down = await front(t, { pod: podOf(["main"]), node: nodeOf(port), token: TOKEN });
    assert.equal(
      (await channels(down.exec("command=ls", ["v4.channel.k8s.io"]))).error["message"],
      `Internal error occurred: error sending request: Post "http://127.0.0.1:${port}/exec/default/web/main?command=ls": dial tcp 127.0.0.1:${port}: connect: connection refused`,
    );
  });

  it("refuses the handshake of what cannot be asked for", async (t) => {
    const running = await kubelet(t);
    const refused = async (target: KubeletTarget, protocol: string) => {
      const socket = (await front(t, target)).exec("command=ls", [protocol]);
      socket.on("error", () => {});
      const [request, response] = await once(socket, "unexpected-response");
      request.on("error", () => {});
      return JSON.parse(await bodyOf(response)).message as string;
    };
    assert.equal(
      await refused(running, "base64.channel.k8s.io"),
      "unable to upgrade: unsupported subprotocol, expected one of v5.channel.k8s.io, v4.channel.k8s.io",
    );
    const unscheduled = { ...running, pod: podOf(["main"], { nodeName: "" }) };
    assert.equal(
      await refused(unscheduled, "v5.channel.k8s.io"),
      "pod web does not have a host assigned",
    );
  });

  it("answers SPDY with the fault of the request, else with what is needed", async (t) => {
    const running = await kubelet(t);
    const answer = (query: string, upgrade?: string) =>
      execWithoutWebSocket(running, new URLSearchParams(query), upgrade).message;
    assert.equal(
      answer("command=ls", "SPDY/3.1"),
      "exec needs a WebSocket: use kubectl 1.30 or newer; SPDY is not spoken here",
    );
    assert.equal(answer("container=no", "SPDY/3.1"), "container no is not valid for pod web");
    const { message } = await front(t, running);
    assert.equal(await message("exec?command=ls", "POST"), "400 Upgrade request required");
    assert.equal(subresourceNotServed("attach").code, 405);
    assert.match(subresourceNotServed("portforward").message, /^pods\/portforward is not served/);
  });

  for (const [when, answers] of [
    ["during the handshake", false],
    ["later, without a word", true],
  ] as const) {
    it(`frees the kubelet's side when the client leaves ${when}`, async (t) => {
      let asked = 0;
      let left = 0;
      const upstream = createServer((socket) => {
        socket.on("error", () => {}).once("close", () => left++);
        socket.once("data", () => {
          asked++;
          const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
          if (answers) socket.write(`${head}Upgrade: websocket\r\n\r\n`);
        });
      }).listen(0, "127.0.0.1");
      await once(upstream, "listening");
      t.after(() => upstream.close());
      const node = nodeOf((upstream.address() as AddressInfo).port);
      const { port } = await front(t, { pod: podOf(["main"]), node, token: TOKEN });
      const client = httpRequest(`http://127.0.0.1:${port}/exec?command=ls`, { headers: UPGRADE });
      client.on("error", () => {});
      client.end();
      if (answers) {
        const [, socket] = (await once(client, "upgrade")) as [IncomingMessage, Socket];
        socket.resetAndDestroy();
      } else {
        await eventually("the kubelet is asked", () => asked === 1);
        client.destroy();
      }
      await eventually("the kubelet is left", () => left === 1);
    });
  }
});

const UPGRADE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
  "sec-websocket-protocol": "v5.channel.k8s.io",
};
