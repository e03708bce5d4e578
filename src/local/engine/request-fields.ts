import { isObject, type JsonObject } from "#base/json.ts";
import { ApiError } from "./http-errors.ts";
import { PythonJsonError, parseJson, pythonRepr } from "./python-json.ts";

/**
 * Reads a request's body as vLLM's own models do, with their words for what is wrong. Written here
 * and not with a schema library, because the words are the contract, and to keep the start of the
 * process short.
 */

type FieldFault = { type: string; loc: string; msg: string; input: unknown; ctx?: JsonObject };

const TEXT_SHOWN_MAX = 200;
const FAULTS_SHOWN_MAX = 10;

/** Values are shown bounded: a text is cut, a container only counted. */
function summary(input: unknown): string {
  if (Array.isArray(input)) return `<list of ${input.length} items>`;
  if (isObject(input)) return `<dict of ${Object.keys(input).length} items>`;
  const text = typeof input === "string" ? input : pythonRepr(input);
  return text.length > TEXT_SHOWN_MAX ? `${text.slice(0, TEXT_SHOWN_MAX)}...[truncated]` : text;
}

function validationError(faults: FieldFault[]): ApiError {
  const label = faults.length === 1 ? "error" : "errors";
  const lines = faults
    .slice(0, FAULTS_SHOWN_MAX)
    .map((fault) => `  ${pythonRepr({ ...fault, input: summary(fault.input) })}`);
  const more = faults.length - lines.length;
  if (more > 0) lines.push(`  ...and ${more} more ${label}`);
  const message = `${faults.length} validation ${label}:\n${lines.join("\n")}`;
  return new ApiError(400, "Bad Request", message, faults[0]?.loc ?? null);
}

/** Parses a request's body. @throws ApiError when it is not a JSON object */
export function parseBody(contentType: string | undefined, body: Uint8Array): JsonObject {
  if (contentType?.toLowerCase().split(";")[0] !== "application/json") {
    const message =
      "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed";
    throw new ApiError(400, "Bad Request", message);
  }
  if (body.byteLength === 0) {
    throw validationError([{ type: "missing", loc: "body", msg: "Field required", input: null }]);
  }
  const value = parseText(body);
  if (isObject(value)) return value;
  const msg = "Input should be a valid dictionary or object to extract fields from";
  throw validationError([{ type: "model_attributes_type", loc: "body", msg, input: value }]);
}

function parseText(body: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new ApiError(400, "Bad Request", "There was an error parsing the body");
  }
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof PythonJsonError)) throw error;
    const { position, reason } = error;
    throw validationError([
      {
        type: "json_invalid",
        loc: `body.${position}`,
        msg: "JSON decode error",
        input: {},
        ctx: { error: reason },
      },
    ]);
  }
}

type Parsed<T> = { value: T } | { type: string; msg: string };

/** Reads fields one by one, collects what is wrong, and throws it all in `finish`. */
export class FieldReader {
  readonly #body: JsonObject;
  readonly #faults: FieldFault[] = [];

  constructor(body: JsonObject) {
    this.#body = body;
  }

  /** A text that must be there. */
  requiredText(name: string): string {
    return this.#read(name, text) ?? this.#missing(name, "");
  }

  /** Undefined when absent or null. */
  text(name: string): string | undefined {
    return this.#read(name, text);
  }

  integer(name: string): number | undefined {
    return this.#read(name, integer);
  }

  number(name: string): number | undefined {
    return this.#read(name, number);
  }

  boolean(name: string): boolean | undefined {
    return this.#read(name, boolean);
  }

  /** A text or a list of texts, as a list. */
  texts(name: string, countMax: number): string[] {
    return this.#read(name, (value) => textList(value, countMax)) ?? [];
  }

  integers(name: string): number[] {
    return this.#read(name, integerList) ?? [];
  }

