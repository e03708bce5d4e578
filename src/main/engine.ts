/**
 * The built-in engine as a process: `node src/main/engine.ts serve --model ... --port ...`, the
 * words after `vllm` of a container that asks for a vLLM image.
 */
import { join } from "node:path";
import { parseEngineArgs } from "#local/engine/engine-args.ts";
import { startEngine } from "#local/engine/start-engine.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { runProcess } from "./process.ts";

await runProcess("engine", async (signal) => {
  const options = parseEngineArgs(process.argv.slice(2), process.env);
  const deps = {
    clock: systemClock,
    writeLine: (line: string) => process.stdout.write(`${line}\n`),
    bundledModelFolder: join(import.meta.dirname, "../../fixtures/tiny/base"),
  };
  const engine = await startEngine(options, deps, signal);
  return (await engine.finished) === "died" ? 1 : 0;
});
