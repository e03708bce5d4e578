/** Requests as a gateway sends them: to the pods that the EndpointSlice names, as its watch tells it, one after the other. */
import { setTimeout as delay } from "node:timers/promises";
import { ENGINE_PORT } from "./pods.ts";
import type { World } from "./world.ts";

const PAUSE_MS = 20;

export interface Traffic {
  /** Texts that were answered. */
  readonly answers: string[];
  /** Requests that were not answered with a completion, and why. */
  readonly failures: string[];
  /** No more; resolves when the last one was answered. */
  stop(): Promise<void>;
}

export function sendRequests(world: World, model: string, clients = 2): Traffic {
  const answers: string[] = [];
  const failures: string[] = [];
  let isOver = false;
  let next = 0;
  const send = async () => {
    const hosts = world.endpoints(model);
    const host = hosts[next++ % Math.max(1, hosts.length)];
    if (host === undefined) return void failures.push("no endpoint");
    const answer = await fetch(`http://${host}:${ENGINE_PORT}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, prompt: "San Francisco is a", max_tokens: 24, temperature: 0 }),
    }).catch((error: unknown) => String(error));
    if (typeof answer === "string") return void failures.push(`${host}: ${answer}`);
    const body = await answer.text();
    if (answer.status !== 200) return void failures.push(`${host}: ${answer.status} ${body}`);
    answers.push((JSON.parse(body) as { choices: { text: string }[] }).choices[0]?.text ?? "");
  };
  const client = async () => {
    while (!isOver) {
      await send();
      await delay(PAUSE_MS);
    }
  };
  const running = Promise.all(Array.from({ length: clients }, client));
  return {
    answers,
    failures,
    stop: async () => {
      isOver = true;
      await running;
    },
  };
}
