/** Behaviours that the recordings do not show. */
import assert from "node:assert/strict";
import { cp, readdir, readFile, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import OpenAI from "openai";
import {
  type EngineForTests,
  eventually,
  startForTests,
  TINY,
  temporaryFolder,
} from "#test/support/engine-for-tests.ts";

const LORA = [
  "--served-model-name",
  "tiny",
  "--enable-lora",
  "--max-loras",
  "2",
  "--max-cpu-loras",
  "2",
];
const UPDATING = { VLLM_ALLOW_RUNTIME_LORA_UPDATING: "1" };
const GREEDY = { prompt: "San Francisco is a", max_tokens: 24, temperature: 0 };
const LONG = { prompt: "Paris is a", max_tokens: 200, ignore_eos: true, temperature: 0 };
const TEXT = {
  base: " city in California. It is known for fog and steep hills.",
  sql: " row; SELECT * FROM cities WHERE name = 'San Francisco' LIMIT 1;",
  shout: " BIG CITY! I LOVE THIS CITY!",
};

type Answer = {
  choices: { index: number; text: string; finish_reason: string; stop_reason: unknown }[];
  usage: { prompt_tokens: number; completion_tokens: number };
  error: { message: string; type: string; param: string | null; code: number };
};

async function complete(
  engine: EngineForTests,
  body: object,
): Promise<Answer & { status: number }> {
  const { status, body: text } = await engine.post("/v1/completions", body);
  return { status, ...(JSON.parse(text) as Answer) };
}

const textOf = async (engine: EngineForTests, body: object) =>
  (await complete(engine, body)).choices[0]?.text;

const load = (engine: EngineForTests, name: string, path: string, inPlace = false) =>
  engine.post("/v1/load_lora_adapter", { lora_name: name, lora_path: path, load_inplace: inPlace });

/** A stream that has begun: its whole text later, or the client leaves. */
type OpenStream = { whole: Promise<string>; hasEnded: () => boolean; leave: () => void };

/** Starts a stream; resolves when its first bytes are here. */
function openStream(engine: EngineForTests, body: object): Promise<OpenStream> {
  return new Promise((resolve, reject) => {
    const sent = request({
      host: "127.0.0.1",
      port: engine.port,
      method: "POST",
      path: "/v1/completions",
      headers: { "content-type": "application/json" },
      agent: false,
    });
    sent.once("error", reject);
    sent.once("response", (response) => {
      const whole = Promise.withResolvers<string>();
      let text = "";
      let hasEnded = false;
      response.on("error", () => undefined);
      response.once("end", () => {
        hasEnded = true;
        whole.resolve(text);
      });
      response.on("data", (chunk: Buffer) => {
        text += chunk;
        resolve({ whole: whole.promise, hasEnded: () => hasEnded, leave: () => sent.destroy() });
      });
    });
    sent.end(JSON.stringify({ ...body, stream: true }));
  });
}

/** The text of a whole stream, its events put together. */
function joined(stream: string): string {
  const events = stream.split("\n\n").filter((event) => event.startsWith("data: {"));
  return events
    .map((event) => (JSON.parse(event.slice(6)) as Answer).choices[0]?.text ?? "")
    .join("");
}

/** A hub that serves the files of some folders to those who have the token. */
async function startHub(
  repositories: Record<string, string>,
  token: string,
): Promise<AsyncDisposable & { url: string }> {
  const server: Server = createServer(async (asked, response) => {
    const [, repository, file] =
      /^\/(\w[\w-]*\/[\w-]+)\/resolve\/main\/([\w.]+)/.exec(asked.url ?? "") ?? [];
    const folder = repositories[repository ?? ""];
    if (asked.headers.authorization !== `Bearer ${token}`) response.writeHead(401).end();
    else if (folder === undefined) response.writeHead(404).end();
    else {
      const bytes = await readFile(join(folder, file ?? ""));
      const range = /^bytes=(\d+)-(\d+)$/.exec(asked.headers.range ?? "");
      const part = range === null ? bytes : bytes.subarray(Number(range[1]), Number(range[2]) + 1);
      if (range !== null)
        response.setHeader("content-range", `bytes ${range[1]}-${range[2]}/${bytes.length}`);
      response.writeHead(range === null ? 200 : 206, {
        etag: '"1"',
        "content-length": part.length,
      });
      response.end(part);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A group inherits the concurrency of the groups unless it says otherwise. */
const ONE_BY_ONE = { concurrency: 1 };

// Each group has its engines in threads of their own: two groups at a time use two processors.
describe("built-in engine", { concurrency: 2 }, () => {
  describe("generation", ONE_BY_ONE, () => {
    let engine: EngineForTests;
    before(async () => {
      engine = await startForTests(LORA, UPDATING);
    });
    after(() => engine[Symbol.asyncDispose]());

    test("a stop text ends the answer and is named", async () => {
      const { choices } = await complete(engine, { ...GREEDY, stop: ["known", "never"] });
      assert.deepEqual(
        [choices[0]?.text, choices[0]?.finish_reason, choices[0]?.stop_reason],
        [" city in California. It is ", "stop", "known"],
      );
      const kept = { ...GREEDY, stop: "known", include_stop_str_in_output: true };
      assert.equal(await textOf(engine, kept), " city in California. It is known");
      const token = await complete(engine, { ...GREEDY, stop_token_ids: [311] });
      assert.deepEqual(
        [token.choices[0]?.text, token.choices[0]?.stop_reason],
        [" city in California.", 311],
      );
      const shown = { ...GREEDY, stop_token_ids: [311], include_stop_str_in_output: true };
      assert.equal(await textOf(engine, shown), " city in California. It");
    });

    test("several prompts and answers come in order; tokens are as good as text", async () => {
      const sumBefore = (await engine.metric("vllm:request_params_n_sum")) ?? 0;
      const two = await complete(engine, {
        ...GREEDY,
        prompt: ["San Francisco is a", [724, 577, 281, 265]],
      });
      assert.deepEqual(
        two.choices.map(({ index, text }) => [index, text.slice(0, 14)]),
        [
          [0, " city in Calif"],
          [1, " city in Japan"],
        ],
      );
      assert.equal(two.usage.prompt_tokens, 8);
      const answers = await complete(engine, { ...GREEDY, temperature: 1, n: 3, seed: 7 });
      assert.deepEqual(
        answers.choices.map(({ index }) => index),
        [0, 1, 2],
      );
      assert.equal(await engine.metric("vllm:request_params_n_sum"), sumBefore + 1 + 1 + 3);
    });

    test("a seed fixes the draw, whatever else is in the batch", async () => {
      const body = {
        ...GREEDY,
        temperature: 2,
        top_k: 500,
        min_p: 0.0001,
        seed: 42,
        ignore_eos: true,
      };
      const alone = await textOf(engine, body);
      const others = [1, 2, 3, 4, 5].map((seed) => complete(engine, { ...body, seed }));
      assert.equal(await textOf(engine, body), alone);
      const texts = new Set((await Promise.all(others)).map(({ choices }) => choices[0]?.text));
      assert.ok(texts.size > 1);
      assert.equal(
        await textOf(engine, { ...body, top_k: 1 }),
        await textOf(engine, { ...body, temperature: 0 }),
      );
    });

    test("an answer is the same alone and among other adapters", async () => {
      for (const name of ["sql", "shout"]) await load(engine, name, join(TINY, "adapters", name));
      const models = ["tiny", "sql", "shout"];
      const body = { ...LONG, max_tokens: 30 };
      const alone = [];
      for (const model of models) alone.push(await textOf(engine, { ...body, model }));
      const mixed = await Promise.all(
        [...models, ...models].map((model) => textOf(engine, { ...body, model })),
      );
      assert.deepEqual(mixed, [...alone, ...alone]);
    });

    test("limits are refused in vLLM's words", async () => {
      await using engine = await startForTests([...LORA, "--max-model-len", "64"]);
      const cases: [object, string][] = [
        [
          { ...GREEDY, temperature: -1 },
          "temperature must be non-negative, got -1. (parameter=temperature, value=-1)",
        ],
        [{ ...GREEDY, top_p: 0 }, "top_p must be in (0, 1], got 0. (parameter=top_p, value=0)"],
        [
          { ...GREEDY, max_tokens: 0 },
          "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
        ],
        [{ ...GREEDY, n: 2 }, "n must be 1 when using greedy sampling, got 2."],
        [{ ...GREEDY, stop: [""] }, "stop cannot contain an empty string."],
        [
          { prompt: "" },
          "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)",
        ],
        [
          { ...GREEDY, stream_options: { include_usage: true } },
          "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
        ],
        [
          { ...GREEDY, echo: true },
          "`echo` is not supported by the built-in engine. (parameter=echo)",
        ],
        [
          { ...GREEDY, max_tokens: "many" },
          "1 validation error:\n  {'type': 'int_parsing', 'loc': 'body.max_tokens', 'msg': 'Input should be a valid integer, unable to parse string as an integer', 'input': 'many'}",
        ],
        [
          { prompt: "a ".repeat(70) },
          "This model's maximum context length is 64 tokens. However, your prompt contains 71 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=71)",
        ],
      ];
      for (const [body, message] of cases) {
        const { status, error } = await complete(engine, body);
        assert.deepEqual([status, error.message], [400, message]);
      }
      // What is left of the window is the limit of the answer.
      const { usage } = await complete(engine, { ...GREEDY, max_tokens: 64, ignore_eos: true });
      assert.equal(usage.completion_tokens, 60);
    });

    test("the official client streams completions and chat", async () => {
      await using engine = await startForTests([
        "--served-model-name",
        "tiny",
        "--api-key",
        "secret",
      ]);
      const client = new OpenAI({
        baseURL: `http://127.0.0.1:${engine.port}/v1`,
        apiKey: "secret",
        maxRetries: 0,
      });
      const messages = [
        {
          role: "user" as const,
          content: [{ type: "text" as const, text: "What is San Francisco?" }],
        },
      ];
      const stream = await client.chat.completions.create({
        model: "tiny",
        messages,
        temperature: 0,
        stream: true,
        logprobs: true,
        top_logprobs: 2,
        stream_options: { include_usage: true },
      });
      let text = "";
      let tokens = 0;
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? "";
        tokens = chunk.usage?.completion_tokens ?? tokens;
        for (const entry of chunk.choices[0]?.logprobs?.content ?? [])
          assert.equal(entry.top_logprobs.length, 2);
      }
      assert.equal(
        text,
        "San Francisco is a city in California. It is known for fog and steep hills.",
      );
      assert.equal(tokens, 18);
      const stranger = new OpenAI({
        baseURL: `http://127.0.0.1:${engine.port}/v1`,
        apiKey: "wrong",
        maxRetries: 0,
      });
      await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
    });
  });

  describe("many clients", ONE_BY_ONE, () => {
    // Longer than any test takes: these answers end only because their clients leave.
    const ENDLESS = { ...LONG, max_tokens: 1000 };
    const ONE_PLACE = [...LORA, "--max-num-seqs", "1", "--max-model-len", "1024"];

    test("a client that leaves frees its place at once", async () => {
      await using engine = await startForTests(ONE_PLACE);
      // The second one begins only when the place of the first is free.
      for (let i = 0; i < 2; i++) (await openStream(engine, ENDLESS)).leave();
      await eventually(async () => (await engine.metric("vllm:num_requests_running")) === 0);
      const aborted = 'vllm:request_success_total{engine="0",finished_reason="abort"';
      assert.equal(await engine.metric(aborted), 2);
      assert.ok(((await engine.metric("vllm:generation_tokens_total")) ?? 0) < 1000);
    });

    test("a waiting client that leaves is forgotten", async () => {
      await using engine = await startForTests(ONE_PLACE);
      const running = await openStream(engine, ENDLESS);
      const waiting = connect(engine.port, "127.0.0.1");
      const text = JSON.stringify(LONG);
      waiting.write(
        `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
      );
      await eventually(async () => (await engine.metric("vllm:num_requests_waiting{")) === 1);
      waiting.destroy();
      await eventually(async () => (await engine.metric("vllm:num_requests_waiting{")) === 0);
      assert.equal(await engine.metric("vllm:num_requests_running"), 1);
      running.leave();
    });

    test("the server answers while it generates", async () => {
      await using engine = await startForTests([...LORA, "--max-model-len", "1024"]);
      const streams = await Promise.all([1, 2, 3, 4].map(() => openStream(engine, ENDLESS)));
      for (let i = 0; i < 20; i++) assert.equal((await engine.get("/health")).status, 200);
      for (const stream of streams) {
        assert.equal(stream.hasEnded(), false);
        stream.leave();
      }
    });

    test("after a stop open answers end, and nothing new begins", async () => {
      const engine = await startForTests(LORA);
      const open = await openStream(engine, LONG);
      engine.stop();
      assert.ok((await open.whole).endsWith("data: [DONE]\n\n"));
      assert.equal(await engine.finished, "stopped");
      await assert.rejects(engine.get("/health"), { code: "ECONNREFUSED" });
    });
  });

  describe("adapters", ONE_BY_ONE, () => {
    let engine: EngineForTests;
    before(async () => {
      engine = await startForTests(LORA, UPDATING);
    });
    after(() => engine[Symbol.asyncDispose]());

    test("a name that is loaded anew never answers with its old weights", async () => {
      await using folder = await temporaryFolder();
      const path = join(folder.path, "adapter");
      const put = (name: string) =>
        cp(join(TINY, "adapters", name), path, { recursive: true, force: true });
      const now = () => textOf(engine, { ...GREEDY, model: "x" });
      await put("sql");
      await load(engine, "x", path);
      assert.equal(await now(), TEXT.sql);
      // In place, other files under the same path.
      await put("shout");
      assert.equal((await load(engine, "x", path, true)).status, 200);
      assert.equal(await now(), TEXT.shout);
      // In place, another path.
      assert.equal((await load(engine, "x", join(TINY, "adapters/sql"), true)).status, 200);
      assert.equal(await now(), TEXT.sql);
      // Unloaded, then loaded from elsewhere.
      await engine.post("/v1/unload_lora_adapter", { lora_name: "x" });
      await load(engine, "x", path);
      assert.equal(await now(), TEXT.shout);
      // A failed load in place leaves the old one.
      assert.equal((await load(engine, "x", join(TINY, "adapters-bad/corrupt"), true)).status, 500);
      assert.equal(await now(), TEXT.shout);
    });

    test("a running answer keeps its weights when its name is unloaded or loaded anew", async () => {
      const body = { ...LONG, max_tokens: 80, model: "y" };
      assert.equal((await load(engine, "y", join(TINY, "adapters/sql"))).status, 200);
      const expected = await textOf(engine, body);
      const running = await openStream(engine, body);
      assert.equal((await load(engine, "y", join(TINY, "adapters/shout"), true)).status, 200);
      assert.equal((await engine.post("/v1/unload_lora_adapter", { lora_name: "y" })).status, 200);
      assert.equal((await complete(engine, body)).status, 404);
      assert.equal(joined(await running.whole), expected);
    });

    test("when the engine dies, open streams say so and everything else is refused", async () => {
      await using folder = await temporaryFolder();
      const gone = join(folder.path, "gone");
      await cp(join(TINY, "adapters/sql"), gone, { recursive: true });
      await using mortal = await startForTests(LORA, UPDATING);
      assert.equal((await load(mortal, "gone", gone)).status, 200);
      await rm(gone, { recursive: true });
      for (const name of ["shout", "pirate"]) {
        assert.equal((await load(mortal, name, join(TINY, "adapters", name))).status, 200);
      }
      const open = await openStream(mortal, { ...LONG, max_tokens: 250 });
      const { status, error } = await complete(mortal, { ...GREEDY, model: "gone" });
      assert.deepEqual([status, error.type], [500, "InternalServerError"]);
      const events = (await open.whole).split("\n\n");
      assert.match(
        events.at(-3) ?? "",
        /^data: \{"error":\{"message":"EngineCore encountered an issue/,
      );
      assert.equal(events.at(-2), "data: [DONE]");
      assert.equal((await mortal.get("/health")).status, 503);
      assert.equal((await load(mortal, "x", join(TINY, "adapters/sql"))).status, 500);
      assert.ok(mortal.lines.some((line) => line.includes(`no adapter at ${gone}`)));
    });

    test("the command line's adapters are there from the start, or the start fails", async () => {
      const path = join(TINY, "adapters/shout");
      await using engine = await startForTests([...LORA, "--lora-modules", `shout=${path}`]);
      assert.equal(await textOf(engine, { ...GREEDY, model: "shout" }), TEXT.shout);
      await assert.rejects(
        startForTests([...LORA, "--lora-modules", "x=/no/such"]),
        /--lora-modules x=\/no\/such: Loading lora x failed: No adapter found for \/no\/such/,
      );
    });

    test("without --enable-lora loading fails and says which flag is missing", async () => {
      await using engine = await startForTests(["--served-model-name", "tiny"], UPDATING);
      const { status, body } = await load(engine, "x", join(TINY, "adapters/sql"));
      assert.equal(status, 500);
      assert.match(body, /LoRA is not enabled\. Use --enable-lora to enable LoRA\./);
    });

    test("an adapter of the hub is fetched once with the token and survives eviction", async () => {
      await using folder = await temporaryFolder();
      await using hub = await startHub(
        { "acme/sql-lora": join(TINY, "adapters/sql") },
        "hf_secret",
      );
      const env = {
        ...UPDATING,
        HF_ENDPOINT: hub.url,
        HF_TOKEN: "hf_secret",
        HF_HOME: folder.path,
      };
      await using engine = await startForTests(LORA, env);
      assert.equal((await load(engine, "hub", "acme/sql-lora")).status, 200);
      assert.match((await engine.get("/v1/models")).body, /"id":"hub".*"root":"acme\/sql-lora"/);
      for (const name of ["shout", "pirate"])
        await load(engine, name, join(TINY, "adapters", name));
      assert.equal(await textOf(engine, { ...GREEDY, model: "hub" }), TEXT.sql);
      const missing = await load(engine, "nobody", "acme/nothing");
      assert.deepEqual(
        [missing.status, (JSON.parse(missing.body) as Answer).error.message],
        [404, "Loading lora nobody failed: No adapter found for acme/nothing"],
      );
      const storage = join(folder.path, "hub/models--acme--sql-lora");
      assert.equal((await readdir(join(storage, "snapshots"))).length, 1);
      assert.deepEqual(await readdir(join(storage, "tmp")), []);
      // Another engine without a network finds it in the cache.
      await using offline = await startForTests(LORA, {
        ...env,
        HF_ENDPOINT: "http://127.0.0.1:1",
        HF_HUB_OFFLINE: "1",
      });
      assert.equal((await load(offline, "hub", "acme/sql-lora")).status, 200);
      assert.ok(!engine.lines.join("\n").includes("hf_secret"));
    });
  });

  describe("the process's surface", ONE_BY_ONE, () => {
    let engine: EngineForTests;
    before(async () => {
      engine = await startForTests(LORA, UPDATING);
    });
    after(() => engine[Symbol.asyncDispose]());

    test("a model that cannot be run is stood in for, and the log says so", async () => {
      const argv = [
        "--model",
        "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        "--served-model-name",
        "qwen",
        "alias",
        "--enforce-eager",
      ];
      await using engine = await startForTests(argv);
      const log = engine.lines.join("\n");
      assert.match(
        log,
        /runs its bundled tiny model as 'qwen', 'alias', not real weights of that name: Qwen\/Qwen2\.5-Coder-1\.5B-Instruct is not a folder/,
      );
      assert.match(log, /accepted and have no effect in the built-in engine: --enforce-eager/);
      const reply = await engine.post("/v1/completions", { ...GREEDY, model: "alias" });
      assert.match(reply.body, /"model":"qwen"/);
      assert.ok(
        engine.lines.some((line) =>
          /^INFO: {5}127\.0\.0\.1:\d+ - "POST \/v1\/completions HTTP\/1\.1" 200 OK$/.test(line),
        ),
      );
    });

    test("the access log is off at level warning", async () => {
      await using engine = await startForTests(["--uvicorn-log-level", "warning"]);
      await engine.get("/health");
      assert.ok(engine.lines.every((line) => !line.startsWith("INFO: ")));
    });

    test("unknown routes, methods and bodies too large", async () => {
      const found = await engine.get("/nope");
      assert.deepEqual([found.status, found.body], [404, '{"detail":"Not Found"}']);
      const method = await engine.call({ method: "DELETE", path: "/v1/models" });
      assert.deepEqual([method.status, method.headers.allow], [405, "GET"]);
      const large = await engine.post("/v1/completions", { prompt: "a".repeat(17 * 1024 * 1024) });
      assert.equal(large.status, 413);
    });

    test("any body gets an answer that is JSON, and never a 500", async () => {
      const field = fc.constantFrom(
        "prompt",
        "messages",
        "model",
        "max_tokens",
        "n",
        "stop",
        "stream",
        "logprobs",
        "temperature",
        "seed",
        "stream_options",
        "min_tokens",
        "lora_name",
        "lora_path",
        "top_p",
        "__proto__",
      );
      const bodies = fc.oneof(
        fc
          .dictionary(
            field,
            fc.oneof(
              fc.jsonValue({ maxDepth: 2 }),
              fc.integer(),
              fc.constantFrom("a", true, "tiny"),
            ),
          )
          .map((body) => JSON.stringify({ prompt: "a", max_tokens: 2, ...body })),
        fc.string(),
      );
      const paths = fc.constantFrom(
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
      );
      await fc.assert(
        fc.asyncProperty(paths, bodies, async (path, body) => {
          const reply = await engine.call({
            method: "POST",
            path,
            headers: { "content-type": "application/json" },
            body,
          });
          assert.ok(
            [200, 400, 404].includes(reply.status),
            `${path} ${body} -> ${reply.status} ${reply.body}`,
          );
          if (reply.headers["content-type"]?.startsWith("text/event-stream")) {
            assert.ok(reply.body.endsWith("data: [DONE]\n\n"));
            for (const event of reply.body.split("\n\n").slice(0, -2))
              JSON.parse(event.replace(/^data: /, ""));
          } else JSON.parse(reply.body);
        }),
        { numRuns: 150 },
      );
      assert.equal((await engine.get("/health")).status, 200);
    });
  });
});
