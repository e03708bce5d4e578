/** The fenced blocks of our documents that a reader may copy. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Block {
  /** For example `README.md:31`. */
  readonly place: string;
  readonly file: string;
  readonly language: string;
  readonly text: string;
  /** From `<!-- not run: reason -->` above the fence: why a test cannot run it. */
  readonly notRun: string | undefined;
}

/** All blocks with a language, in order. An unclosed fence is an error. */
export function blocksOf(root: string, file: string): Block[] {
  return parseBlocks(readFileSync(join(root, file), "utf8"), file);
}

export function parseBlocks(markdown: string, file: string): Block[] {
  const blocks: Block[] = [];
  let open:
    | { line: number; fence: string; language: string; notRun: string | undefined }
    | undefined;
  let body: string[] = [];
  let notRun: string | undefined;
  for (const [index, line] of markdown.split("\n").entries()) {
    const [, indent = "", fence, language = ""] = /^( *)(```+)(\S*)/.exec(line) ?? [];
    if (open === undefined) {
      if (fence === undefined) {
        if (line.trim() !== "") notRun = /^ *<!-- not run: (.+) -->$/.exec(line)?.[1];
        continue;
      }
      open = { line: index + 1, fence: indent + fence, language, notRun };
      body = [];
      continue;
    }
    if (line.trimEnd() !== open.fence) {
      body.push(line.slice(indentOf(open.fence)));
      continue;
    }
    const { line: at, language: named, notRun: reason } = open;
    if (named !== "") {
      const text = body.join("\n");
      blocks.push({ place: `${file}:${at}`, file, language: named, text, notRun: reason });
    }
    open = undefined;
    notRun = undefined;
  }
  if (open !== undefined) throw new Error(`${file}:${open.line} has no end`);
  return blocks;
}

const indentOf = (fence: string) => fence.length - fence.trimStart().length;
