/**
 * Runs the tests and ends with one line, `N passed, N failed`.
 *
 *   node scripts/test.ts                 everything that `npm test` runs
 *   node scripts/test.ts unit e2e        only these groups: check, unit, sim, conformance, e2e, long, kube, storage, aibrix
 *   node scripts/test.ts src/api/x.test.ts   only these files
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { run } from "node:test";
import { styleText } from "node:util";

const root = join(import.meta.dirname, "..");
const UNIT_TIMEOUT_MS = 120_000;
const E2E_TIMEOUT_MS = 600_000;
/** Of the simulation; `npm run test:sim` runs more. */
const SIM_SEEDS = 1000;

const count = { passed: 0, failed: 0 };
const failures: string[] = [];

function note(ok: boolean, name: string, ms: number, detail?: string): void {
  count[ok ? "passed" : "failed"]++;
  const mark = ok ? styleText("green", "✔") : styleText("red", "✖");
  console.log(`${mark} ${name} ${styleText("dim", `${Math.round(ms)} ms`)}`);
  if (ok) return;
  const text = `${name}\n${detail ?? ""}`;
  failures.push(text);
  console.log(detail ?? "");
}

/** A command that counts as one test. */
function command(name: string, tool: string, args: string[]): void {
  const started = performance.now();
  const result = spawnSync(tool, args, { cwd: root, encoding: "utf8" });
  const output = `${result.stdout}${result.stderr}${result.error ?? ""}`;
  note(result.status === 0, name, performance.now() - started, output.slice(-8000));
}

/** Formatting and lint, both type checks. */
function check(): void {
  const tool = (name: string) => join(root, "node_modules", ".bin", name);
  command("lint and format (biome)", tool("biome"), ["check", "--error-on-warnings", "."]);
  command("types (tsc)", tool("tsc"), ["-p", "tsconfig.json"]);
  command("types of the pure rooms (tsc)", tool("tsc"), ["-p", "tsconfig.pure.json"]);
}

async function runFiles(files: string[], isolated: boolean): Promise<void> {
  if (files.length === 0) return;
  const stream = run({
    files,
    cwd: root,
    isolation: isolated ? "process" : "none",
    concurrency: isolated ? 1 : true,
    timeout: isolated ? E2E_TIMEOUT_MS : UNIT_TIMEOUT_MS,
  });
  stream.on("test:pass", (test) => {
    if (test.details.type === "suite" || test.name === test.file) return;
    if (test.skip !== undefined || test.todo !== undefined) {
      // A test that does not run proves nothing: it counts as failed, with its reason.
      note(false, test.name, test.details.duration_ms, `skipped: ${test.skip ?? test.todo}`);
      return;
    }
    note(true, test.name, test.details.duration_ms);
  });
  stream.on("test:fail", (test) => {
    const error: Error & { failureType?: string } = test.details.error;
    // A suite fails because a test in it failed, which was noted already.
    if (error.failureType === "subtestsFailed") return;
    const cause = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : error;
    note(false, test.name, test.details.duration_ms, `${test.file ?? ""}\n${cause}`);
  });
  stream.on("test:stderr", (text) => process.stderr.write(text.message));
  stream.on("test:stdout", (text) => process.stdout.write(text.message));
  for await (const _ of stream);
}

const asked = process.argv.slice(2);
const files = asked.filter((name) => name.endsWith(".test.ts"));
const groups = asked.length === 0 ? ["check", "unit", "conformance", "e2e"] : asked;
const find = (pattern: string | string[]) =>
  globSync(pattern, { cwd: root })
    .sort()
    .map((file) => join(root, file));

if (groups.includes("check")) check();
if (groups.includes("unit")) {
  const unit = ["src/**/*.test.ts", "scripts/*.test.ts", "test/*.test.ts", "test/sim/*.test.ts"];
  await runFiles(find(unit), false);
}
if (groups.includes("sim")) {
  const name = `the controllers hold their invariants in ${SIM_SEEDS} simulated clusters`;
  command(name, process.execPath, ["scripts/sim.ts", String(SIM_SEEDS)]);
}
if (groups.includes("conformance")) {
  await runFiles(find("test/conformance/embedded.test.ts"), true);
}
if (groups.includes("kube"))
  await runFiles(find("test/{conformance,controller}/kube.test.ts"), true);
if (groups.includes("e2e")) {
  await runFiles(find(["test/controller/embedded.test.ts", "test/e2e/*.test.ts"]), true);
}
if (groups.includes("storage")) await runFiles(find("test/storage/*.test.ts"), true);
if (groups.includes("aibrix")) await runFiles(find("test/aibrix/*.test.ts"), true);
if (groups.includes("long")) await runFiles(find("test/e2e/long/*.test.ts"), true);
if (files.length > 0) await runFiles(files, true);

if (failures.length > 0) console.log(`\nFailed:\n\n${failures.join("\n\n")}`);
console.log(`\n${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed > 0 || count.passed === 0 ? 1 : 0);
