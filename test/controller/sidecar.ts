import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { RUNTIME_PORT } from "#api/names.ts";
import { eventually } from "../support/eventually.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { ENGINE_PORT, type TestPod } from "./pods.ts";

const COMMAND = join(import.meta.dirname, "../../bin/aibrix_runtime");
const START_MS = 20_000;

/** The sidecar as the process that users start, beside the engine of a pod, with an adapters' folder of its own. */
export async function startSidecar(
  t: TestContext,
  { host }: TestPod,
  env: Readonly<Record<string, string>> = {},
): Promise<{ folder: string }> {
  const folder = await tempFolder(t);
  const child = spawn(process.execPath, [COMMAND, "--host", host, "--port", String(RUNTIME_PORT)], {
    stdio: "ignore",
    env: {
      ...process.env,
      INFERENCE_ENGINE_ENDPOINT: `http://${host}:${ENGINE_PORT}`,
      AIBRIX_ADAPTER_DIR: folder,
      ARTIFACT_HTTP_ALLOW_PRIVATE: "1",
      ...env,
    },
  });
  const exited = once(child, "exit");
  t.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  const url = `http://${host}:${RUNTIME_PORT}/healthz`;
  const isThere = async () => (await fetch(url).catch(() => null))?.ok;
  await eventually("the sidecar answers", isThere, START_MS);
  return { folder };
}
