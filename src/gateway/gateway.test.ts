import assert from "node:assert/strict";
import { once } from "node:events";
import {
  type IncomingMessage,
  type RequestListener,
  request,
  type ServerResponse,
} from "node:http";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import OpenAI from "openai";
import { LABEL } from "#api/names.ts";
import { ENDPOINT_SLICES, PODS } from "#kube/client.ts";
import { eventually } from "#test/support/eventually.ts";
import { GatewayWorld } from "#test/support/gateway-world.ts";
import { bodyOf } from "#test/support/http-server.ts";
import type { GatewayOptions } from "./gateway.ts";

interface Seen {
  url: string;
  headers: IncomingMessage["headers"];
  body: Record<string, unknown>;
}

/** An engine that answers as vLLM does, and says which pod and model it was. */
function echo(name: string, seen: Seen[] = []): RequestListener {
  return async (incoming, response) => {
    const body = JSON.parse(await bodyOf(incoming)) as Record<string, unknown>;
    seen.push({ url: incoming.url ?? "", headers: incoming.headers, body });
    if (body["stream"] === true) {
      await stream(response, String(body["model"]), ["one", "two"]);
      return;
    }
    const choices = [{ index: 0, message: { role: "assistant", content: name }, text: name }];
    response.writeHead(200, { "content-type": "application/json", "x-engine": name });
    response.end(
      JSON.stringify({ id: "c", object: "chat.completion", model: body["model"], choices }),
    );
  };
}

async function stream(
  response: ServerResponse,
  model: string,
  words: readonly string[],
): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const content of words) {
    const chunk = {
      object: "chat.completion.chunk",
      model,
      choices: [{ index: 0, delta: { content } }],
    };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  response.end("data: [DONE]\n\n");
}

const refusing =
  (status: number, body: unknown, count = { asked: 0 }): RequestListener =>
  (incoming, response) => {
    count.asked++;
    incoming.resume();
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  };

const UNKNOWN_MODEL = {
  error: {
    message: "The model `sql` does not exist.",
    type: "NotFoundError",
    param: "model",
    code: 404,
  },
};

async function worldOf(
  t: TestContext,
  engines: readonly RequestListener[],
  options: Partial<GatewayOptions> = {},
): Promise<GatewayWorld> {
  const world = new GatewayWorld();
  for (const engine of engines) await world.engine(engine);
  await world.adapter("sql", world.pods);
  await world.start(t, options);
  return world;
}

const errorOf = async (response: Response) =>
  (
    (await response.json()) as {
      error: { message: string; type: string; code: string | null; param: string | null };
    }
  ).error;
const answerOf = async (response: Response) =>
  ((await response.json()) as { choices: { text: string }[] }).choices[0]?.text;

test("the official client: models, completion, stream, and its own errors", async (t) => {
  const world = await worldOf(t, [echo("p0"), echo("p1")]);
  await world.adapter("loading", []);
  const client = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: "sk-test", maxRetries: 0 });
  const models = (await client.models.list()).data;
  assert.deepEqual(
    models.map((model) => ({ ...model, created: 0 })),
    [
      { id: "qwen", object: "model", created: 0, owned_by: "loradock", root: "qwen", parent: null },
      {
        id: "sql",
        object: "model",
        created: 0,
        owned_by: "loradock",
        root: "huggingface://loradock/sql",
        parent: "qwen",
      },
    ] as unknown[],
  );
  assert.equal((await client.models.retrieve("sql")).id, "sql");
  await assert.rejects(client.models.retrieve("no such"), OpenAI.NotFoundError);

  const messages = [{ role: "user" as const, content: "hello" }];
  const completion = await client.chat.completions.create({ model: "sql", messages });
  assert.equal(completion.model, "sql");
  const words: (string | null | undefined)[] = [];
  for await (const chunk of await client.chat.completions.create({
    model: "sql",
    messages,
    stream: true,
  })) {
    words.push(chunk.choices[0]?.delta.content);
  }
  assert.deepEqual(words, ["one", "two"]);
  await assert.rejects(client.chat.completions.create({ model: "ghost", messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    return error.code === "model_not_found" && error.type === "invalid_request_error";
  });
});

