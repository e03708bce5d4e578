import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";

/** A port of 127.0.0.1 that nobody has at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** What `loradock up` listens on. */
export interface MachinePorts {
  readonly api: number;
  readonly gateway: number;
  readonly hub: number;
}

/** Ports that nobody has; several starts on one state folder keep them. */
export const freePorts = async (): Promise<MachinePorts> => ({
  api: await freePort(),
  gateway: await freePort(),
  hub: await freePort(),
});
