import type { Json } from "#base/json.ts";

const CONTEXT = 3;

/** How the JSON of one value differs from that of another, as `diff -u` shows it. */
export function unifiedDiff(before: Json, after: Json): string {
  const [a, b] = [linesOf(before), linesOf(after)];
  const edits = editsOf(a, b);
  const changed = edits.flatMap((edit, position) => (edit.mark === " " ? [] : [position]));
  const [first] = changed;
  if (first === undefined) return "";
  const hunks: [number, number][] = [[first, first]];
  for (const position of changed) {
    const last = hunks.at(-1);
    if (last !== undefined && position - last[1] <= 2 * CONTEXT) last[1] = position;
    else hunks.push([position, position]);
  }
  const texts = hunks.map(([from, to]) => {
    const shown = edits.slice(Math.max(0, from - CONTEXT), to + CONTEXT + 1);
    const lines = shown.map(({ mark, line }) => `${mark}${line}\n`);
    return `@@ -${range(shown, "-", edits)} +${range(shown, "+", edits)} @@\n${lines.join("")}`;
  });
  return texts.join("");
}

interface Edit {
  mark: " " | "-" | "+";
  line: string;
}

const linesOf = (value: Json) => JSON.stringify(value, null, 1).split("\n");

/** The shortest way from one list of lines to another, what goes before what comes. */
function editsOf(a: readonly string[], b: readonly string[]): Edit[] {
  // common[i][j]: how many lines the tails from i and from j have in common.
  const common = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  const at = (i: number, j: number) => common[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    const row = common[i];
    for (let j = b.length - 1; row !== undefined && j >= 0; j--) {
      row[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const edits: Edit[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]];
    if (left !== undefined && left === right) {
      edits.push({ mark: " ", line: left });
      i++;
      j++;
    } else if (left !== undefined && (right === undefined || at(i + 1, j) >= at(i, j + 1))) {
      edits.push({ mark: "-", line: left });
      i++;
    } else {
      edits.push({ mark: "+", line: right ?? "" });
      j++;
    }
  }
  return edits;
}

function range(shown: readonly Edit[], side: "-" | "+", edits: readonly Edit[]): string {
  const [first] = shown;
  const start = first === undefined ? 0 : edits.indexOf(first);
  const isOn = ({ mark }: Edit) => mark === " " || mark === side;
  const before = edits.slice(0, start).filter(isOn).length;
  const count = shown.filter(isOn).length;
  const line = count === 0 ? before : before + 1;
  return count === 1 ? `${line}` : `${line},${count}`;
}
