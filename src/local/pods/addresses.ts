/** Which addresses pods get: `127.<second>.x.y`, of which `size` are used. */
export interface AddressPool {
  /** Second number of the addresses, 0-255. */
  readonly second: number;
  /** How many addresses there are to give, at most POOL_SIZE_MAX. */
  readonly size: number;
}

const HOSTS_PER_BLOCK = 254;
const BLOCKS = 256;
/** The most pods that can have an address at once. */
export const POOL_SIZE_MAX = HOSTS_PER_BLOCK * BLOCKS;

/** Where every address of 127.0.0.0/8 works as it is, which is Linux. */
export const POD_POOL: AddressPool = { second: 20, size: POOL_SIZE_MAX };
/** Where each address has to be added by hand, which is macOS. */
export const SMALL_POD_POOL: AddressPool = { second: 20, size: 48 };

/** The `index`-th address of the pool; hosts .0 and .255 are left out. */
export function addressAt(pool: AddressPool, index: number): string {
  const at = ((index % pool.size) + pool.size) % pool.size;
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
  for (let step = 0; step < pool.size; step++) {
    const address = addressAt(pool, from + step);
    if (!taken.has(address)) return { address, next: (from + step + 1) % pool.size };
  }
  return undefined;
}

/** The command that makes the pool's addresses usable on macOS. */
export function aliasCommand(pool: AddressPool): string {
  const last = Math.min(pool.size, HOSTS_PER_BLOCK);
  return `for i in $(seq 1 ${last}); do sudo ifconfig lo0 alias 127.${pool.second}.0.$i up; done`;
}
