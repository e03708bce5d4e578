import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { after, describe, it } from "node:test";
import { TcpForward } from "./tcp-forward.ts";

const HOST = "127.0.0.1";

describe("TcpForward", () => {
  const closing: (() => unknown)[] = [];
  after(async () => {
    for (const close of closing) await close();
  });

  async function backend(serve: (socket: Socket) => void): Promise<{ host: string; port: number }> {
    const server: Server = createServer({ allowHalfOpen: true }, serve);
    server.listen(0, HOST);
    await once(server, "listening");
    closing.push(() => server.close());
    return { host: HOST, port: (server.address() as AddressInfo).port };
  }

  const naming = (name: string) => backend((socket) => socket.end(name));

  async function forward(): Promise<{ forward: TcpForward; port: number }> {
    const made = new TcpForward();
    const port = await made.listen(HOST, 0);
    closing.push(() => made.close());
    return { forward: made, port };
  }

  async function ask(port: number, text = ""): Promise<string> {
    const socket = connect({ host: HOST, port, allowHalfOpen: true });
    socket.end(text);
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString("utf8");
  }

  it("hands connections out in turn and follows a change of targets", async () => {
    const [a, b, c] = [await naming("a"), await naming("b"), await naming("c")];
    const { forward: made, port } = await forward();
    made.aim([a, b]);
    assert.deepEqual([await ask(port), await ask(port), await ask(port)], ["a", "b", "a"]);
    made.aim([c]);
    assert.equal(await ask(port), "c");
  });

  it("goes on to the next target when one does not answer", async () => {
    const live = await naming("live");
    const gone = createServer();
    gone.listen(0, HOST);
    await once(gone, "listening");
    const dead = { host: HOST, port: (gone.address() as AddressInfo).port };
    gone.close();
    const { forward: made, port } = await forward();
    made.aim([dead, live, dead]);
    assert.deepEqual([await ask(port), await ask(port), await ask(port)], ["live", "live", "live"]);
  });

  it("passes large answers and a client that has said all", async () => {
    const big = "x".repeat(4 * 1024 * 1024);
    const echo = await backend((socket) => {
      socket.on("data", () => {});
      socket.on("end", () => socket.end(big));
    });
    const { forward: made, port } = await forward();
    made.aim([echo]);
    assert.equal((await ask(port, "question")).length, big.length);
  });

  it("refuses at once when there is no target, and ends open connections when it is closed", async () => {
    const { forward: made, port } = await forward();
    await assert.rejects(ask(port), { code: "ECONNRESET" });
    const silent = await backend(() => {});
    made.aim([silent]);
    const socket = connect({ host: HOST, port });
    await once(socket, "connect");
    socket.write("hello");
    socket.on("error", () => {});
    const closed = new Promise((resolve) => socket.once("close", resolve));
    await made.close();
    await closed;
  });

  it("rejects with the system's reason when a port is taken", async () => {
    const taken = await naming("taken");
    await assert.rejects(new TcpForward().listen(HOST, taken.port), { code: "EADDRINUSE" });
  });
});
