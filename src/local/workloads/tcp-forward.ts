import { connect, createServer, type Server, type Socket } from "node:net";

/** Where a connection may go. */
export interface ForwardTarget {
  readonly host: string;
  readonly port: number;
}

/** Open connections of one port; more are refused. */
const CONNECTIONS_MAX = 4_096;
/** A local process answers a connection at once or not at all. */
const CONNECT_TIMEOUT_MS = 2_000;

/** An open port that hands its connections on, in turn. */
export class TcpForward {
  #targets: readonly ForwardTarget[] = [];
  #next = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor() {
    // A side that has said its last word may still be listening.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      void this.#serve(client);
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Rejects with the system's error when the port cannot be opened. */
  async listen(address: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, address, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    const bound = this.#server.address();
    return bound !== null && typeof bound === "object" ? bound.port : port;
  }

  /** New connections go to these; open ones stay where they are. */
  aim(targets: readonly ForwardTarget[]): void {
    this.#targets = targets;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  async #serve(client: Socket): Promise<void> {
    this.#keep(client);
    const targets = this.#targets;
    const first = this.#next++;
    for (let step = 0; step < targets.length; step++) {
      const target = targets[(first + step) % targets.length];
      if (target === undefined || client.destroyed) break;
      const upstream = await dial(target);
      if (upstream === undefined) continue;
      if (client.destroyed) {
        upstream.destroy();
        return;
      }
      this.#keep(upstream);
      join(client, upstream);
      return;
    }
    // As a cluster does without endpoints: refuse rather than keep waiting.
    client.resetAndDestroy();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    // An error ends in "close", which ends the other side too.
    socket.on("error", () => {});
  }
}

function dial(target: ForwardTarget): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ ...target, allowHalfOpen: true, noDelay: true });
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => settle(undefined));
    socket.once("error", () => settle(undefined));
    socket.once("connect", () => settle(socket));
    function settle(result: Socket | undefined) {
      socket.setTimeout(0);
      if (result === undefined) socket.destroy();
      resolve(result);
    }
  });
}

function join(client: Socket, upstream: Socket): void {
  client.pipe(upstream);
  upstream.pipe(client);
  client.once("close", () => upstream.destroy());
  upstream.once("close", () => client.destroy());
}
