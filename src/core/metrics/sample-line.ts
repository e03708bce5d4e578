/** A line of a Prometheus exposition is not what the format allows. */
export class MetricTextError extends Error {
  override readonly name = "MetricTextError";
}

const SPACE = 0x20;
const TAB = 0x09;
const RETURN = 0x0d;
const HASH = 0x23;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const EQUALS = 0x3d;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const COLON = 0x3a;
const UNDERSCORE = 0x5f;

const isLetter = (c: number) => (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a);
const isNameChar = (c: number) =>
  isLetter(c) || (c >= 0x30 && c <= 0x39) || c === UNDERSCORE || c === COLON;
const isNameStart = (c: number) => isLetter(c) || c === UNDERSCORE || c === COLON;
/** A carriage return before the line's end is none of the value. */
const isBlank = (c: number) => c === SPACE || c === TAB || c === RETURN;

/**
 * Checks the sample in `text[start, end)` and returns where its name ends.
 * One pass over the characters: expositions are large, and scraped every few seconds.
 * @throws MetricTextError
 */
export function checkSample(text: string, start: number, end: number): number {
  const fail = () => new MetricTextError(`not a sample: ${text.slice(start, end).slice(0, 200)}`);
  if (!isNameStart(text.charCodeAt(start))) throw fail();
  let nameEnd = start + 1;
  while (nameEnd < end && isNameChar(text.charCodeAt(nameEnd))) nameEnd++;
  let at = skipBlanks(text, nameEnd, end);
  if (text.charCodeAt(at) === OPEN) at = skipLabels(text, at, end, fail);
  else if (at === nameEnd) throw fail();
  const valueAt = skipBlanks(text, at, end);
  const valueEnd = skipWord(text, valueAt, end);
  if (!isNumber(text.slice(valueAt, valueEnd))) throw fail();
  let rest = skipBlanks(text, valueEnd, end);
  if (rest < end && text.charCodeAt(rest) !== HASH) {
    const timeEnd = skipWord(text, rest, end);
    if (!isNumber(text.slice(rest, timeEnd))) throw fail();
    rest = skipBlanks(text, timeEnd, end);
  }
  // What OpenMetrics puts behind a sample: the labels and the value of one observation.
  if (rest < end && !text.startsWith("# {", rest)) throw fail();
  return nameEnd;
}

function skipWord(text: string, from: number, end: number): number {
  let at = from;
  while (at < end && !isBlank(text.charCodeAt(at))) at++;
  return at;
}

function skipBlanks(text: string, from: number, end: number): number {
  let at = from;
  while (at < end && isBlank(text.charCodeAt(at))) at++;
  return at;
}

/** From `{` to behind `}`. */
function skipLabels(text: string, open: number, end: number, fail: () => Error): number {
  let at = skipBlanks(text, open + 1, end);
  while (at < end && text.charCodeAt(at) !== CLOSE) {
    if (!isNameStart(text.charCodeAt(at))) throw fail();
    while (at < end && isNameChar(text.charCodeAt(at))) at++;
    at = skipBlanks(text, at, end);
    if (text.charCodeAt(at) !== EQUALS) throw fail();
    at = skipBlanks(text, at + 1, end);
    at = skipBlanks(text, skipQuoted(text, at, end, fail), end);
    const next = text.charCodeAt(at);
    if (next === COMMA) at = skipBlanks(text, at + 1, end);
    else if (next !== CLOSE) throw fail();
  }
  if (at >= end) throw fail();
  return at + 1;
}

function skipQuoted(text: string, open: number, end: number, fail: () => Error): number {
  if (text.charCodeAt(open) !== QUOTE) throw fail();
  let at = open + 1;
  while (at < end) {
    const c = text.charCodeAt(at);
    if (c === QUOTE) return at + 1;
    at += c === BACKSLASH ? 2 : 1;
  }
  throw fail();
}

function isNumber(word: string): boolean {
  return (word !== "" && !Number.isNaN(Number(word))) || /^([+-]?inf(inity)?|nan)$/i.test(word);
}
