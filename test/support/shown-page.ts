/**
 * What a page shows of a terminal: fenced blocks in the language `console`, a command after each `$ `, what it prints below. Times,
 * ages, addresses, counts of retries and the width of columns are examples; a line `...` stands for any lines.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "./eventually.ts";

/** Events come after the status that they are about; an engine that hangs is given up. */
const PATIENCE_MS = 10_000;

export interface Shown {
  readonly command: string;
  /** What it prints, both streams. */
  readonly output: string;
}

/** The commands below each heading of a page that has some. */
export function shownIn(root: string, file: string): Map<string, Shown[]> {
  const found = new Map<string, Shown[]>();
  const sections = `\n${readFileSync(join(root, file), "utf8")}`.split(/\n#+ /).slice(1);
  for (const section of sections) {
    const heading = section.slice(0, section.indexOf("\n"));
    const blocks = [...section.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, text]) => text);
    const shown = blocks.flatMap((text = "") => text.split(/^\$ /m).slice(1).map(commandOf));
    if (shown.length > 0) found.set(heading, shown);
  }
  return found;
}

/** A command goes on behind a backslash. */
function commandOf(text: string): Shown {
  const [, command = "", output = ""] = /^((?:.*\\\n)*.*)\n([\s\S]*)$/.exec(text) ?? [];
  return { command, output };
}

/** Runs a command of the page; fails unless it prints what the page shows. What only looks may need a moment for it. */
export async function assertShown(
  shown: Shown,
  run: (command: string) => Promise<string>,
): Promise<void> {
  const isLook = /^kubectl (get|describe|logs)/.test(shown.command);
  let printed = "";
  const isSo = async () => {
    printed = await run(shown.command);
    return isShown(shown, printed) || !isLook;
  };
  await eventually("it is shown", isSo, PATIENCE_MS).catch(() => {});
  assert.ok(
    isShown(shown, printed),
    `the page shows for '${shown.command}':\n${shown.output}\nit prints:\n${printed}`,
  );
}

/** Whether `printed` is what the page shows. */
function isShown({ output }: Shown, printed: string): boolean {
  const wanted = linesOf(output).map((line) =>
    line === "..." ? "(?:.*\n)*?" : `${line.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}\n`,
  );
  const actual = linesOf(printed).map((line) => `${line}\n`);
  return new RegExp(`^${wanted.join("")}$`).test(actual.join(""));
}

function linesOf(text: string): string[] {
  return text
    .replace(/^[IWE]\d{4} \S+ +\d+ [\w-]+\.ts:\d+\]/gm, "LOGGED")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replace(/\d+\.\d+\.\d+\.\d+/g, "ADDRESS")
    .replace(/(?<=\s)\d+(?:s|m\d*s?|h\d*m?)(?=\s|$)/gm, "AGE")
    .replace(/(?<=retry(?: |="|-count\.\S+: "))\d/g, "N")
    .split("\n")
    .map((line) => line.trim().replace(/\s+/g, " "))
    .filter((line) => line !== "");
}
