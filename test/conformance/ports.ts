import { once } from "node:events";
import { createServer } from "node:net";

const TRIED = 10;

/** The first port from `first` on that nobody listens on, leaving its neighbour to its user too. */
export async function freePort(first: number): Promise<number> {
  for (let port = first; port < first + TRIED; port += 2) {
    if ((await isFree(port)) && (await isFree(port + 1))) return port;
  }
  throw new Error(`none of the ports from ${first} to ${first + TRIED - 1} is free`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