test("headers and body reach the engine as they were; the hop's own headers do not", async (t) => {
  const seen: Seen[] = [];
  const world = await worldOf(t, [echo("p0", seen)]);
  const text = '{ "messages": "größe \\u00e9", "model" : "sql", "n": 1.0 }';
  const sending = request(`${world.url}/v1/completions?a=b`, {
    method: "POST",
    headers: {
      authorization: "Bearer sk-1",
      "X-Custom": "kept",
      "x-hop": "dropped",
      connection: "close, x-hop",
      te: "trailers",
      "x-request-id": "req-7",
      "x-forwarded-for": "10.1.1.1",
      expect: "100-continue",
      "content-length": Buffer.byteLength(text),
    },
  });
  sending.end(text);
  const [response] = (await once(sending, "response")) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  assert.equal(response.headers["x-request-id"], "req-7");
  assert.equal(response.headers["x-engine"], "p0");
  response.resume();
  const { url, headers, body } = seen[0] as Seen;
  assert.equal(url, "/v1/completions?a=b");
  assert.deepEqual(body, JSON.parse(text));
  assert.equal(headers["content-length"], String(Buffer.byteLength(text)));
  const { authorization, te, expect } = headers;
  assert.deepEqual(
    [authorization, headers["x-custom"], te, expect],
    ["Bearer sk-1", "kept", undefined, undefined],
  );
  assert.deepEqual([headers["x-hop"], headers["x-request-id"]], [undefined, "req-7"]);
  assert.equal(headers["x-forwarded-for"], "10.1.1.1, 127.0.0.1");
});

test("what cannot be routed is refused in OpenAI's shape", async (t) => {
  const count = { asked: 0 };
  const world = await worldOf(t, [refusing(200, {}, count)], { maxBodyBytes: 1_000 });
  await world.adapter("loading", []);
  const expectError = async (response: Response, status: number, code: string | null) => {
    const error = await errorOf(response);
    assert.deepEqual([response.status, error.code], [status, code], error.message);
    assert.ok(response.headers.get("x-request-id"));
    return response;
  };
  await expectError(await world.post({ model: "ghost" }), 404, "model_not_found");
  await expectError(await world.post("{not json"), 400, null);
  await expectError(await world.post({ prompt: "x" }), 400, null);
  await expectError(await world.post(""), 400, null);
  await expectError(await world.post('{"model":"sql","model":"qwen"}'), 400, null);
  await expectError(
    await world.post({ model: "sql", prompt: "x".repeat(2_000) }),
    413,
    "request_too_large",
  );
  const waiting = await expectError(
    await eventually("the adapter is known", async () => {
      const response = await world.post({ model: "loading" });
      return response.status === 503 && response;
    }),
    503,
    "model_not_ready",
  );
  assert.ok(Number(waiting.headers.get("retry-after")) > 0);
  await expectError(await fetch(`${world.url}/v1/completions`), 405, "method_not_supported");
  await expectError(await world.post({}, "/v1/models"), 405, "method_not_supported");
  await expectError(await fetch(`${world.url}/other`), 404, "unknown_url");
  assert.equal(count.asked, 0);
});

