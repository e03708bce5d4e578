import { request as forward, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { startServer, type TestServer } from "./http-server.ts";

/** What happens to one answer on its way; asked anew for each request. */
export interface WayFault {
  /** Answers by itself instead of the store. */
  answer?: { status: number; headers?: Record<string, string>; body?: string };
  /** Cuts the connection after so many bytes of the body. */
  cutAfter?: number;
  /** Flips a bit of this byte of the body. */
  flipAt?: number;
  /** Announces so many bytes more than come. */
  lengthOff?: number;
  /** Waits after each piece of the body. */
  slowMs?: number;
  /** Sends nothing of the body after its first piece until this resolves. */
  until?: Promise<void>;
}

export interface WayRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
}

export interface FaultProxy extends TestServer {
  /** Base URL of the store. */
  target: string;
  readonly asked: WayRequest[];
  /** GETs of an object's bytes, by the end of its key. */
  gets(key: string): WayRequest[];
  /** `attempt`: how often this method and path were asked before. */
  fault: (asked: WayRequest, attempt: number) => WayFault | undefined;
}

/** Stands before a real store and does to its answers what networks do. */
export async function startFaultProxy(target: string): Promise<FaultProxy> {
  const state = {
    target,
    asked: [] as WayRequest[],
    gets: (key: string) =>
      state.asked.filter(
        ({ method, path }) =>
          method === "GET" && decodeURIComponent(path.split("?")[0] as string).endsWith(key),
      ),
    fault: (() => undefined) as FaultProxy["fault"],
  };
  const server = await startServer((request, response) => {
    const asked = {
      method: request.method ?? "GET",
      path: request.url ?? "/",
      headers: request.headers,
    };
    const attempt = state.asked.filter(
      (one) => one.path === asked.path && one.method === asked.method,
    ).length;
    state.asked.push(asked);
    const fault = state.fault(asked, attempt) ?? {};
    if (fault.answer !== undefined) {
      const { status, headers, body } = fault.answer;
      response.writeHead(status, headers).end(body);
      return;
    }
    const onward = forward(new URL(asked.path, proxy.target), {
      method: asked.method,
      // The host stays what the client signed.
      headers: asked.headers,
    });
    onward.on("response", (answer) => void pass(answer, response, fault));
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  const proxy: FaultProxy = Object.assign(state, server);
  return proxy;
}

async function pass(
  answer: IncomingMessage,
  response: ServerResponse,
  fault: WayFault,
): Promise<void> {
  const headers = { ...answer.headers };
  const length = headers["content-length"];
  if (length !== undefined && fault.lengthOff !== undefined) {
    headers["content-length"] = String(Number(length) + fault.lengthOff);
  }
  response.writeHead(answer.statusCode ?? 502, headers);
  let position = 0;
  try {
    for await (const piece of answer) {
      const bytes = Buffer.from(piece as Buffer);
      const at = (fault.flipAt ?? -1) - position;
      if (at >= 0 && at < bytes.length) bytes[at] = (bytes[at] as number) ^ 1;
      const left = (fault.cutAfter ?? Number.POSITIVE_INFINITY) - position;
      position += bytes.length;
      if (bytes.length > left) {
        response.write(bytes.subarray(0, left), () => response.socket?.destroySoon());
        return;
      }
      await new Promise((written) => response.write(bytes, written));
      if (fault.slowMs !== undefined) await delay(fault.slowMs);
      if (fault.until !== undefined) await fault.until;
    }
    response.end();
    // A body that is shorter than announced can only end by the connection's end.
    if (fault.lengthOff !== undefined) response.socket?.destroySoon();
  } catch {
    response.destroy();
  }
}
