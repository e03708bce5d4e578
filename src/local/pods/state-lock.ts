import { rmSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "#base/errors.ts";
import { makeFolder, readFileIfThere, writeFileAtomically } from "./files.ts";
import { isAlive, ownIdentity, type ProcessIdentity, parseIdentity } from "./process-table.ts";

const lockFile = (stateDir: string) => join(stateDir, "kubelet.lock");

/** The kubelet, other than this very process, that uses a state folder; undefined when none is alive. */
function holderOf(stateDir: string): ProcessIdentity | undefined {
  const holder = parseIdentity(readFileIfThere(lockFile(stateDir)) ?? "");
  const isOther = holder !== undefined && holder.pid !== process.pid && isAlive(holder);
  return isOther ? holder : undefined;
}

/** True while a kubelet uses the state folder. */
export const isStateLocked = (stateDir: string) => holderOf(stateDir) !== undefined;

/**
 * Makes sure that one kubelet at a time uses a state folder; two would kill each other's pods.
 * Returns what gives the folder back; the lock of a kubelet that was killed counts for nothing.
 * Throws a `UserError` when another kubelet is alive.
 */
export function lockState(stateDir: string): () => void {
  makeFolder(stateDir);
  const path = lockFile(stateDir);
  const holder = holderOf(stateDir);
  if (holder !== undefined) {
    throw new UserError(
      `${stateDir} is in use by another Loradock (process ${holder.pid}): stop it, or choose another folder`,
    );
  }
  writeFileAtomically(path, ownIdentity());
  return () => rmSync(path, { force: true });
}
