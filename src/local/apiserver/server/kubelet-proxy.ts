import {
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { WebSocketServer } from "ws";
import { fromTimestamp } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import type { Json, JsonObject } from "#base/json.ts";
import { EXEC_PROTOCOLS } from "../../pods/exec-session.ts";
import { numberAt, objectAt, objectsAt, stringAt } from "../json-access.ts";
import { ApiError, badRequest } from "../registry/api-error.ts";
import { type FieldError, fieldErrorsText, forbidden, invalid } from "../schema/field-error.ts";
import { dialText, internalError, refusalOf, refusalText } from "./kubelet-refusal.ts";

/** A pod and the kubelet that runs it. */
export interface KubeletTarget {
  readonly pod: JsonObject;
  /** The Node that `spec.nodeName` means; undefined when there is none. */
  readonly node: JsonObject | undefined;
  /** What the kubelet wants as bearer token. */
  readonly token: string;
}

/** Every node is this machine. */
const KUBELET_HOST = "127.0.0.1";
/** Channel of an exec WebSocket that carries the final Status. */
const ERROR_CHANNEL = 3;
const NORMAL_CLOSURE = 1000;
const LOG_PARAMETERS = ["follow", "previous", "timestamps"];
const EXEC_FLAGS = { stdin: "input", stdout: "output", stderr: "error", tty: "tty" };

/**
 * Answers `GET pods/<name>/log` with what the kubelet sends, as it comes. A client that leaves ends
 * the kubelet's side, too.
 * @throws ApiError as long as nothing was sent.
 */
export async function proxyLog(
  target: KubeletTarget,
  query: URLSearchParams,
  response: ServerResponse,
): Promise<void> {
  const name = podName(target);
  const asked = logQuery(query, name);
  const container = containerOf(target.pod, query.get("container") ?? "");
  if (nodeNameOf(target) === "") {
    // Nobody runs the pod yet, so it has said nothing.
    response.writeHead(204).end();
    return;
  }
  const url = kubeletUrl(target, "containerLogs", container, asked);
  const gone = new AbortController();
  const leave = () => gone.abort();
  response.once("close", leave);
  try {
    const upstream = await answerOf(url, target.token, gone.signal);
    if (upstream.statusCode !== 200) throw await refusalOf(upstream, "pods/log", name);
    response.writeHead(200, { "content-type": "text/plain" });
    // The headers tell a follower of a silent container that all is well.
    response.flushHeaders();
    await pipeline(upstream, response);
  } catch (error) {
    if (gone.signal.aborted) return;
    if (!response.headersSent) throw error;
    // Too late for a Status: a cut connection tells the client that the log is not complete.
    response.destroy();
  } finally {
    response.off("close", leave);
  }
}

/**
 * Answers the WebSocket of `pods/<name>/exec` by a tunnel to the kubelet. What the kubelet refuses is
 * told inside the WebSocket, as kubectl takes a refused handshake for an old server and tries SPDY.
 * @throws ApiError before the handshake; see `refuseUpgrade`.
 */
export async function proxyExec(
  target: KubeletTarget,
  query: URLSearchParams,
  client: { readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer },
): Promise<void> {
  const { request, socket, head } = client;
  const url = execUrl(target, query);
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(/\s*,\s*/);
  if (!EXEC_PROTOCOLS.some((protocol) => offered.includes(protocol))) {
    const known = EXEC_PROTOCOLS.join(", ");
    throw badRequest(`unable to upgrade: unsupported subprotocol, expected one of ${known}`);
  }
  // The other side may vanish at any time; what follows from that is done on "close".
  socket.on("error", () => socket.destroy());
  try {
    const upstream = await upgradeOf(url, target.token, request.headers, socket);
    if ("refusal" in upstream) {
      const text = await refusalText(upstream.refusal);
      throw new Error(`unable to upgrade connection: ${text}`);
    }
    socket.write(upstream.headers);
    if (upstream.head.length > 0) socket.write(upstream.head);
    if (head.length > 0) upstream.socket.write(head);
    join(socket, upstream.socket);
  } catch (error) {
    if (!socket.destroyed) sayInside(client, messageOf(error));
  }
}

/**
 * What to answer when exec is asked for without a WebSocket: first what is wrong with the request
 * itself, since kubectl comes here, too, with SPDY, after any failed handshake.
 * @param upgrade the request's `Upgrade` header
 */
export function execWithoutWebSocket(
  target: KubeletTarget,
  query: URLSearchParams,
  upgrade: string | undefined,
): ApiError {
  try {
    execUrl(target, query);
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  if (upgrade === undefined) return badRequest("Upgrade request required");
  return badRequest("exec needs a WebSocket: use kubectl 1.30 or newer; SPDY is not spoken here");
}

/** The answer to `pods/<name>/attach` and `pods/<name>/portforward`. */
export function subresourceNotServed(subresource: "attach" | "portforward"): ApiError {
  const cure =
    subresource === "attach"
      ? "use kubectl logs -f or kubectl exec"
      : "pods' addresses can be reached from this machine directly";
  return new ApiError(
    405,
    "MethodNotAllowed",
    `pods/${subresource} is not served by the embedded API: ${cure}`,
    {},
  );
}

/** Refuses an HTTP upgrade, on whose socket nothing was written yet, with a metav1.Status. */
export function refuseUpgrade(socket: Duplex, error: ApiError): void {
  const text = JSON.stringify(error.status());
  socket.on("error", () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${error.code} ${STATUS_CODES[error.code] ?? "Refused"}\r\n` +
      "content-type: application/json\r\n" +
      `content-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
  );
}

const podName = ({ pod }: KubeletTarget) => stringAt(objectAt(pod, "metadata"), "name");
const nodeNameOf = ({ pod }: KubeletTarget) => stringAt(objectAt(pod, "spec"), "nodeName");
const isSet = (query: URLSearchParams, name: string) => {
  const value = query.get(name);
  // As in the API: a flag without a value is set.
  return value !== null && !["0", "false"].includes(value.toLowerCase());
};

function execUrl(target: KubeletTarget, query: URLSearchParams): URL {
  const container = containerOf(target.pod, query.get("container") ?? "");
  if (nodeNameOf(target) === "") {
    throw badRequest(`pod ${podName(target)} does not have a host assigned`);
  }
  const asked = new URLSearchParams();
  for (const [name, kubelets] of Object.entries(EXEC_FLAGS)) {
    if (isSet(query, name)) asked.set(kubelets, "1");
  }
  for (const word of query.getAll("command")) asked.append("command", word);
  return kubeletUrl(target, "exec", container, asked);
}

/** The container that is meant: the one that is named, else the only one. */
function containerOf(pod: JsonObject, asked: string): string {
  const spec = objectAt(pod, "spec");
  const name = stringAt(objectAt(pod, "metadata"), "name");
  const names = ["initContainers", "containers", "ephemeralContainers"].flatMap((list) =>
    objectsAt(spec, list).map((container) => stringAt(container, "name")),
  );
  if (asked !== "") {
    if (names.includes(asked)) return asked;
    throw badRequest(`container ${asked} is not valid for pod ${name}`);
  }
  const [only, ...others] = objectsAt(spec, "containers");
  if (only !== undefined && others.length === 0) return stringAt(only, "name");
  const choice = only === undefined ? "" : `, choose one of: [${names.join(" ")}]`;
  throw badRequest(`a container name must be specified for pod ${name}${choice}`);
}

/** The parameters of the kubelet's log, checked as the API server does. */
function logQuery(query: URLSearchParams, pod: string): URLSearchParams {
  const asked = new URLSearchParams();
  const errors: FieldError[] = [];
  for (const name of LOG_PARAMETERS) if (isSet(query, name)) asked.set(name, "true");
  const limits: [string, number, string][] = [
    ["tailLines", 0, "must be greater than or equal to 0"],
    ["limitBytes", 1, "must be greater than 0"],
    ["sinceSeconds", 1, "must be greater than 0"],
  ];
  for (const [name, least, message] of limits) {
    const text = query.get(name);
    if (text === null || text === "") continue;
    const value = Number(text);
    if (!/^[+-]?\d+$/.test(text)) {
      throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
    }
    if (value < least) errors.push(invalid(name, value, message));
    asked.set(name, String(value));
  }
  const since = query.get("sinceTime");
  if (since !== null && since !== "") {
    if (asked.has("sinceSeconds")) {
      const message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
      // What the API server makes of a field without a name.
      errors.push({ ...forbidden("", message), field: "[]" });
    }
    if (fromTimestamp(since) === undefined) {
      const layout = "2006-01-02T15:04:05Z07:00";
      const quoted = JSON.stringify(since);
      throw badRequest(`parsing time ${quoted} as "${layout}": cannot parse ${quoted} as "2006"`);
    }
    asked.set("sinceTime", since);
  }
  if (query.has("stream")) errors.push(forbidden("stream", "may not be specified"));
  if (errors.length === 0) return asked;
  throw new ApiError(
    422,
    "Invalid",
    `PodLogOptions "${pod}" is invalid: ${fieldErrorsText(errors)}`,
    {
      name: pod,
      kind: "PodLogOptions",
      causes: errors.map(({ reason, message, field }): Json => ({ reason, message, field })),
    },
  );
}

function kubeletUrl(
  target: KubeletTarget,
  action: string,
  container: string,
  query: URLSearchParams,
): URL {
  const nodeName = nodeNameOf(target);
  if (target.node === undefined) {
    // It says "pods" although it is a node that is missing; so does the API server.
    const details = { name: nodeName, kind: "pods" };
    throw new ApiError(404, "NotFound", `pods "${nodeName}" not found`, details);
  }
  const endpoints = objectAt(objectAt(target.node, "status"), "daemonEndpoints");
  const port = numberAt(objectAt(endpoints, "kubeletEndpoint"), "Port");
  if (port === 0) {
    throw new ApiError(500, "", `node ${nodeName} does not tell the port of its kubelet`);
  }
  const namespace = stringAt(objectAt(target.pod, "metadata"), "namespace");
  const path = [action, namespace, podName(target), container].map(encodeURIComponent).join("/");
  const search = query.size === 0 ? "" : `?${query}`;
  return new URL(`http://${KUBELET_HOST}:${port}/${path}${search}`);
}

const authorized = (token: string) => ({ authorization: `Bearer ${token}` });

/** The kubelet's answer once its headers are there. @throws ApiError when it cannot be reached. */
function answerOf(url: URL, token: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { headers: authorized(token), agent: false, signal }, resolve);
    request.once("error", (error) => {
      reject(new ApiError(500, "", `Get "${url}": ${dialText(error, url)}`));
    });
    request.end();
  });
}

