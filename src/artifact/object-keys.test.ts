import assert from "node:assert/strict";
import { test } from "node:test";
import { SOURCE_SETTINGS } from "#test/support/source-settings.ts";
import { pickObjects } from "./object-keys.ts";

const pick = (keys: string[], content: "adapter" | "model" = "adapter") =>
  pickObjects(
    keys.map((key) => [key, 0] as const),
    { content, settings: SOURCE_SETTINGS },
  ).map(([key]) => key);

test("an adapter's own files, without its training's; a model's files, all of them", () => {
  const keys = [
    "",
    "adapter_config.json",
    "README.md",
    "checkpoint-10/",
    "adapter_model.safetensors",
  ];
  assert.deepEqual(pick(keys), ["adapter_config.json", "adapter_model.safetensors"]);
  assert.deepEqual(pick(["", "a/", "a/b", "c"], "model"), ["a/b", "c"]);
});

test("one key that could not lie in a folder has all of them refused", () => {
  const bad = [
    "../x",
    "a/../../x",
    "./x",
    "/x",
    "/",
    "a//b",
    "a\nb",
    "a\0b",
    "..",
    "C:\\x",
    "a\\b",
  ];
  for (const key of [...bad, ...bad.map((name) => `${name}/`)]) {
    assert.throws(() => pick(["adapter_config.json", key]), {
      code: "InvalidArtifact",
      message: /^The artifact is refused: .*is not a path inside it/,
    });
  }
});

test("two keys that a file system may take for one have all of them refused", () => {
  for (const [one = "", other = ""] of [
    ["adapter_config.json", "Adapter_Config.json"],
    ["\u00e9", "e\u0301"],
    ["a/x", "A/y"],
    ["a", "a/b"],
  ]) {
    assert.throws(
      () => pick([one, other], "model"),
      { code: "InvalidArtifact" },
      `${one} ${other}`,
    );
  }
});
