/** Character classes that Go writes in brackets and JavaScript does not know. */
const POSIX_CLASSES: { readonly [name: string]: string } = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\x00-\\x7F",
  blank: "\\t ",
  cntrl: "\\x00-\\x1F\\x7F",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

const compiled = new Map<string, RegExp>();
/** Patterns kept ready; CRDs hold a few dozen. */
const COMPILED_MAX = 1000;

/**
 * A regular expression in Go's syntax (RE2), as CRDs' `pattern` and CEL's `matches` use it.
 * @throws SyntaxError when it is not one.
 */
export function goRegExp(pattern: string): RegExp {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  const result = compile(pattern);
  if (compiled.size >= COMPILED_MAX) compiled.clear();
  compiled.set(pattern, result);
  return result;
}

function compile(pattern: string): RegExp {
  // Go allows flags in the middle of a pattern; JavaScript wants them around a group or outside.
  const leading = /^(\^?)\(\?([ims]+)\)/.exec(pattern);
  const flags = leading?.[2] ?? "";
  const rest = leading === null ? pattern : (leading[1] ?? "") + pattern.slice(leading[0].length);
  const source = rest
    .replace(/\\Q(.*?)(\\E|$)/gs, (_, text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"))
    .replace(/\[:(\w+):\]/g, (whole, name: string) => POSIX_CLASSES[name] ?? whole)
    .replaceAll("(?P<", "(?<")
    .replace(/(?<!\\)((?:\\\\)*)\\z/g, "$1(?![\\s\\S])")
    .replace(/(?<!\\)((?:\\\\)*)\\A/g, "$1(?<![\\s\\S])");
  try {
    return new RegExp(source, `u${flags}`);
  } catch {
    // With `u` JavaScript refuses needless escapes such as `\-`, which Go allows.
    return new RegExp(source, flags);
  }
}
