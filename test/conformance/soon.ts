import { setTimeout as delay } from "node:timers/promises";

/** A dozen tests may wait at once, and what they wait for needs the processor too. */
const POLL_MS = 30;
const PATIENCE_MS = 10_000;

/** Waits until `check` returns something truthy, which the server has promised for soon. */
export async function soon<T>(
  what: string,
  check: () => Promise<T>,
): Promise<Exclude<NonNullable<T>, false>> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await check();
    if (value) return value as Exclude<NonNullable<T>, false>;
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await delay(POLL_MS);
  }
}
