/** The commands of AIBrix's page on LoRA adapters that users have learned, as they stand there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export class SeedPage {
  readonly #commands: readonly string[];
  readonly #left: Set<string>;

  constructor() {
    const file = join(import.meta.dirname, "../e2e/fixtures/seed-commands.json");
    this.#commands = JSON.parse(readFileSync(file, "utf8"));
    this.#left = new Set(this.#commands);
  }

  /** A command of the page with its `<placeholders>` filled; it counts as run. */
  take(command: string, values: Readonly<Record<string, string>> = {}): string {
    assert.ok(this.#commands.includes(command), `not on the page: ${command}`);
    this.#left.delete(command);
    return command.replace(/<([a-z-]+)>/g, (_, name) => {
      const value = values[name];
      assert.ok(value !== undefined, `no value for <${name}> of: ${command}`);
      return value;
    });
  }

  /** The command that asks a model for a completion. */
  completion(model: string): string {
    const found = this.#commands.find((command) => command.includes(`"model": "${model}"`));
    assert.ok(found !== undefined, `the page does not ask ${model}`);
    return this.take(found);
  }

  /** Sets ENDPOINT. */
  endpoint(): string {
    const found = this.#commands.find((command) => command.startsWith("LB_IP="));
    assert.ok(found !== undefined);
    return this.take(found);
  }

  /** Commands that were not run. */
  left(): string[] {
    return [...this.#left];
  }
}
