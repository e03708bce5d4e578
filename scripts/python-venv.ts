/** Python programs that tests run against, each set in a virtual environment of its own, outside the repository. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { UserError } from "#base/errors.ts";

const OUTPUT_LINES = 20;

export interface PythonSet {
  /** Begins the name of its folder in the cache. */
  readonly name: string;
  readonly packages: readonly string[];
  /** Packages that are installed without what they ask for: the others have all of it that is used. */
  readonly bare?: readonly string[];
}

/** Where a set is kept: anew for other versions. */
function folderOf({ name, packages, bare = [] }: PythonSet, env: NodeJS.ProcessEnv): string {
  const caches = env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const versions = [...packages, ...bare].join();
  const hash = createHash("sha256").update(versions).digest("hex").slice(0, 8);
  return join(caches, "loradock", `${name}-${hash}`);
}

/** Installs what the cache lacks, at once when it lacks nothing; returns the virtual environment. Needs Python 3. */
export function installPython(
  set: PythonSet,
  env: NodeJS.ProcessEnv,
  say: (line: string) => void,
): string {
  const folder = folderOf(set, env);
  const venv = join(folder, "venv");
  // Written last: an installation that was broken off is begun anew.
  const complete = join(folder, "complete");
  if (existsSync(complete)) return venv;
  const { packages, bare = [] } = set;
  say(`installing ${[...bare, ...packages].join(", ")} into ${folder} (once)`);
  rmSync(venv, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  run("python3", ["-m", "venv", venv]);
  const pip = join(venv, "bin/pip");
  run(pip, ["install", "--quiet", ...packages]);
  if (bare.length > 0) run(pip, ["install", "--quiet", "--no-deps", ...bare]);
  writeFileSync(complete, `${[...bare, ...packages].join("\n")}\n`);
  return venv;
}

function run(command: string, args: readonly string[]): void {
  const result = spawnSync(command, args, { encoding: "utf8" });
  if (result.error !== undefined) {
    throw new UserError(
      `${command} cannot be started: these tests need Python 3 with its venv module`,
      { cause: result.error },
    );
  }
  if (result.status === 0) return;
  const words = `${result.stdout}${result.stderr}`.trim().split("\n").slice(-OUTPUT_LINES);
  throw new UserError(`${command} ${args[0]} ${args[1]} failed: ${words.join("\n")}`);
}

/** Runs an installation as a program: what the user must mend is told without a stack. */
export function installAsProgram(install: (say: (line: string) => void) => void): void {
  try {
    install((line) => console.log(line));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