type Upgraded = { socket: Duplex; head: Buffer; headers: string } | { refusal: IncomingMessage };

/** Asks the kubelet for the same WebSocket that the client asked for. */
function upgradeOf(
  url: URL,
  token: string,
  asked: IncomingMessage["headers"],
  client: Duplex,
): Promise<Upgraded> {
  return new Promise((resolve, reject) => {
    const kept = Object.entries(asked).filter(([name]) => name.startsWith("sec-websocket-"));
    const headers = {
      ...Object.fromEntries(kept),
      ...authorized(token),
      connection: "Upgrade",
      upgrade: "websocket",
    };
    const request = httpRequest(url, { headers, agent: false });
    const leave = () => {
      client.destroy();
      request.destroy();
    };
    // A socket that nobody reads does not tell that its other side has gone.
    const look = () => client.readableLength === 0 && client.read();
    client.on("readable", look).once("end", leave).once("close", leave);
    const settle = () => client.off("readable", look).off("end", leave).off("close", leave);
    request.once("upgrade", (response, socket, head) => {
      settle();
      resolve({ socket, head, headers: headText(response) });
    });
    request.once("response", (refusal) => {
      settle();
      resolve({ refusal });
    });
    request.once("error", (error) => {
      settle();
      reject(new Error(`error sending request: Post "${url}": ${dialText(error, url)}`));
    });
    request.end();
  });
}

