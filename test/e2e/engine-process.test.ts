import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";

const ENTRY = join(import.meta.dirname, "../../src/main/engine.ts");

/** The engine as its own process; resolves with its port when it says that it listens. */
function start(argv: string[], env: NodeJS.ProcessEnv = process.env) {
  const child = spawn(process.execPath, [ENTRY, "serve", "--host", "127.0.0.1", ...argv], { env });
  const lines = createInterface(child.stdout);
  const port = new Promise<number>((resolve, reject) => {
    lines.on("line", (line) => {
      const match = /running on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
      if (match !== null) resolve(Number(match[1]));
    });
    child.once("exit", () => reject(new Error("the engine ended before it listened")));
  });
  return { child, port, ended: once(child, "exit") };
}

describe("engine process", () => {
  test("SIGTERM lets an open answer end, then the process ends with 0", async () => {
    const engine = start(["--port", "0", "--served-model-name", "tiny"]);
    const port = await engine.port;
    const reply = await fetch(`http://127.0.0.1:${port}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        prompt: "Paris is a",
        max_tokens: 100,
        ignore_eos: true,
        stream: true,
      }),
    });
    engine.child.kill("SIGTERM");
    assert.ok((await reply.text()).endsWith("data: [DONE]\n\n"));
    assert.deepEqual(await engine.ended, [0, null]);
  });

  test("a taken port is one clear sentence and exit code 1", async () => {
    const first = start(["--port", "0"]);
    const port = await first.port;
    const second = start(["--port", String(port)]);
    let text = "";
    second.child.stderr.on("data", (chunk) => {
      text += chunk;
    });
    await assert.rejects(second.port);
    assert.deepEqual(await second.ended, [1, null]);
    assert.equal(
      text,
      `engine: cannot listen on 127.0.0.1:${port}: another process listens there\n`,
    );
    first.child.kill("SIGTERM");
    await first.ended;
  });
});
