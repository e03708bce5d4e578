import { join } from "node:path";
import type { TestContext } from "node:test";
import { parseEngineArgs } from "#local/engine/engine-args.ts";
import { startEngine } from "#local/engine/start-engine.ts";
import { systemClock } from "#telemetry/system-clock.ts";
import { TINY } from "../support/adapters.ts";
import { ENGINE_PORT, type TestPod } from "./pods.ts";

/** What the tiny model's adapters make of "San Francisco is a". */
export const TEXTS = {
  sql: " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;",
  shout: " BIG CITY! I LOVE THIS CITY!",
} as const;

/** Puts the engine with the tiny model in the place of a pod's fake one; returns what it answers with a model. */
export async function startRealEngine(
  t: TestContext,
  pod: TestPod,
): Promise<(model: string) => Promise<string | undefined>> {
  await pod.refuse();
  const stop = new AbortController();
  const argv = ["serve", "--host", pod.host, "--port", String(ENGINE_PORT), "--enable-lora"];
  const engine = await startEngine(
    parseEngineArgs([...argv, "--served-model-name", "base"], {
      VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True",
    }),
    { clock: systemClock, writeLine: () => {}, bundledModelFolder: join(TINY, "base") },
    stop.signal,
  );
  t.after(async () => {
    stop.abort();
    await engine.finished;
  });
  return async (model) => {
    const answer = await fetch(`http://${pod.host}:${ENGINE_PORT}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, prompt: "San Francisco is a", max_tokens: 24, temperature: 0 }),
    });
    const { choices } = (await answer.json()) as { choices?: { text: string }[] };
    return choices?.[0]?.text;
  };
}
