/**
 * What Go's JSON decoder says about a text that is not JSON, e.g. `invalid character 'o' looking for
 * beginning of object key string`: the words that users of Kubernetes know and search for.
 * @param text a text that `JSON.parse` refuses.
 */
export function goJsonError(text: string): string {
  return new Scanner(text).complaint() ?? "invalid JSON";
}

/** Go goes ten times as deep; what walks through objects here needs a stack for it. */
const DEPTH_MAX = 1_000;

/**
 * What Go's JSON decoder says about JSON that is nested too deeply to be walked through.
 * @param text a text that `JSON.parse` takes.
 */
export function goDepthError(text: string): string | undefined {
  if (text.length <= DEPTH_MAX) return undefined;
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/g)) {
    if (token === "}" || token === "]") depth--;
    else if ((token === "{" || token === "[") && ++depth > DEPTH_MAX) {
      return `invalid character '${token}' exceeded max depth`;
    }
  }
  return undefined;
}

const END = "unexpected end of JSON input";
const SPACE = /[ \t\r\n]/;
const LITERALS: Record<string, string> = { t: "true", f: "false", n: "null" };

/** Ends the scan: what is wrong was found. */
class Complaint extends Error {}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  complaint(): string | undefined {
    try {
      this.#value("looking for beginning of value");
      this.#space();
      if (this.#at < this.#text.length) this.#refuse("after top-level value");
      return undefined;
    } catch (error) {
      if (error instanceof Complaint) return error.message;
      throw error;
    }
  }

  #space(): void {
    while (SPACE.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  #refuse(where: string): never {
    const character = this.#text[this.#at];
    if (character === undefined) throw new Complaint(END);
    const shown =
      character === "'" ? `'\\''` : character === '"' ? `'"'` : `'${escaped(character)}'`;
    throw new Complaint(`invalid character ${shown} ${where}`);
  }

  #value(where: string): void {
    this.#space();
    const first = this.#text[this.#at] ?? "";
    const literal = LITERALS[first];
    if (first === "{") this.#object();
    else if (first === "[") this.#list();
    else if (first === '"') this.#string();
    else if (literal !== undefined) this.#literal(literal);
    else if (/[-0-9]/.test(first)) this.#number();
    else this.#refuse(where);
  }

  #object(): void {
    this.#at++;
    this.#space();
    if (this.#text[this.#at] === "}") {
      this.#at++;
      return;
    }
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') this.#refuse("looking for beginning of object key string");
      this.#string();
      this.#space();
      if (this.#text[this.#at] !== ":") this.#refuse("after object key");
      this.#at++;
      this.#value("looking for beginning of value");
      if (this.#isLast("}", "after object key:value pair")) return;
    }
  }

  #list(): void {
    this.#at++;
    this.#space();
    if (this.#text[this.#at] === "]") {
      this.#at++;
      return;
    }
    for (;;) {
      this.#value("looking for beginning of value");
      if (this.#isLast("]", "after array element")) return;
    }
  }

  /** Steps over the comma or the closing bracket that follows a member. */
  #isLast(closing: string, where: string): boolean {
    this.#space();
    const character = this.#text[this.#at];
    if (character !== "," && character !== closing) this.#refuse(where);
    this.#at++;
    return character === closing;
  }

  #string(): void {
    this.#at++;
    for (;;) {
      const character = this.#text[this.#at];
      if (character === undefined) throw new Complaint(END);
      if (character === '"') break;
      if (character < " ") this.#refuse("in string literal");
      this.#at++;
      if (character !== "\\") continue;
      const code = this.#text[this.#at] ?? "";
      if (!/["\\/bfnrtu]/.test(code)) this.#refuse("in string escape code");
      this.#at++;
      if (code !== "u") continue;
      for (let digit = 0; digit < 4; digit++, this.#at++) {
        if (!/[0-9a-fA-F]/.test(this.#text[this.#at] ?? "")) {
          this.#refuse("in \\u hexadecimal character escape");
        }
      }
    }
    this.#at++;
  }

  #literal(word: string): void {
    for (const [index, character] of [...word].entries()) {
      if (this.#text[this.#at] !== character) {
        if (index === 0) this.#refuse("looking for beginning of value");
        this.#refuse(`in literal ${word} (expecting '${character}')`);
      }
      this.#at++;
    }
  }

  #number(): void {
    if (this.#text[this.#at] === "-") this.#at++;
    const isZero = this.#text[this.#at] === "0";
    if (!/\d/.test(this.#text[this.#at] ?? "")) this.#refuse("in numeric literal");
    do this.#at++;
    while (!isZero && /\d/.test(this.#text[this.#at] ?? ""));
    if (this.#text[this.#at] === ".") this.#digitsAfter("after decimal point in numeric literal");
    if (/[eE]/.test(this.#text[this.#at] ?? "")) {
      if (/[-+]/.test(this.#text[this.#at + 1] ?? "")) this.#at++;
      this.#digitsAfter("in exponent of numeric literal");
    }
  }

  #digitsAfter(where: string): void {
    this.#at++;
    if (!/\d/.test(this.#text[this.#at] ?? "")) this.#refuse(where);
    while (/\d/.test(this.#text[this.#at] ?? "")) this.#at++;
  }
}

const escaped = (character: string) => JSON.stringify(character).slice(1, -1);
