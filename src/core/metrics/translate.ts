import { checkSample, MetricTextError } from "./sample-line.ts";

/** A family as it stands in the text: `text[start, end)`, comments and samples. */
interface Family {
  name: string;
  type: string;
  start: number;
  end: number;
}

/** What may follow a family's name in the names of its samples, by its type. */
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  counter: ["", "_total", "_created"],
  gauge: [""],
  histogram: ["_bucket", "_sum", "_count", "_created"],
  summary: ["", "_sum", "_count", "_created"],
  gaugehistogram: ["_bucket", "_gsum", "_gcount"],
  info: ["_info"],
  stateset: [""],
  untyped: [""],
  unknown: [""],
};

/**
 * Adds to a Prometheus text a copy of each family in `names` under its other name, right before the
 * original: labels, values, buckets, timestamps, exemplars, help and order stay as they are, and
 * everything else is passed on untouched.
 * @param names engine's family name -> other name. Counters go by their name with `_total`.
 * @throws MetricTextError when the text is not a Prometheus exposition; then nothing of it is to be
 * trusted to a rewriter.
 */
export function translateMetrics(text: string, names: Readonly<Record<string, string>>): string {
  const families = familiesOf(text);
  const present = new Set(families.map((family) => family.name));
  let output = "";
  let copied = 0;
  for (const family of families) {
    const target = targetOf(family, names);
    // An engine that speaks the other language already must not have a family twice.
    if (target === undefined || present.has(target)) continue;
    output += text.slice(copied, family.start) + renamed(text, family, target);
    copied = family.start;
  }
  return output + text.slice(copied);
}

function targetOf(family: Family, names: Readonly<Record<string, string>>): string | undefined {
  const { name, type } = family;
  if (Object.hasOwn(names, name)) return names[name];
  // OpenMetrics leaves `_total` to the sample; the older text has it in the family's name.
  const total = `${name}_total`;
  if (type === "counter" && Object.hasOwn(names, total))
    return names[total]?.replace(/_total$/, "");
  return undefined;
}

function renamed(text: string, { name, start, end }: Family, target: string): string {
  let copy = "";
  for (const line of text.slice(start, end).split("\n")) {
    if (line === "") continue;
    const comment = /^#\s+(?:HELP|TYPE|UNIT)\s+/.exec(line);
    const prefix = comment?.[0] ?? "";
    // Other comments belong to nobody and are not said twice.
    if (comment === null && line.startsWith("#")) continue;
    copy += `${prefix}${target}${line.slice(prefix.length + name.length)}\n`;
  }
  return copy;
}

function familiesOf(text: string): Family[] {
  const families: Family[] = [];
  let current: Family | undefined;
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    const seen = readLine(text, start, end);
    if (seen !== undefined) {
      if (current === undefined || !belongs(current, seen)) {
        current = { name: seen.name, type: "untyped", start, end };
        families.push(current);
      }
      if (seen.type !== undefined) current.type = seen.type;
      current.end = Math.min(end + 1, text.length);
    }
    start = end + 1;
  }
  return families;
}

/** A line that is part of a family; undefined for an empty line or another comment. */
interface Line {
  name: string;
  isSample: boolean;
  type: string | undefined;
}

const HASH = 0x23;

function readLine(text: string, start: number, end: number): Line | undefined {
  if (text.charCodeAt(start) === HASH) return readComment(text.slice(start, end));
  if (isEmpty(text, start, end)) return undefined;
  const nameEnd = checkSample(text, start, end);
  return { name: text.slice(start, nameEnd), isSample: true, type: undefined };
}

function isEmpty(text: string, start: number, end: number): boolean {
  return start === end || (text.charCodeAt(start) <= 0x20 && text.slice(start, end).trim() === "");
}

function readComment(line: string): Line | undefined {
  const match = /^#\s+(HELP|TYPE|UNIT)\s+([a-zA-Z_:][\w:]*)(?:[ \t]+(.*))?$/.exec(line);
  if (match === null) {
    if (/^#\s+(HELP|TYPE)(\s|$)/.test(line))
      throw new MetricTextError(`bad comment: ${line.slice(0, 200)}`);
    return undefined;
  }
  const [, word, name = "", rest = ""] = match;
  const type = rest.trim();
  if (word === "TYPE" && !Object.hasOwn(SUFFIXES, type)) {
    throw new MetricTextError(`unknown type: ${line.slice(0, 200)}`);
  }
  return { name, isSample: false, type: word === "TYPE" ? type : undefined };
}

function belongs(family: Family, line: Line): boolean {
  if (line.name === family.name) return true;
  if (!line.isSample || !line.name.startsWith(family.name)) return false;
  const suffix = line.name.slice(family.name.length);
  return SUFFIXES[family.type]?.includes(suffix) === true;
}
