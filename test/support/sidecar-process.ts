import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { parseEngineArgs } from "#local/engine/engine-args.ts";
import { startEngine } from "#local/engine/start-engine.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { TINY } from "./adapters.ts";
import { eventually } from "./eventually.ts";
import { tempFolder } from "./temp-folder.ts";

/** What the tiny model's sql adapter makes of "San Francisco is a". */
export const SQL = " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;";

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

export interface LoadAnswer extends Record<string, unknown> {
  readonly status: number;
  /** The answer as it came, to look for secrets in. */
  readonly text: string;
}

export interface SidecarProcess {
  /** The adapters' folder. */
  readonly root: string;
  readonly url: string;
  /** All that the sidecar has said. */
  said(): string;
  load(name: string, url: string, more?: Record<string, unknown>): Promise<LoadAnswer>;
  unload(name: string): Promise<LoadAnswer>;
  /** The names that the engine lists. */
  models(): Promise<string[]>;
  /** What the engine answers with a model; undefined when it refuses. */
  complete(model: string): Promise<string | undefined>;
  start(): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
  child(): ChildProcess | undefined;
}

/**
 * The sidecar as a process of its own, beside a built-in engine; started, and ended with the test.
 * @param at where it listens, when that is not left to chance.
 */
export async function startSidecar(
  t: TestContext,
  env: Record<string, string>,
  at?: { readonly host: string; readonly port: number },
): Promise<SidecarProcess> {
  const dir = await tempFolder(t);
  const stop = new AbortController();
  const args = ["--host", "127.0.0.1", "--port", "0", "--enable-lora", "--served-model-name"];
  const engine = await startEngine(
    parseEngineArgs(["serve", ...args, "base"], { VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True" }),
    { clock: systemClock, writeLine: () => {}, bundledModelFolder: join(TINY, "base") },
    stop.signal,
  );
  const engineUrl = `http://127.0.0.1:${engine.port}`;
  const root = join(dir, "adapters");
  const { host, port } = at ?? { host: "127.0.0.1", port: await freePort() };
  const url = `http://${host}:${port}`;
  let child: ChildProcess | undefined;
  let said = "";

  const post = async (path: string, body: object): Promise<LoadAnswer> => {
    const response = await fetch(url + path, { method: "POST", body: JSON.stringify(body) });
    const text = await response.text();
    return { ...(JSON.parse(text) as Record<string, unknown>), status: response.status, text };
  };

  const sidecar: SidecarProcess = {
    root,
    url,
    said: () => said,
    load: (name, artifact_url, more = {}) =>
      post("/v1/lora_adapter/load", { lora_name: name, artifact_url, ...more }),
    unload: (name) => post("/v1/lora_adapter/unload", { lora_name: name }),
    models: async () => {
      const answer = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
      return answer.data.map(({ id }) => id);
    },
    complete: async (model) => {
      const response = await fetch(`${engineUrl}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          model,
          prompt: "San Francisco is a",
          max_tokens: 24,
          temperature: 0,
        }),
      });
      return ((await response.json()) as { choices?: { text: string }[] }).choices?.[0]?.text;
    },
    start: async () => {
      const bin = join(import.meta.dirname, "../../bin/aibrix_runtime");
      child = spawn(process.execPath, [bin, "--port", String(port), "--host", host], {
        stdio: ["ignore", "ignore", "pipe"],
        env: {
          ...process.env,
          INFERENCE_ENGINE_ENDPOINT: engineUrl,
          AIBRIX_ADAPTER_DIR: root,
          AIBRIX_CREDENTIALS_DIR: join(dir, "credentials"),
          ARTIFACT_HTTP_ALLOW_PRIVATE: "1",
          ...env,
        },
      });
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        said += text;
      });
      const isAlive = async () => (await fetch(`${url}/healthz`).catch(() => null))?.ok;
      await eventually("the sidecar is alive", isAlive, 10_000);
    },
    kill: async (signal) => {
      const running = child;
      if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
      const exited = once(running, "exit");
      running.kill(signal);
      await exited;
    },
    child: () => child,
  };
  t.after(async () => {
    await sidecar.kill("SIGKILL");
    stop.abort();
    await engine.finished;
  });
  await sidecar.start();
  return sidecar;
}
