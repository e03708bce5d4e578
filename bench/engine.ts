/**
 * Figures of the built-in engine: how long and how much CPU its start takes, its memory, and tokens per
 * second and per CPU second, alone and with three models in one batch. Prints them and writes them
 * to the file that is named, `bench/engine.json` otherwise: `node bench/engine.ts [file]`.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "#test/support/free-port.ts";

const root = join(import.meta.dirname, "..");
const STARTS = 5;
const WARM_UP_TOKENS = 300;
const TOKENS = 200;
const MODELS = ["tiny", "sql", "shout"];

type Engine = { port: number; startMs: number; stop: () => Promise<void> };

async function start(): Promise<Engine> {
  const port = await freePort();
  const startedAt = performance.now();
  const argv = [
    "serve",
    "--host",
    "127.0.0.1",
    "--port",
    String(port),
    "--served-model-name",
    "tiny",
  ];
  const lora = ["--enable-lora", "--max-loras", "2", "--uvicorn-log-level", "warning"];
  const child = spawn(process.execPath, [join(root, "src/main/engine.ts"), ...argv, ...lora], {
    env: { ...process.env, VLLM_ALLOW_RUNTIME_LORA_UPDATING: "1" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const isUp = async () =>
    (await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined))?.ok;
  while (!(await isUp())) {
    if (child.exitCode !== null) throw new Error(`the engine ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return {
    port,
    startMs: performance.now() - startedAt,
    stop: async () => {
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

async function metric({ port }: Engine, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const line = text.split("\n").find((candidate) => candidate.startsWith(name)) ?? "";
  return Number(line.slice(line.lastIndexOf(" ")));
}

async function post({ port }: Engine, path: string, body: unknown): Promise<void> {
  const reply = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
  await reply.arrayBuffer();
}

const generate = (engine: Engine, model: string, tokens: number) =>
  post(engine, "/v1/completions", {
    model,
    prompt: "Paris is a",
    max_tokens: tokens,
    ignore_eos: true,
    temperature: 0,
    stream: true,
  });

async function measure(engine: Engine, clients: number): Promise<Record<string, number>> {
  const cpuBefore = await metric(engine, "process_cpu_seconds_total");
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: clients }, (_, i) =>
      generate(engine, MODELS[i % MODELS.length] ?? "", TOKENS),
    ),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  const cpuSeconds = (await metric(engine, "process_cpu_seconds_total")) - cpuBefore;
  const tokens = clients * TOKENS;
  return {
    clients,
    tokensPerSecond: Math.round(tokens / seconds),
    tokensPerCpuSecond: Math.round(tokens / cpuSeconds),
  };
}

const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

const starts: { wallMs: number; cpuMs: number; rssMib: number }[] = [];
for (let i = 0; i < STARTS; i++) {
  const engine = await start();
  starts.push({
    wallMs: engine.startMs,
    cpuMs: 1000 * (await metric(engine, "process_cpu_seconds_total")),
    rssMib: (await metric(engine, "process_resident_memory_bytes")) / 2 ** 20,
  });
  await engine.stop();
}

const engine = await start();
for (const name of MODELS.slice(1)) {
  const path = join(root, "fixtures/tiny/adapters", name);
  await post(engine, "/v1/load_lora_adapter", { lora_name: name, lora_path: path });
}
await generate(engine, "sql", WARM_UP_TOKENS);
const throughput = [await measure(engine, 1), await measure(engine, 4), await measure(engine, 16)];
const rssMib = (await metric(engine, "process_resident_memory_bytes")) / 2 ** 20;
await engine.stop();

const figures = {
  node: process.version,
  compileCache: process.env["NODE_COMPILE_CACHE"] !== undefined,
  start: {
    medianOf: STARTS,
    wallMs: Math.round(median(starts.map(({ wallMs }) => wallMs))),
    cpuMs: Math.round(median(starts.map(({ cpuMs }) => cpuMs))),
    rssMib: Math.round(median(starts.map(({ rssMib }) => rssMib))),
  },
  throughput,
  rssMibAfterLoad: Math.round(rssMib),
};
const text = `${JSON.stringify(figures, null, 2)}\n`;
console.log(text);
writeFileSync(process.argv[2] ?? join(root, "bench/engine.json"), text);
