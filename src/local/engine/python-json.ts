/**
 * vLLM is a Python programme, and two of its answers quote Python: the position and words of a JSON
 * error, and values as `repr` prints them. Clients and operators search for these words, so they are
 * made here, in one place.
 */

/** Where and why a text is not JSON, in the words of CPython's `json` module. */
export class PythonJsonError extends Error {
  override readonly name = "PythonJsonError";
  /** The reason alone, for example `Expecting value`. */
  readonly reason: string;
  /** Offset of the error in code points. */
  readonly position: number;

  constructor(reason: string, text: string, offset: number) {
    const before = text.slice(0, offset);
    const line = before.split("\n").length;
    const column = [...before.slice(before.lastIndexOf("\n") + 1)].length + 1;
    const position = [...before].length;
    super(`${reason}: line ${line} column ${column} (char ${position})`);
    this.reason = reason;
    this.position = position;
  }
}

/** `JSON.parse` with CPython's error. @throws PythonJsonError */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const { reason, offset } = locateError(text);
    throw new PythonJsonError(reason, text, offset);
  }
}

/** Nesting beyond this ends the search for a syntax error, so that hostile input cannot exhaust the stack. */
const DEPTH_MAX = 500;

type Found = { reason: string; offset: number };

/** Thrown by the scanner at the first error; never leaves this file. */
class Stop extends Error {
  readonly found: Found;
  constructor(reason: string, offset: number) {
    super(reason);
    this.found = { reason, offset };
  }
}

function locateError(text: string): Found {
  try {
    const end = skipSpace(text, scanValue(text, skipSpace(text, 0), 0));
    if (end < text.length) return { reason: "Extra data", offset: end };
  } catch (error) {
    if (error instanceof Stop) return error.found;
    throw error;
  }
  return { reason: "Expecting value", offset: 0 };
}

function skipSpace(text: string, at: number): number {
  let index = at;
  while (index < text.length && " \t\n\r".includes(text[index] as string)) index++;
  return index;
}

const ATOM = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?)/y;

function scanValue(text: string, at: number, depth: number): number {
  if (depth > DEPTH_MAX) throw new Stop("Expecting value", at);
  if (text[at] === '"') return scanString(text, at);
  if (text[at] === "{") return scanObject(text, at, depth);
  if (text[at] === "[") return scanArray(text, at, depth);
  ATOM.lastIndex = at;
  if (!ATOM.test(text)) throw new Stop("Expecting value", at);
  return ATOM.lastIndex;
}

function scanObject(text: string, at: number, depth: number): number {
  let index = skipSpace(text, at + 1);
  if (text[index] === "}") return index + 1;
  for (;;) {
    if (text[index] !== '"') {
      throw new Stop("Expecting property name enclosed in double quotes", index);
    }
    index = skipSpace(text, scanString(text, index));
    if (text[index] !== ":") throw new Stop("Expecting ':' delimiter", index);
    index = skipSpace(text, scanValue(text, skipSpace(text, index + 1), depth + 1));
    if (text[index] === "}") return index + 1;
    if (text[index] !== ",") throw new Stop("Expecting ',' delimiter", index);
    index = skipSpace(text, index + 1);
  }
}

function scanArray(text: string, at: number, depth: number): number {
  let index = skipSpace(text, at + 1);
  if (text[index] === "]") return index + 1;
  for (;;) {
    index = skipSpace(text, scanValue(text, index, depth + 1));
    if (text[index] === "]") return index + 1;
    if (text[index] !== ",") throw new Stop("Expecting ',' delimiter", index);
    index = skipSpace(text, index + 1);
  }
}

function scanString(text: string, at: number): number {
  let index = at + 1;
  for (;;) {
    const char = text[index];
    if (char === undefined) throw new Stop("Unterminated string starting at", at);
    if (char === '"') return index + 1;
    if (char < " ") throw new Stop("Invalid control character at", index);
    if (char !== "\\") index++;
    else if (text[index + 1] === "u") {
      if (!/^[0-9a-fA-F]{4}$/.test(text.slice(index + 2, index + 6))) {
        throw new Stop("Invalid \\uXXXX escape", index + 2);
      }
      index += 6;
    } else if (text[index + 1] === undefined) {
      throw new Stop("Unterminated string starting at", at);
    } else if ('"\\/bfnrt'.includes(text[index + 1] as string)) index += 2;
    else throw new Stop("Invalid \\escape", index);
  }
}

/** A JSON value as Python's `repr` prints it: `'text'`, `True`, `None`, `[1, 2]`, `{'a': 1}`. */
export function pythonRepr(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return reprString(value);
  if (Array.isArray(value)) return `[${value.map(pythonRepr).join(", ")}]`;
  if (typeof value === "object") {
    const items = Object.entries(value).map(
      ([key, item]) => `${reprString(key)}: ${pythonRepr(item)}`,
    );
    return `{${items.join(", ")}}`;
  }
  return String(value);
}

const SHORT_ESCAPES: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function reprString(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = "";
  for (const char of text) {
    if (char === "\\" || char === quote) out += `\\${char}`;
    else if (char < " " || char === "\x7f") {
      out += SHORT_ESCAPES[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
    } else out += char;
  }
  return quote + out + quote;
}
