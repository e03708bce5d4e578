import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import type { Container, Probe } from "#api/kubernetes.ts";
import type { Clock } from "#base/clock.ts";
import { codeOf, messageOf } from "#base/errors.ts";

/** One answer of a probe; the message says why it failed, in a kubelet's words. */
export interface ProbeResult {
  readonly success: boolean;
  readonly message: string;
}

/** Runs a command inside the container; `exitCode` is undefined when it did not end in time. */
export type RunInContainer = (
  command: readonly string[],
  timeoutMs: number,
) => Promise<{ exitCode: number | undefined; output: string }>;

export interface ProbeTarget {
  readonly container: Container;
  readonly podAddress: string;
  /** A host named by the probe, localized like the container's words. */
  readonly localize: (word: string) => string;
  readonly run: RunInContainer;
  readonly clock: Clock;
}

const passed: ProbeResult = { success: true, message: "" };
const failed = (message: string): ProbeResult => ({ success: false, message });
/** How much of a failing command's output a person gets to see. */
const OUTPUT_MAX_CHARS = 512;

/** The number of a port that may be given by its name in the container. */
export function portOf(container: Container, port: number | string): number | undefined {
  if (typeof port === "number") return port;
  const named = container.ports?.find((candidate) => candidate.name === port)?.containerPort;
  if (named !== undefined) return named;
  return /^\d+$/.test(port) ? Number(port) : undefined;
}

/** Asks once whether the container passes; never rejects. */
export async function runProbe(
  probe: Probe,
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeResult> {
  if (probe.httpGet !== undefined) return await probeHttp(probe.httpGet, target, timeoutMs);
  if (probe.tcpSocket !== undefined) {
    const port = portOf(target.container, probe.tcpSocket.port);
    const host = target.localize(probe.tcpSocket.host ?? target.podAddress);
    if (port === undefined) return failed(`no port named ${probe.tcpSocket.port}`);
    return await probeTcp(host, port, timeoutMs, target.clock);
  }
  if (probe.exec !== undefined) return await probeExec(probe.exec.command, target, timeoutMs);
  // The API knows one more kind, gRPC, which no container of ours answers.
  return passed;
}

function dialError(error: unknown, host: string, port: number): string {
  const refused = codeOf(error) === "ECONNREFUSED" ? "connect: connection refused" : undefined;
  return `dial tcp ${host}:${port}: ${refused ?? messageOf(error)}`;
}

function probeHttp(
  get: NonNullable<Probe["httpGet"]>,
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeResult> {
  const port = portOf(target.container, get.port);
  if (port === undefined) return Promise.resolve(failed(`no port named ${get.port}`));
  const host = target.localize(get.host ?? target.podAddress);
  const isHttps = get.scheme === "HTTPS";
  const path = `/${(get.path ?? "/").trim().replace(/^\/+/, "")}`;
  const url = `${isHttps ? "https" : "http"}://${host}:${port}${path}`;
  const headers: Record<string, string> = {
    "user-agent": "kube-probe/loradock",
    accept: "*/*",
    connection: "close",
  };
  for (const { name, value } of get.httpHeaders ?? []) headers[name.toLowerCase()] = value;
  return new Promise((resolve) => {
    // A probe is not there to check certificates: pods make their own.
    const tls = isHttps ? { rejectUnauthorized: false } : {};
    const options = { method: "GET", headers, agent: false as const, ...tls };
    const request = (isHttps ? httpsRequest : httpRequest)(url, options, (response) => {
      const status = response.statusCode ?? 0;
      settle(
        status >= 200 && status < 400
          ? passed
          : failed(`HTTP probe failed with statuscode: ${status}`),
      );
    });
    const cancel = target.clock.after(timeoutMs, () => {
      const why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
      settle(failed(`Get "${url}": ${why}`));
    });
    request.on("error", (error) => settle(failed(`Get "${url}": ${dialError(error, host, port)}`)));
    request.end();
    function settle(result: ProbeResult) {
      cancel();
      resolve(result);
      request.destroy();
    }
  });
}

function probeTcp(
  host: string,
  port: number,
  timeoutMs: number,
  clock: Clock,
): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const cancel = clock.after(timeoutMs, () =>
      settle(failed(`dial tcp ${host}:${port}: i/o timeout`)),
    );
    socket.once("connect", () => settle(passed));
    socket.once("error", (error) => settle(failed(dialError(error, host, port))));
    function settle(result: ProbeResult) {
      cancel();
      resolve(result);
      socket.destroy();
    }
  });
}

async function probeExec(
  command: readonly string[],
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeResult> {
  const { exitCode, output } = await target.run(command, timeoutMs);
  if (exitCode === 0) return passed;
  if (exitCode === undefined) {
    return failed(`command ${JSON.stringify(command)} timed out after ${timeoutMs / 1000}s`);
  }
  const text = output.trim().slice(0, OUTPUT_MAX_CHARS);
  return failed(text === "" ? `command terminated with exit code ${exitCode}` : text);
}