test("an engine's administration is out of reach, however it is spelled", async (t) => {
  const count = { asked: 0 };
  const world = await worldOf(t, [refusing(200, {}, count)]);
  for (const path of [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter/",
    "/v1/Unload_Lora_Adapter",
    "/v1/lora_adapter/load",
    "/v1/%75nload_lora_adapter",
    "/v1//unload_lora_adapter",
    "/v1/./unload_lora_adapter",
    "/v1/x/../unload_lora_adapter",
    "/v1/x%2f..%2funload_lora_adapter",
    "/unload_lora_adapter",
    "/v1/completions/../../adapters",
  ]) {
    // fetch would normalise the path.
    const socket = connect({ host: "127.0.0.1", port: Number(new URL(world.url).port) });
    const body = '{"model":"sql","lora_name":"sql"}';
    socket.end(
      `POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    let answer = "";
    for await (const chunk of socket) answer += chunk;
    assert.match(answer, /^HTTP\/1\.1 404 /, path);
  }
  assert.equal(count.asked, 0);
});

test("before the first byte another pod is tried: refused, reset, 503, model unknown", async (t) => {
  const unknown = { asked: 0 };
  const failures: Record<string, RequestListener> = {
    reset: (incoming) => incoming.socket.destroy(),
    unavailable: refusing(503, { error: "busy" }),
    "model-unknown": refusing(404, UNKNOWN_MODEL, unknown),
  };
  for (const [reason, failing] of Object.entries(failures)) {
    const world = await worldOf(t, [failing, echo("good")]);
    // Which of two equal pods is asked first is chance: so often that it is the failing one at least once.
    for (let i = 0; i < 50; i++)
      assert.equal(await answerOf(await world.post({ model: "qwen" })), "good", reason);
    assert.match(
      await (await fetch(`${world.adminUrl}/metrics`)).text(),
      new RegExp(`retries_total\\{.*reason="${reason}"\\} [1-9]`),
    );
  }
  const world = await worldOf(t, [echo("dead"), echo("good")]);
  await world.engines[0]?.close();
  for (let i = 0; i < 6; i++)
    assert.equal(await answerOf(await world.post({ model: "qwen" })), "good");
});

test("when no pod is left, the last failure is what the caller hears", async (t) => {
  const busy = await worldOf(t, [refusing(503, { error: "busy" })]);
  const response = await busy.post({ model: "sql" });
  assert.deepEqual([response.status, await response.json()], [503, { error: "busy" }]);

  const unknown = await worldOf(t, [refusing(404, UNKNOWN_MODEL), refusing(404, UNKNOWN_MODEL)]);
  const evicted = await unknown.post({ model: "sql" });
  assert.deepEqual([evicted.status, (await errorOf(evicted)).code], [503, "model_not_ready"]);

  const other = await worldOf(t, [refusing(404, { detail: "Not Found" })]);
  const passed = await other.post({ model: "sql" });
  assert.deepEqual([passed.status, await passed.json()], [404, { detail: "Not Found" }]);

  const dead = await worldOf(t, [echo("dead")]);
  await dead.engines[0]?.close();
  const gone = await dead.post({ model: "sql" });
  assert.equal(gone.status, 502);
  assert.match((await errorOf(gone)).message, /connection refused/);

  const slow = await worldOf(t, [() => {}, () => {}], { firstByteTimeoutMs: 50 });
  const late = await slow.post({ model: "sql" });
  assert.deepEqual([late.status, (await errorOf(late)).code], [504, "upstream_timeout"]);
  assert.equal((await slow.accessLine())["tries"], 1, "a timeout is not tried again");
});

test("no more pods are tried than allowed", async (t) => {
  const count = { asked: 0 };
  const engines = Array.from({ length: 6 }, () => refusing(503, {}, count));
  const world = await worldOf(t, engines, { maxTries: 3 });
  assert.equal((await world.post({ model: "sql" })).status, 503);
  assert.equal(count.asked, 3);
});

test("events pass as they come, and a caller that leaves stops the engine at once", async (t) => {
  const engine = { response: undefined as ServerResponse | undefined, closed: false };
  const world = await worldOf(t, [
    (incoming, response) => {
      incoming.resume();
      engine.response = response;
      response.once("close", () => {
        engine.closed = true;
      });
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    },
  ]);
  const leave = new AbortController();
  const response = await world.post({ model: "sql", stream: true }, undefined, {
    signal: leave.signal,
  });
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  const reader = response.body?.getReader();
  for (const word of ["a", "b", "c"]) {
    engine.response?.write(`data: ${word}\n\n`);
    const read = await reader?.read();
    assert.equal(Buffer.from(read?.value ?? []).toString(), `data: ${word}\n\n`);
  }
  leave.abort();
  await eventually("the engine's connection is closed", () => engine.closed);
  assert.equal((await world.accessLine())["status"], 499);
  // It counts no more as in flight.
  await eventually("nothing in flight", async () =>
    /requests_in_flight 0/.test(await (await fetch(`${world.adminUrl}/metrics`)).text()),
  );
});

test("a caller that leaves before the answer begins stops the engine, too", async (t) => {
  const closed = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const world = await worldOf(t, [
    (incoming) => {
      incoming.resume();
      incoming.socket.once("close", () => closed.resolve());
      asked.resolve();
    },
  ]);
  const leave = new AbortController();
  const answer = world.post({ model: "sql" }, undefined, { signal: leave.signal });
  await asked.promise;
  leave.abort();
  await assert.rejects(answer);
  await closed.promise;
});

test("an engine that breaks off: a stream ends with an error event, other answers are cut", async (t) => {
  const world = await worldOf(t, [
    async (incoming, response) => {
      const { stream: isStream } = JSON.parse(await bodyOf(incoming)) as { stream?: boolean };
      const type = isStream === true ? "text/event-stream" : "application/json";
      response.writeHead(200, { "content-type": type });
      response.write(isStream === true ? "data: {}\n\n" : '{"half":');
      setImmediate(() => response.destroy());
    },
  ]);
  const client = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: "x", maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "hello" }];
  const events = await client.chat.completions.create({ model: "sql", messages, stream: true });
  await assert.rejects(async () => {
    for await (const _ of events);
  }, /cannot be reached/);
  await assert.rejects(async () => (await world.post({ model: "sql" })).json());
  assert.equal((await world.accessLine())["status"], 502);
});

test("a slow caller slows the engine down instead of filling our memory", async (t) => {
  let written = 0;
  const world = await worldOf(t, [
    (incoming, response) => {
      incoming.resume();
      response.writeHead(200, { "content-type": "application/octet-stream" });
      const more = () => {
        while (written < 200_000_000) {
          written += 65_536;
          if (!response.write(Buffer.alloc(65_536))) {
            response.once("drain", more);
            return;
          }
        }
        response.end();
      };
      more();
    },
  ]);
  const leave = new AbortController();
  await world.post({ model: "sql" }, undefined, { signal: leave.signal });
  let before = -1;
  await eventually("the engine stands still", async () => {
    const now = written;
    const still = now === before;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 50));
    return still;
  });
  assert.ok(written < 50_000_000, `${written} bytes`);
  leave.abort();
});

test("a large body passes while it still comes, and is not sent twice when it is too long to keep", async (t) => {
  const started = Promise.withResolvers<void>();
  let received = 0;
  const world = await worldOf(
    t,
    [
      (incoming, response) => {
        started.resolve();
        incoming.on("data", (chunk: Buffer) => {
          received += chunk.length;
        });
        incoming.on("end", () => response.end("{}"));
      },
    ],
    { replayBytes: 100_000 },
  );
  const head = '{"model":"sql","prompt":"';
  const length = head.length + 1_000_000 + 2;
  const sending = request(`${world.url}/v1/completions`, {
    method: "POST",
    headers: { "content-length": length },
  });
  sending.write(head);
  await started.promise;
  sending.write("x".repeat(1_000_000));
  sending.end('"}');
  const [response] = (await once(sending, "response")) as [IncomingMessage];
  assert.deepEqual([response.statusCode, received], [200, length]);
  response.resume();

  const resetting = await worldOf(
    t,
    Array.from(
      { length: 3 },
      (): RequestListener => (incoming) => {
        incoming.on("data", () => {});
        incoming.once("end", () => incoming.socket.destroy());
      },
    ),
    { replayBytes: 100_000 },
  );
  const big = await resetting.post({ model: "sql", prompt: "x".repeat(1_000_000) });
  assert.equal(big.status, 502);
  assert.equal((await resetting.accessLine())["tries"], 1);
  const small = await resetting.post({ model: "sql", prompt: "x" });
  assert.equal(small.status, 502);
  assert.equal((await resetting.accessLine((line) => line["tries"] === 3))["status"], 502);
});

test("a second model or too many bytes late in a body are refused although the engine has its beginning", async (t) => {
  const aborted: boolean[] = [];
  const world = await worldOf(
    t,
    [
      (incoming) => {
        incoming.on("data", () => {});
        incoming.once("close", () => aborted.push(!incoming.complete));
        incoming.on("error", () => {});
      },
    ],
    { maxBodyBytes: 300_000 },
  );
  const post = async (rest: string) => {
    const sending = request(`${world.url}/v1/completions`, { method: "POST" });
    sending.on("error", () => {});
    sending.write('{"model":"sql","prompt":"');
    // Time for the beginning to go through.
    await new Promise((resolve) => setTimeout(resolve, 30));
    sending.end(rest);
    const [response] = (await once(sending, "response")) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  assert.equal(await post('x","model":"qwen"}'), 400);
  assert.equal(await post(`${"x".repeat(400_000)}"}`), 413);
  await eventually("both were cut", () => aborted.length === 2);
  assert.deepEqual(aborted, [true, true]);
});

test("SGLang is asked for base:adapter, and the answer bears the name that was asked for", async (t) => {
  const seen: Seen[] = [];
  const world = new GatewayWorld();
  const pod = await world.engine(echo("sg", seen), { [LABEL.modelEngine]: "sglang" });
  await world.adapter("sql", [pod]);
  await world.start(t);
  const client = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: "x", maxRetries: 0 });
  const messages = [{ role: "user" as const, content: 'say "model":"x"' }];
  const completion = await client.chat.completions.create({ model: "sql", messages });
  assert.equal(completion.model, "sql");
  assert.equal(completion.choices[0]?.message.content, "sg");
  const models: string[] = [];
  for await (const chunk of await client.chat.completions.create({
    model: "sql",
    messages,
    stream: true,
  })) {
    models.push(chunk.model);
  }
  assert.deepEqual(models, ["sql", "sql"]);
  assert.deepEqual(
    seen.map((one) => one.body["model"]),
    ["qwen:sql", "qwen:sql"],
  );
  assert.deepEqual(seen[0]?.body["messages"], messages);
});

