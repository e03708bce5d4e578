/** Which addresses pods get: `127.<second>.x.y`. Each pod has one of its own while it exists. */
export interface AddressPool {
  /** Second number of the addresses, 0-255. */
  readonly second: number;
}

/** The network that pods live in unless a caller wants another. */
export const POD_POOL: AddressPool = { second: 20 };

const HOSTS_PER_BLOCK = 254;
const BLOCKS = 256;
/** How many pods can have an address at once. */
export const POOL_SIZE = HOSTS_PER_BLOCK * BLOCKS;

/** The `index`-th address of the pool; hosts .0 and .255 are left out. */
export function addressAt(pool: AddressPool, index: number): string {
  const at = ((index % POOL_SIZE) + POOL_SIZE) % POOL_SIZE;
  return `127.${pool.second}.${Math.floor(at / HOSTS_PER_BLOCK)}.${(at % HOSTS_PER_BLOCK) + 1}`;
}

/**
 * The next free address from `from` on, and where to go on next time: an address is not given again
 * at once, so that a client's old connection never reaches a new pod. Undefined when all are taken.
 */
export function nextAddress(
  pool: AddressPool,
  from: number,
  taken: ReadonlySet<string>,
): { address: string; next: number } | undefined {
  for (let step = 0; step < POOL_SIZE; step++) {
    const address = addressAt(pool, from + step);
    if (!taken.has(address)) return { address, next: (from + step + 1) % POOL_SIZE };
  }
  return undefined;
}

/** FNV-1a, 32 bit: spreads names evenly; not for secrets. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193) >>> 0;
  }
  return hash;
}
