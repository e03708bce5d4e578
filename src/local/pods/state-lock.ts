import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "#base/errors.ts";
import { readFileIfThere, writeFileAtomically } from "./files.ts";
import { isAlive, ownIdentity, parseIdentity } from "./process-table.ts";

/**
 * Makes sure that one kubelet at a time uses a state folder; two would kill each other's pods.
 * Returns what gives the folder back; the lock of a kubelet that was killed counts for nothing.
 * Throws a `UserError` when another kubelet is alive.
 */
export function lockState(stateDir: string): () => void {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const path = join(stateDir, "kubelet.lock");
  const holder = parseIdentity(readFileIfThere(path) ?? "");
  if (holder !== undefined && holder.pid !== process.pid && isAlive(holder)) {
    throw new UserError(
      `${stateDir} is in use by another Loradock (process ${holder.pid}): stop it, or choose another folder`,
    );
  }
  writeFileAtomically(path, ownIdentity());
  return () => rmSync(path, { force: true });
}