test("a model of another namespace is asked for by namespace/name, and a form is routed by its field", async (t) => {
  const seen: Seen[] = [];
  const forms: string[] = [];
  const world = await worldOf(t, [echo("p0", seen)]);
  const pod = await world.engine(
    async (incoming, response) => {
      forms.push(await bodyOf(incoming));
      response.setHeader("content-type", "application/json");
      response.end('{"text":"heard"}');
    },
    { [LABEL.modelName]: "whisper" },
  );
  assert.equal(pod.metadata.name, "p1");
  const answer = await world.post({ model: "default/sql" });
  assert.equal(((await answer.json()) as { model: string }).model, "default/sql");
  assert.equal(seen[0]?.body["model"], "sql");

  const form = new FormData();
  form.append("file", new Blob([Buffer.alloc(100_000)]), "a.wav");
  form.append("model", "default/whisper");
  const heard = await eventually("the new pod is routed", async () => {
    const response = await fetch(`${world.url}/v1/audio/transcriptions`, {
      method: "POST",
      body: form,
    });
    return response.ok && response;
  });
  assert.deepEqual(await heard.json(), { text: "heard" });
  assert.match(forms[0] ?? "", /name="model"\r\n\r\nwhisper\r\n--/);
});

test("routes follow the cluster: a pod that leaves the slice or is not Ready gets nothing more", async (t) => {
  const world = await worldOf(t, [echo("p0"), echo("p1")]);
  const home = await answerOf(await world.post({ model: "sql" }));
  const other = home === "p0" ? "p1" : "p0";
  await world.kube.delete(ENDPOINT_SLICES, { namespace: "default", name: `sql-${home}` });
  await eventually(
    "the other pod",
    async () => (await answerOf(await world.post({ model: "sql" }))) === other,
  );
  const pod = world.pods[Number(other.slice(1))];
  assert.ok(pod);
  await world.kube.apply(PODS, {
    ...pod,
    status: { podIP: "127.0.0.1", conditions: [{ type: "Ready", status: "False" }] },
  });
  await eventually("nobody", async () => (await world.post({ model: "sql" })).status === 503);
});

