/**
 * The built-in engine as a process: `node src/main/engine.ts serve --model ... --port ...`, the
 * words after `vllm` of a container that asks for a vLLM image.
 */
import { join } from "node:path";
import { messageOf, UserError } from "#base/errors.ts";
import { parseEngineArgs } from "#local/engine/engine-args.ts";
import { startEngine } from "#local/engine/start-engine.ts";
import { systemClock } from "#telemetry/system-clock.ts";

const writeLine = (line: string) => process.stdout.write(`${line}\n`);

const stop = new AbortController();
for (const name of ["SIGTERM", "SIGINT"] as const) {
  process.once(name, () => {
    stop.abort(new Error(`${name} received`));
    // Somebody who asks twice does not want to wait for open answers.
    process.once(name, () => process.exit(1));
  });
}

try {
  const options = parseEngineArgs(process.argv.slice(2), process.env);
  const bundledModelFolder = join(import.meta.dirname, "../../fixtures/tiny/base");
  const engine = await startEngine(
    options,
    { clock: systemClock, writeLine, bundledModelFolder },
    stop.signal,
  );
  process.exitCode = (await engine.finished) === "died" ? 1 : 0;
} catch (error) {
  process.stderr.write(
    `${error instanceof UserError ? error.message : `engine: ${messageOf(error)}`}\n`,
  );
  process.exitCode = 1;
}
