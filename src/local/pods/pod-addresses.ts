import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { UserError } from "#base/errors.ts";
import { type AddressPool, aliasCommand, nextAddress } from "./addresses.ts";

/** The address of pods that share the machine's own network. */
const HOST_NETWORK_ADDRESS = "127.0.0.1";

/** Gives pods their addresses and takes them back. */
export class PodAddresses {
  readonly #pool: AddressPool;
  readonly #held = new Map<string, string>();
  #next: number;

  /** Two state folders of one machine begin at different places, so that their pods rarely meet. */
  constructor(pool: AddressPool, stateDir: string) {
    this.#pool = pool;
    const digest = createHash("sha256").update(stateDir).digest();
    // A small pool has to be set up by hand: it is used from its beginning.
    this.#next = pool.size > 256 ? digest.readUInt16BE(0) % pool.size : 0;
  }

  /** Notes the address of a pod that was here before. */
  hold(uid: string, address: string): void {
    if (address !== HOST_NETWORK_ADDRESS) this.#held.set(uid, address);
  }

  /** An address that no other pod has. Throws a `UserError` when there is none left. */
  take(uid: string, hostNetwork: boolean): string {
    if (hostNetwork) return HOST_NETWORK_ADDRESS;
    const free = nextAddress(this.#pool, this.#next, new Set(this.#held.values()));
    if (free === undefined) {
      throw new UserError(`all ${this.#pool.size} pod addresses are in use: delete some pods`);
    }
    this.#held.set(uid, free.address);
    this.#next = free.next;
    return free.address;
  }

  release(uid: string): void {
    this.#held.delete(uid);
  }
}

/** What to do so that pods can have their addresses on this machine; undefined when they can. */
export async function addressAdvice(pool: AddressPool): Promise<string | undefined> {
  const address = `127.${pool.second}.0.1`;
  const server = createServer();
  const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    server.once("error", resolve);
    server.listen(0, address, () => resolve(undefined));
  });
  server.close();
  if (error?.code !== "EADDRNOTAVAIL") return undefined;
  return `pods have addresses like ${address}, which this system does not have yet; add them with: ${aliasCommand(pool)}`;
}