test("concurrent requests spread over the pods", async (t) => {
  const held: ServerResponse[] = [];
  const counts = [0, 0, 0];
  const engines = counts.map(
    (_, index): RequestListener =>
      (incoming, response) => {
        incoming.resume();
        counts[index] = (counts[index] ?? 0) + 1;
        held.push(response);
      },
  );
  const world = await worldOf(t, engines);
  const answers = ["qwen", "sql"].flatMap((model) =>
    Array.from({ length: 6 }, () => world.post({ model })),
  );
  await eventually("all are with an engine", () => held.length === 12);
  // The base model evenly; the adapter up to a quarter above the mean, its home first.
  assert.ok(Math.max(...counts) <= 5 && Math.min(...counts) >= 2, String(counts));
  for (const response of held) response.end("{}");
  await Promise.all(answers);
});

test("the access log says what happened, and neither prompt nor key", async (t) => {
  const world = await worldOf(t, [echo("p0")]);
  await world.post({ model: "sql", prompt: "my secret prompt" }, "/v1/completions?key=sk-query", {
    headers: { authorization: "Bearer sk-secret" },
  });
  const line = await world.accessLine();
  const { method, path, model, status, pod, tries } = line;
  assert.deepEqual(
    { method, path, model, status, pod, tries },
    {
      method: "POST",
      path: "/v1/completions",
      model: "sql",
      status: 200,
      pod: "default/p0",
      tries: 1,
    },
  );
  const text = JSON.stringify(world.lines);
  assert.doesNotMatch(text, /secret|sk-/);
  const metrics = await (await fetch(`${world.adminUrl}/metrics`)).text();
  assert.match(metrics, /requests_total\{namespace="default",model="sql",code="200"\} 1/);
  assert.match(metrics, /first_byte_seconds_count\{namespace="default",model="sql"\} 1/);
});