/** The head of the kubelet's answer to an upgrade as it stood on the wire. */
function headText(response: IncomingMessage): string {
  const lines = [`HTTP/1.1 101 ${response.statusMessage ?? "Switching Protocols"}`];
  for (let index = 0; index + 1 < response.rawHeaders.length; index += 2) {
    lines.push(`${response.rawHeaders[index]}: ${response.rawHeaders[index + 1]}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Carries bytes both ways until one side ends, which ends the other. */
function join(client: Duplex, kubelet: Duplex): void {
  const link = (from: Duplex, to: Duplex) => {
    from.on("error", () => from.destroy());
    from.once("close", () => to.destroy());
    from.pipe(to);
  };
  link(client, kubelet);
  link(kubelet, client);
  if (client.destroyed) kubelet.destroy();
}

const inner = new WebSocketServer({
  noServer: true,
  handleProtocols: (offered) => EXEC_PROTOCOLS.find((name) => offered.has(name)) ?? false,
});

/** Takes the WebSocket after all and says on its error channel that the command could not be run. */
function sayInside(
  client: { readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer },
  message: string,
): void {
  const { kind: _kind, apiVersion: _version, ...status } = internalError(message).status();
  inner.handleUpgrade(client.request, client.socket, client.head, (webSocket) => {
    const text = Buffer.from(JSON.stringify(status));
    webSocket.send(Buffer.concat([Buffer.from([ERROR_CHANNEL]), text]), () =>
      webSocket.close(NORMAL_CLOSURE),
    );
  });
}
