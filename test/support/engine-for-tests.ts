import { mkdtemp, rm } from "node:fs/promises";
import { type IncomingHttpHeaders, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { parseEngineArgs } from "#local/engine/engine-args.ts";
import { startEngine } from "#local/engine/start-engine.ts";
import { systemClock } from "#telemetry/system-clock.ts";

/** The tiny model, its adapters and the broken ones. */
export const TINY = join(import.meta.dirname, "../../fixtures/tiny");

export type Reply = {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
};

export type Call = {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
};

/** A running engine and its client, closed by `await using`. */
export type EngineForTests = AsyncDisposable & {
  port: number;
  lines: string[];
  finished: Promise<"stopped" | "died">;
  /** Asks the engine to stop, as SIGTERM does. */
  stop: () => void;
  call: (call: Call) => Promise<Reply>;
  get: (path: string) => Promise<Reply>;
  /** Posts JSON. */
  post: (path: string, body: unknown) => Promise<Reply>;
  /** The value of a metric line that begins with `series`; undefined when there is none. */
  metric: (series: string) => Promise<number | undefined>;
};

/** Starts an engine in this process with the words after `vllm serve`. */
export async function startForTests(
  argv: string[],
  env: Record<string, string> = {},
  clock: Clock = systemClock,
): Promise<EngineForTests> {
  const lines: string[] = [];
  const stop = new AbortController();
  const options = parseEngineArgs(
    ["serve", "--host", "127.0.0.1", "--port", "0", "--model", join(TINY, "base"), ...argv],
    env,
  );
  const deps = {
    clock,
    writeLine: (line: string) => lines.push(line),
    bundledModelFolder: join(TINY, "base"),
  };
  const { port, finished } = await startEngine(options, deps, stop.signal);
  const call = (what: Call) => send(port, what);
  const get = (path: string) => call({ method: "GET", path });
  return {
    port,
    lines,
    finished,
    stop: () => stop.abort(),
    call,
    get,
    post: (path, body) =>
      call({
        method: "POST",
        path,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    metric: async (series) => {
      const { body } = await get("/metrics");
      const line = body.split("\n").find((candidate) => candidate.startsWith(series));
      return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(" ")));
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await finished;
    },
  };
}

function send(port: number, { method, path, headers = {}, body }: Call): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, method, path, headers, agent: false });
    sent.once("error", reject);
    sent.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString("utf8"),
        }),
      );
    });
    sent.end(body);
  });
}

/** A folder of its own for a test, removed by `await using`. */
export async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), "engine-test-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Waits until `check` holds, at most some seconds. */
export async function eventually(check: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`never true: ${check}`);
    await systemClock.sleep(5);
  }
}