test("the stop lets a stream end, and is not ready meanwhile", async (t) => {
  let finish = () => {};
  const world = await worldOf(t, [
    (incoming, response) => {
      incoming.resume();
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: 1\n\n");
      finish = () => response.end("data: [DONE]\n\n");
    },
  ]);
  const response = await world.post({ model: "sql", stream: true });
  world.stop.abort();
  const ready = await fetch(`${world.adminUrl}/readyz`);
  assert.deepEqual([ready.status, await ready.text()], [503, "not ready: shutting down\n"]);
  await assert.rejects(world.post({ model: "sql" }));
  finish();
  assert.equal(await response.text(), "data: 1\n\ndata: [DONE]\n\n");
  await world.done;
});

test("probes and metrics are on the gateway's own port where it has no other", async (t) => {
  const world = new GatewayWorld();
  await world.engine(echo("p0"));
  const stop = new AbortController();
  const { runGateway, gatewayDefaults } = await import("./gateway.ts");
  const { systemClock } = await import("#telemetry/system-clock.ts");
  const { silentLog } = await import("#test/support/silent-log.ts");
  const listening = Promise.withResolvers<number>();
  const done = runGateway(
    {
      client: world.kube,
      clock: systemClock,
      log: silentLog,
      metrics: world.metrics,
      random: Math.random,
    },
    { ...gatewayDefaults, host: "127.0.0.1", port: 0 },
    stop.signal,
    ({ port }) => listening.resolve(port),
  );
  t.after(async () => {
    stop.abort();
    await done;
    await world.engines[0]?.close();
  });
  const url = `http://127.0.0.1:${await listening.promise}`;
  await eventually("ready", async () => (await fetch(`${url}/readyz`)).ok);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  assert.match(await (await fetch(`${url}/metrics`)).text(), /loradock_gateway_requests_in_flight/);
  assert.equal((await fetch(`${url}/v1/models`)).status, 200);
});

test("a gateway that does not know the models yet says so, and not that there are none", async (t) => {
  const world = new GatewayWorld();
  const pod = await world.engine(echo("p0"));
  await world.adapter("sql", [pod]);
  const { runGateway, gatewayDefaults } = await import("./gateway.ts");
  const { systemClock: clock } = await import("#telemetry/system-clock.ts");
  const { silentLog: log } = await import("#test/support/silent-log.ts");
  const stop = new AbortController();
  const answers = Promise.withResolvers<void>();
  const listening = Promise.withResolvers<number>();
  const client = Object.assign(Object.create(world.kube), {
    list: (...args: Parameters<typeof world.kube.list>) =>
      answers.promise.then(() => world.kube.list(...args)),
    async *watch(...args: Parameters<typeof world.kube.watch>) {
      await answers.promise;
      yield* world.kube.watch(...args);
    },
  });
  const done = runGateway(
    { client, clock, log, metrics: world.metrics, random: Math.random },
    { ...gatewayDefaults, host: "127.0.0.1", port: 0 },
    stop.signal,
    ({ port }) => listening.resolve(port),
  );
  t.after(async () => {
    stop.abort();
    await done;
    await world.engines[0]?.close();
  });
  world.url = `http://127.0.0.1:${await listening.promise}`;
  for (const ask of [() => world.post({ model: "sql" }), () => fetch(`${world.url}/v1/models`)]) {
    const answer = await ask();
    assert.deepEqual([answer.status, answer.headers.get("retry-after")], [503, "2"]);
    assert.match(await answer.text(), /"code":"gateway_not_ready"/);
  }
  answers.resolve();
  await eventually("routes", async () => (await world.post({ model: "sql" })).ok);
  assert.equal((await world.post({ model: "none" })).status, 404);
});
