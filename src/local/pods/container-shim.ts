import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROGRAMS } from "./images.ts";

/**
 * A shell of one megabyte stands between the kubelet and each container, so that neither the end of
 * the kubelet nor its return changes anything for the container: it writes down who it is before the
 * container's own process starts, waits for it, writes down how it ended, and takes the rest of the
 * process group along. `$1` is the folder for these records, the rest is the command.
 *
 * Traps reset to the default in the command, while an ignored signal would be inherited; the shell's
 * own words (such as "Terminated") must not reach the container's log.
 */
const SHIM = `#!/bin/sh
record=$1
shift
trap : HUP INT QUIT TERM USR1 USR2
exec 3>&1 4>&2 >/dev/null 2>&1
if read -r stat < /proc/$$/stat; then
  echo "$stat" > "$record/process"
else
  echo "$$ $(ps -o lstart= -p $$)" > "$record/process"
fi
(exec "$@" >&3 2>&4 3>&- 4>&-)
echo $? > "$record/exit"
kill -KILL 0
`;

const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

/** Replaces a file in one step, so that a process which is just starting never sees half of it. */
function writeExecutable(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, text, { mode: 0o755 });
  renameSync(temporary, path);
}

/** Where the shim and the programs of known images lie. */
export interface ProgramFolder {
  /** First on every container's PATH. */
  readonly folder: string;
  readonly shim: string;
}

/**
 * Writes the shim and one small script per program of the known images.
 * `without`: programs that containers shall find elsewhere on their PATH.
 */
export function writePrograms(options: {
  stateDir: string;
  /** Folder of our own entries (`src/main`). */
  entries: string;
  node: string;
  without: readonly string[];
}): ProgramFolder {
  const libexec = join(options.stateDir, "libexec");
  const folder = join(libexec, "bin");
  mkdirSync(folder, { recursive: true });
  const shim = join(libexec, "container-shim");
  writeExecutable(shim, SHIM);
  for (const [name, program] of Object.entries(PROGRAMS)) {
    if (options.without.includes(name)) continue;
    const words = [options.node, join(options.entries, program.entry), ...program.args];
    const script = `#!/bin/sh\nexec ${words.map(quote).join(" ")} "$@"\n`;
    writeExecutable(join(folder, name), script);
  }
  return { folder, shim };
}
