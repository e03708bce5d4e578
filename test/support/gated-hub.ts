import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { startHub } from "#local/hub/hub.ts";
import { silentLog as log } from "./silent-log.ts";

/** Containers on one machine take 127.0.0.1 for their own address; this one they leave alone. */
const HOST = "127.0.0.2";

/** The weights of one repository stop half-way until the gate is opened. */
export interface Gate {
  /** How many downloads stand at the gate with half of the file. */
  readonly waiting: number;
  open(): void;
}

export interface GatedHub {
  /** What HF_ENDPOINT has to be. */
  readonly url: string;
  /** From now on, weights of `<organisation>/<repository>` stop half-way. */
  gate(repo: string): Gate;
  close(): Promise<void>;
}

/** The real hub over `dir`, behind a door that can be kept half open. */
export async function startGatedHub(dir: string): Promise<GatedHub> {
  const stop = new AbortController();
  const hub = await startHub({ dir, host: "127.0.0.1", port: 0, log }, stop.signal);
  const gates = new Map<string, { waiting: number; opened: PromiseWithResolvers<void> }>();
  const server = createServer((from, to) => {
    const [, org, repo] = (from.url ?? "").split("/");
    const isWeights = /\/resolve\/.*\.safetensors$/.test(from.url ?? "") && from.method === "GET";
    const gate = isWeights ? gates.get(`${org}/${repo}`) : undefined;
    const { method, headers } = from;
    const inner = request(`${hub.url}${from.url}`, { method, headers }, (answer) => {
      pass(answer, to, gate).catch(() => to.destroy());
    });
    inner.on("error", () => to.destroy());
    from.pipe(inner);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}`,
    gate: (repo) => {
      const gate = { waiting: 0, opened: Promise.withResolvers<void>() };
      gates.set(repo, gate);
      return {
        get waiting() {
          return gate.waiting;
        },
        open: () => {
          gates.delete(repo);
          gate.opened.resolve();
        },
      };
    },
    close: async () => {
      for (const gate of gates.values()) gate.opened.resolve();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      stop.abort();
      await hub.closed;
    },
  };
}

async function pass(
  answer: IncomingMessage,
  to: ServerResponse,
  gate: { waiting: number; opened: PromiseWithResolvers<void> } | undefined,
): Promise<void> {
  to.writeHead(answer.statusCode ?? 502, answer.headers);
  if (gate === undefined) {
    answer.pipe(to);
    return;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const half = Math.floor(body.length / 2);
  to.write(body.subarray(0, half));
  gate.waiting++;
  const left = new Promise<void>((resolve) => to.once("close", () => resolve()));
  await Promise.race([gate.opened.promise, left]);
  gate.waiting--;
  to.end(body.subarray(half));
}
