import type { JsonObject } from "#base/json.ts";
import { fieldLabelsOf, fieldValue } from "../builtins/field-labels.ts";
import { objectAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { labelValue, qualifiedName } from "../schema/name-rules.ts";
import { badRequest } from "./api-error.ts";

/** Tells whether an object belongs to a list or watch. */
export type Selector = (object: JsonObject) => boolean;

/** What a list or watch asks for; texts as they come in the query. */
export interface Selection {
  readonly labelSelector: string;
  readonly fieldSelector: string;
}

/**
 * The selector of a list or watch.
 * @throws ApiError (400) for a selector that cannot be read, or a field that the kind cannot be selected by.
 */
export function selectorOf(kind: Kind, { labelSelector, fieldSelector }: Selection): Selector {
  const labels = parseLabelSelector(labelSelector);
  const fields = parseFieldSelector(fieldSelector);
  const known = fieldLabelsOf(kind);
  for (const { field } of fields) {
    if (known.includes(field)) continue;
    throw badRequest(unknownField(kind, field, known));
  }
  if (labels.length === 0 && fields.length === 0) return () => true;
  return (object) => {
    const own = objectAt(objectAt(object, "metadata"), "labels");
    return (
      labels.every((requirement) => meets(requirement, own[requirement.key])) &&
      fields.every(({ field, value, not }) => (fieldValue(kind, object, field) === value) !== not)
    );
  };
}

/** Kinds with labels of their own say it in one way, those with the usual two in another. */
function unknownField(kind: Kind, field: string, known: readonly string[]): string {
  if (kind.custom || known.length > 2) return `field label not supported: ${field}`;
  const names = known.map((name) => JSON.stringify(name)).join(", ");
  return `${JSON.stringify(field)} is not a known field selector: only ${names}`;
}

type Operator = "in" | "notin" | "exists" | "!" | "gt" | "lt";
interface Requirement {
  readonly key: string;
  readonly operator: Operator;
  readonly values: readonly string[];
}

function meets({ operator, values }: Requirement, value: unknown): boolean {
  const text = typeof value === "string" ? value : undefined;
  switch (operator) {
    case "in":
      return text !== undefined && values.includes(text);
    case "notin":
      return text === undefined || !values.includes(text);
    case "exists":
      return text !== undefined;
    case "!":
      return text === undefined;
    case "gt":
      return /^-?\d+$/.test(text ?? "") && Number(text) > Number(values[0]);
    case "lt":
      return /^-?\d+$/.test(text ?? "") && Number(text) < Number(values[0]);
  }
}

/** A `!` within a word belongs to it, so that the word is refused as a whole. */
const TOKEN = /\s*(==|!=|=|!|<|>|\(|\)|,|(?:[^\s=!<>(),]|(?<=[^\s=!<>(),])!(?!=))+)/y;

/** Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`, the syntax of `kubectl -l`. */
function parseLabelSelector(text: string): Requirement[] {
  const tokens: string[] = [];
  const source = text.trimEnd();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < source.length) {
    const token = TOKEN.exec(source)?.[1];
    if (token === undefined) break;
    tokens.push(token);
  }
  const requirements: Requirement[] = [];
  let at = 0;
  const next = () => tokens[at++];
  while (at < tokens.length) {
    requirements.push(requirement(next, () => tokens[at]));
    const separator = next();
    if (separator === undefined) break;
    if (separator !== ",")
      throw badRequest(`found '${separator}', expected: ',' or 'end of string'`);
    if (at === tokens.length) throw badRequest("found '', expected: identifier after ','");
  }
  return requirements;
}

function requirement(next: () => string | undefined, peek: () => string | undefined): Requirement {
  const first = next() ?? "";
  if (first === "!") {
    return { key: checkedKey(next() ?? ""), operator: "!", values: [] };
  }
  const key = checkedKey(first);
  const following = peek();
  if (following === undefined || following === ",") return { key, operator: "exists", values: [] };
  const operator = next() ?? "";
  switch (operator) {
    case "=":
    case "==":
    case "!=": {
      const isEmpty = peek() === undefined || peek() === ",";
      const value = checkedValue(key, isEmpty ? "" : identifier(next()));
      return { key, operator: operator === "!=" ? "notin" : "in", values: [value] };
    }
    case ">":
    case "<": {
      const value = next() ?? "";
      if (!/^-?\d+$/.test(value)) {
        throw badRequest(
          `unable to parse requirement: values[0][${key}]: Invalid value: ${JSON.stringify(value)}: for 'Gt', 'Lt' operators, the value must be an integer`,
        );
      }
      return { key, operator: operator === ">" ? "gt" : "lt", values: [value] };
    }
    case "in":
    case "notin":
      return { key, operator, values: valueList(key, next) };
    default:
      throw unreadable(`found '${operator}', expected: in, notin, =, ==, !=, gt, lt`);
  }
}

function valueList(key: string, next: () => string | undefined): string[] {
  const opening = next() ?? "";
  if (opening !== "(") throw unreadable(`found '${opening}' expected: '('`);
  const values: string[] = [];
  let value = "";
  for (let token = next(); token !== ")"; token = next()) {
    if (token === undefined) throw unreadable("found '', expected: ',' or ')'");
    if (token === ",") {
      values.push(checkedValue(key, value));
      value = "";
    } else value = identifier(token);
  }
  values.push(checkedValue(key, value));
  return values;
}

function identifier(token: string | undefined): string {
  if (token !== undefined && !/^[=!<>(),]/.test(token)) return token;
  throw unreadable(`found '${token ?? ""}', expected: identifier`);
}

const unreadable = (why: string) => badRequest(`unable to parse requirement: ${why}`);

function checkedKey(key: string): string {
  const [wrong] = qualifiedName(key);
  if (wrong === undefined) return key;
  throw badRequest(
    `unable to parse requirement: <nil>: Invalid value: ${JSON.stringify(key)}: ${wrong}`,
  );
}

function checkedValue(key: string, value: string): string {
  const [wrong] = labelValue(value);
  if (wrong === undefined) return value;
  throw badRequest(
    `unable to parse requirement: values[0][${key}]: Invalid value: ${JSON.stringify(value)}: ${wrong}`,
  );
}

interface FieldRequirement {
  readonly field: string;
  readonly value: string;
  readonly not: boolean;
}

/** Reads `metadata.name=x,status.phase!=Running`; a backslash makes `,`, `=` and itself literal. */
function parseFieldSelector(text: string): FieldRequirement[] {
  const terms = text.match(/(?:\\.|[^,\\])+/g) ?? [];
  return terms.map((term) => {
    const match = /^((?:\\.|[^=!\\])+)(==|!=|=)((?:\\.|[^\\])*)$/.exec(term.trim());
    if (match === null) {
      throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    }
    const [, field = "", operator, value = ""] = match;
    return { field, value: value.replace(/\\(.)/g, "$1"), not: operator === "!=" };
  });
}
