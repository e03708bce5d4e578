import type { LogFields, LogLevel, LogValue } from "./log.ts";

/** klog has no letter for debug: its verbose lines are I, too. */
const LETTER: Record<LogLevel, string> = { debug: "I", info: "I", warn: "W", error: "E" };

/**
 * One line as Kubernetes' own components print it:
 * `I0830 03:55:42.221143 1 file.ts:557] "message" key="value"`, in local time like klog.
 */
export function klogLine(entry: {
  level: LogLevel;
  message: string;
  fields: LogFields;
  atMs: number;
  caller: string;
  pid: number;
}): string {
  let line = `${LETTER[entry.level]}${klogTime(entry.atMs)} ${entry.pid} ${entry.caller}] ${goQuote(entry.message)}`;
  for (const [key, value] of Object.entries(entry.fields)) {
    if (value !== undefined) line += ` ${key}=${formatValue(value)}`;
  }
  return `${line}\n`;
}

function klogTime(ms: number): string {
  const date = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  const micros = Math.floor((date.getMilliseconds() + (ms - Math.floor(ms))) * 1000);
  const day = `${two(date.getMonth() + 1)}${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}.${String(micros).padStart(6, "0")}`;
}

function formatValue(value: Exclude<LogValue, undefined>): string {
  if (typeof value === "string") return goQuote(value);
  if (Array.isArray(value)) return `[${value.map(goQuote).join(",")}]`;
  return String(value);
}

const SHORT_ESCAPES: Record<string, string> = {
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
  '"': '\\"',
};

/** Go's strconv.Quote: one line whatever the text holds. */
export function goQuote(text: string): string {
  // Everything but letters, marks, numbers, punctuation, symbols and the ASCII space is escaped.
  const body = text.replace(/["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, (char) => {
    const short = SHORT_ESCAPES[char];
    if (short !== undefined) return short;
    const code = char.codePointAt(0) as number;
    if (code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
    if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
    return `\\U${code.toString(16).padStart(8, "0")}`;
  });
  return `"${body}"`;
}
