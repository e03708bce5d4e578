import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { codeOf, messageOf, UserError } from "#base/errors.ts";
import { makeFolder } from "./pods/files.ts";
import { isAlive, ownIdentity, parseIdentity } from "./pods/process-table.ts";

/** What the state folder needs at least to start: the store, pods' folders and their logs, in bytes. */
const FREE_BYTES_MIN = 256 * 1024 * 1024;

/** A port of this machine that a part of the local mode listens on. */
export interface NeededPort {
  readonly host: string;
  readonly port: number;
  /** What will listen there, for the error. */
  readonly what: string;
  /** The flag of `loradock up` that chooses another. */
  readonly flag: string;
}

const lockFile = (stateDir: string) => join(stateDir, "up.pid");

/** True when a run has noted itself in the state folder and has not taken the note back. */
export const isRunNoted = (stateDir: string) => existsSync(lockFile(stateDir));

/**
 * Makes the state folder and takes its lock, so that two runs never share one.
 * @returns what gives the lock back.
 * @throws UserError when the folder cannot be written, is in use, or its disk is full.
 */
export function takeStateDir(stateDir: string): () => void {
  try {
    makeFolder(stateDir);
  } catch (error) {
    throw new UserError(
      `cannot make the state folder ${stateDir} (${messageOf(error)}); choose another with --state-dir`,
    );
  }
  const disk = statfsSync(stateDir);
  const freeBytes = disk.bavail * disk.bsize;
  if (freeBytes < FREE_BYTES_MIN) {
    throw new UserError(
      `the disk of ${stateDir} has only ${Math.floor(freeBytes / 1024 / 1024)} MiB free, at least ${FREE_BYTES_MIN / 1024 / 1024} MiB are needed; free some or choose another folder with --state-dir`,
    );
  }
  return lock(lockFile(stateDir), stateDir);
}

function lock(path: string, stateDir: string): () => void {
  for (;;) {
    try {
      const file = openSync(path, "wx", 0o600);
      writeSync(file, ownIdentity());
      closeSync(file);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if (codeOf(error) !== "EEXIST") {
        throw new UserError(
          `cannot write to the state folder ${stateDir} (${messageOf(error)}); choose another with --state-dir`,
        );
      }
      const holder = parseIdentity(readFileSync(path, "utf8"));
      if (holder !== undefined && isAlive(holder)) {
        throw new UserError(
          `${stateDir} is in use by another loradock up (process ${holder.pid}); stop that one or choose another folder with --state-dir`,
        );
      }
      // Left behind by a run that was killed.
      rmSync(path, { force: true });
    }
  }
}

/**
 * Looks whether each port can be bound, before anything is started.
 * @throws UserError that names the port, who needs it, and the flag that chooses another.
 */
export async function checkPorts(ports: readonly NeededPort[]): Promise<void> {
  for (const [index, { host, port, what, flag }] of ports.entries()) {
    const other = ports.slice(0, index).find((earlier) => earlier.port === port && port !== 0);
    if (other !== undefined) {
      throw new UserError(
        `${other.flag} and ${flag} both say ${port}; choose another port for ${what} with ${flag}`,
      );
    }
    const code = await bindError(host, port);
    if (code === undefined) continue;
    const why =
      code === "EADDRINUSE"
        ? "is taken by another process"
        : code === "EACCES"
          ? "may not be used without more rights"
          : `cannot be used (${code})`;
    throw new UserError(
      `port ${port} on ${host}, for ${what}, ${why}; stop what uses it or choose another with ${flag}`,
    );
  }
}

function bindError(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve(codeOf(error) ?? messageOf(error)));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
