import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const MODULE = "github.com/peak/s5cmd/v2";
const VERSION = "v2.3.0";
const GO_MOD = `module bench\n\ngo 1.22\n\nrequire ${MODULE} ${VERSION}\n`;

/** The path of s5cmd; built once, outside of the repository. Needs the Go toolchain. */
export function buildS5cmd(): string {
  const caches = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const folder = join(caches, "loradock", `s5cmd-${VERSION}`);
  const program = join(folder, "s5cmd");
  if (existsSync(program)) return program;
  console.log(`building s5cmd ${VERSION} into ${folder} (a minute, once)`);
  mkdirSync(folder, { recursive: true });
  // Required by a module of ours: `go install` would ask for the list of all its versions.
  writeFileSync(join(folder, "go.mod"), GO_MOD);
  const args = ["build", "-mod=mod", "-o", `${program}.new`, MODULE];
  execFileSync("go", args, { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
  renameSync(`${program}.new`, program);
  return program;
}
