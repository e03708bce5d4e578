/** AIBrix's own runtime sidecar as the process that its image starts. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";
import { DEFAULT_ENGINE_PORT, RUNTIME_PORT } from "#api/names.ts";
import { type AibrixVersion, buildAibrix } from "../../scripts/aibrix-build.ts";
import type { TestPod } from "../controller/pods.ts";
import { eventually } from "../support/eventually.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** Python reads a hundred files before it listens. */
const START_MS = 60_000;

export interface AibrixSidecar {
  readonly url: string;
  /** As AIBrix's controller does. @throws when it is refused */
  load(order: object): Promise<void>;
  start(): Promise<void>;
  kill(): Promise<void>;
}

/** Starts one beside a pod's engine; it ends with the test. */
export async function startAibrix(
  t: TestContext,
  version: AibrixVersion,
  { host }: TestPod,
  env: Readonly<Record<string, string>>,
): Promise<AibrixSidecar> {
  const command = buildAibrix(version, process.env, (line) => console.log(line));
  const metrics = await tempFolder(t);
  const url = `http://${host}:${RUNTIME_PORT}`;
  let said = "";
  let child: ChildProcess | undefined;
  const sidecar: AibrixSidecar = {
    url,
    load: async (order) => {
      const answer = await fetch(`${url}/v1/lora_adapter/load`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(order),
      });
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    },
    start: async () => {
      const started = spawn(command, ["--host", host, "--port", String(RUNTIME_PORT)], {
        stdio: ["ignore", "pipe", "pipe"],
        env: {
          PATH: process.env["PATH"],
          HOME: metrics,
          INFERENCE_ENGINE_ENDPOINT: `http://${host}:${DEFAULT_ENGINE_PORT}`,
          PROMETHEUS_MULTIPROC_DIR: metrics,
          ...env,
        },
      });
      child = started;
      for (const stream of [started.stdout, started.stderr]) {
        stream.on("data", (chunk: Buffer) => {
          said += chunk.toString("utf8");
        });
      }
      const isAlive = async () => {
        if (started.exitCode !== null) throw new Error(`aibrix_runtime ended:\n${said}`);
        return (await fetch(`${url}/healthz`).catch(() => undefined))?.ok;
      };
      await eventually(`aibrix_runtime ${version} answers`, isAlive, START_MS);
    },
    kill: async () => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
  t.after(() => sidecar.kill());
  await sidecar.start();
  return sidecar;
}
