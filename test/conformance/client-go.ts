/** A program in Go, with the library that Kubernetes' own clients and most controllers use. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { canUse } from "#test/support/programs.ts";
import { kubeCache } from "../../scripts/kube-build.ts";
import type { Target } from "./target.ts";

const SOURCE = join(import.meta.dirname, "client-go");
const run = promisify(execFile);
const TIMEOUT_MS = 120_000;

export function clientGoTests(target: Target): void {
  if (!canUse("go")) return;
  it("client-go: discovery, typed and dynamic clients, informers, apply, leader election", async () => {
    const program = await build();
    const namespace = await target.namespace();
    const said = await run(program, [target.kubeconfig, namespace], {
      timeout: TIMEOUT_MS,
    }).catch((error: { stdout?: string; stderr?: string }) =>
      assert.fail(`after these steps:\n${error.stdout}\n${error.stderr}`),
    );
    assert.equal(said.stdout.trim().split("\n").at(-1), "leading");
  });
}

async function build(): Promise<string> {
  const folder = join(kubeCache(process.env), "client-go");
  const program = join(folder, "client-go");
  const changed = ["main.go", "go.mod"].map((name) => statSync(join(SOURCE, name)).mtimeMs);
  if (existsSync(program) && statSync(program).mtimeMs > Math.max(...changed)) return program;
  mkdirSync(folder, { recursive: true });
  const env = {
    ...process.env,
    GOFLAGS: "-buildvcs=false",
    GOTOOLCHAIN: "local",
    CGO_ENABLED: "0",
  };
  await run("go", ["build", "-o", program, "."], { cwd: SOURCE, env });
  return program;
}