  /** An object, undefined when absent or null. */
  object(name: string): JsonObject | undefined {
    return this.#read(name, (value) =>
      isObject(value)
        ? { value }
        : { type: "dict_type", msg: "Input should be a valid dictionary" },
    );
  }

  /** A list that must be there. */
  requiredList(name: string): unknown[] {
    const list = this.#read(name, (value) =>
      Array.isArray(value) ? { value } : { type: "list_type", msg: "Input should be a valid list" },
    );
    return list ?? this.#missing(name, []);
  }

  /** @throws ApiError with everything that was wrong */
  finish(): void {
    if (this.#faults.length > 0) throw validationError(this.#faults);
  }

  #read<T>(name: string, parse: (value: unknown) => Parsed<T>): T | undefined {
    const input = this.#body[name];
    if (input === undefined || input === null) return undefined;
    const parsed = parse(input);
    if ("value" in parsed) return parsed.value;
    this.#faults.push({ type: parsed.type, loc: `body.${name}`, msg: parsed.msg, input });
    return undefined;
  }

  #missing<T>(name: string, stand: T): T {
    const loc = `body.${name}`;
    if (this.#body[name] === undefined) {
      this.#faults.push({ type: "missing", loc, msg: "Field required", input: this.#body });
    } else if (this.#body[name] === null) {
      const kind = Array.isArray(stand) ? "list" : "string";
      this.#faults.push({
        type: `${kind}_type`,
        loc,
        msg: `Input should be a valid ${kind}`,
        input: null,
      });
    }
    return stand;
  }
}

function text(value: unknown): Parsed<string> {
  return typeof value === "string"
    ? { value }
    : { type: "string_type", msg: "Input should be a valid string" };
}

function integer(value: unknown): Parsed<number> {
  if (typeof value === "boolean") return { value: Number(value) };
  if (typeof value === "string") {
    if (/^\s*[-+]?\d+\s*$/.test(value)) return { value: Number(value) };
    const msg = "Input should be a valid integer, unable to parse string as an integer";
    return { type: "int_parsing", msg };
  }
  if (typeof value !== "number")
    return { type: "int_type", msg: "Input should be a valid integer" };
  if (Number.isInteger(value)) return { value };
  const msg = "Input should be a valid integer, got a number with a fractional part";
  return { type: "int_from_float", msg };
}

function number(value: unknown): Parsed<number> {
  if (typeof value === "number") return { value };
  if (typeof value === "boolean") return { value: Number(value) };
  if (typeof value === "string") {
    if (value.trim() !== "" && Number.isFinite(Number(value))) return { value: Number(value) };
    const msg = "Input should be a valid number, unable to parse string as a number";
    return { type: "float_parsing", msg };
  }
  return { type: "float_type", msg: "Input should be a valid number" };
}

const TRUE_WORDS = ["1", "on", "t", "true", "y", "yes"];
const FALSE_WORDS = ["0", "off", "f", "false", "n", "no"];

function boolean(value: unknown): Parsed<boolean> {
  if (typeof value === "boolean") return { value };
  const word = String(value).toLowerCase();
  if (typeof value === "string" || typeof value === "number") {
    if (TRUE_WORDS.includes(word)) return { value: true };
    if (FALSE_WORDS.includes(word)) return { value: false };
    return {
      type: "bool_parsing",
      msg: "Input should be a valid boolean, unable to interpret input",
    };
  }
  return { type: "bool_type", msg: "Input should be a valid boolean" };
}

function textList(value: unknown, countMax: number): Parsed<string[]> {
  if (typeof value === "string") return { value: [value] };
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    return { type: "string_type", msg: "Input should be a valid string" };
  }
  if (value.length <= countMax) return { value };
  const msg = `List should have at most ${countMax} items after validation, not ${value.length}`;
  return { type: "too_long", msg };
}

function integerList(value: unknown): Parsed<number[]> {
  if (!Array.isArray(value)) return { type: "list_type", msg: "Input should be a valid list" };
  return value.every((item) => Number.isInteger(item))
    ? { value: value as number[] }
    : { type: "int_type", msg: "Input should be a valid integer" };
}
