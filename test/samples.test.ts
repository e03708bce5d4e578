/** The samples that users of AIBrix know are what its page on LoRA adapters tells them to apply. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parseManifest } from "#local/up/manifests.ts";

const root = join(import.meta.dirname, "..");
const folder = join(root, "samples/adapter");
const manifests: Record<string, unknown[]> = JSON.parse(
  readFileSync(join(root, "test/e2e/fixtures/seed-manifests.json"), "utf8"),
);

describe("samples/adapter", () => {
  it("has a file for each manifest of the page, and no other", () => {
    assert.deepEqual(readdirSync(folder).sort(), Object.keys(manifests).sort());
  });

  for (const [file, objects] of Object.entries(manifests)) {
    it(`${file} says what the page says`, () => {
      assert.deepEqual(parseManifest(readFileSync(join(folder, file), "utf8"), file), objects);
    });
  }
});
