import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { UserError } from "#base/errors.ts";
import { parseEngineArgs } from "./engine-args.ts";

const parse = (line: string, env: Record<string, string> = {}) =>
  parseEngineArgs(line.split(" ").filter(Boolean), env);

describe("vllm serve", () => {
  test("the command line of a usual Deployment", () => {
    const options = parse(
      "serve --host 0.0.0.0 --port 8000 --uvicorn-log-level warning --model Qwen/Qwen2.5-Coder-1.5B-Instruct --served-model-name qwen-coder-1-5b-instruct --enable-lora",
      { VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True" },
    );
    assert.deepEqual(
      { ...options, hub: undefined },
      {
        model: "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        servedModelNames: ["qwen-coder-1-5b-instruct"],
        host: "0.0.0.0",
        port: 8000,
        apiKeys: [],
        isLoraEnabled: true,
        isLoraUpdatingAllowed: true,
        loraRankMax: 16,
        lorasMax: 1,
        cpuLorasMax: 1,
        loraModules: [],
        loraResolverFolder: undefined,
        modelLengthMax: undefined,
        sequencesMax: 128,
        isAccessLogged: false,
        hub: undefined,
        ignoredFlags: [],
      },
    );
  });

  test("a model by position, flags with = and _, several names, unknown flags", () => {
    const options = parse(
      "serve --enable-lora some/model --max_loras=2 --max-cpu-loras 4 --served-model-name a b --enforce-eager --dtype float32 --lora-modules x=/x y=/y",
    );
    assert.equal(options.model, "some/model");
    assert.deepEqual(options.servedModelNames, ["a", "b"]);
    assert.deepEqual([options.lorasMax, options.cpuLorasMax], [2, 4]);
    assert.deepEqual(options.loraModules, [
      { name: "x", path: "/x" },
      { name: "y", path: "/y" },
    ]);
    assert.deepEqual(options.ignoredFlags, ["--enforce-eager", "--dtype"]);
  });

  test("the key comes from the flag, else from the environment", () => {
    assert.deepEqual(parse("serve --api-key a b", { VLLM_API_KEY: "c" }).apiKeys, ["a", "b"]);
    assert.deepEqual(parse("serve", { VLLM_API_KEY: "c" }).apiKeys, ["c"]);
    assert.deepEqual(parse("serve", { VLLM_API_KEY: "" }).apiKeys, []);
  });

  test("switches of the environment", () => {
    for (const word of ["1", "true", "True"]) {
      assert.equal(
        parse("serve", { VLLM_ALLOW_RUNTIME_LORA_UPDATING: word }).isLoraUpdatingAllowed,
        true,
      );
    }
    for (const word of ["0", "", "no"]) {
      assert.equal(
        parse("serve", { VLLM_ALLOW_RUNTIME_LORA_UPDATING: word }).isLoraUpdatingAllowed,
        false,
      );
    }
    const place = { LORADOCK_BIND_ADDRESS: "127.20.0.1" };
    assert.equal(parse("serve").host, "0.0.0.0");
    assert.equal(parse("serve", place).host, "127.20.0.1");
    assert.equal(parse("serve --host 127.0.0.1", place).host, "127.0.0.1");
    const { hub } = parse("serve", {
      HF_ENDPOINT: "http://hub/",
      HF_HOME: "/cache",
      HF_TOKEN: "t",
      HF_HUB_OFFLINE: "1",
    });
    assert.deepEqual(hub, {
      endpoint: "http://hub",
      token: "t",
      cacheFolder: "/cache/hub",
      isOffline: true,
    });
  });

  for (const [line, words] of [
    ["serve --port x", /--port must be a whole number from 0 to 65535, got x/],
    ["serve --port", /--port needs a value/],
    ["serve --max-lora-rank 10", /--max-lora-rank must be one of 1, 8, 16/],
    ["serve --max-loras 4 --max-cpu-loras 2", /max_cpu_loras \(2\) must be >= max_loras \(4\)/],
    ["serve --uvicorn-log-level loud", /--uvicorn-log-level must be one of/],
    ["serve --lora-modules x", /--lora-modules takes name=path, got x/],
    ["serve --lora-modules {nope", /--lora-modules takes name=path/],
  ] as const) {
    test(`${line} is refused`, () =>
      assert.throws(
        () => parse(line),
        (error) => error instanceof UserError && words.test(error.message),
      ));
  }
});
