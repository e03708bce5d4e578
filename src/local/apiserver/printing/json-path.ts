import { isObject, type Json, jsonEqual } from "#base/json.ts";

type Step =
  | { kind: "field"; name: string }
  | { kind: "index"; index: number }
  | { kind: "slice"; from: number; to: number | undefined }
  | { kind: "all" }
  | { kind: "descend" }
  | { kind: "filter"; path: Step[]; operator: string | undefined; operand: Json | Step[] };

/** Compiled paths that are kept; CRDs hold a few dozen. */
const COMPILED_MAX = 1000;
const compiled = new Map<string, Step[] | undefined>();

/**
 * Everything that a JSONPath, in the form that CRDs use (`.status.conditions[?(@.type=="Ready")].status`),
 * finds in a value. A path that cannot be read finds nothing.
 */
export function findJsonPath(path: string, value: Json): Json[] {
  let steps = compiled.get(path);
  if (!compiled.has(path)) {
    if (compiled.size >= COMPILED_MAX) compiled.clear();
    steps = parseSteps(path);
    compiled.set(path, steps);
  }
  return steps === undefined ? [] : walk(steps, [value]);
}

const TOKEN =
  /^(?:(\.\.)|\.?\[\s*(?:'([^']*)'|"([^"]*)"|(-?\d+)|(-?\d*):(-?\d*)|(\*)|\?\(\s*@(.*?)\s*\))\s*\]|\.(\*)|\.?((?:\\.|[^.[\]\\])+))/s;

function parseSteps(path: string): Step[] | undefined {
  const steps: Step[] = [];
  let rest = path;
  while (rest !== "" && rest !== ".") {
    const match = TOKEN.exec(rest);
    if (match === null) return undefined;
    const step = stepOf(match);
    if (step === undefined) return undefined;
    steps.push(step);
    rest = rest.slice(match[0].length);
  }
  return steps;
}

function stepOf(match: RegExpExecArray): Step | undefined {
  const [, descend, single, double, index, from, to, star, filter, wildcard, name] = match;
  if (descend !== undefined) return { kind: "descend" };
  const quoted = single ?? double;
  if (quoted !== undefined) return { kind: "field", name: quoted };
  if (index !== undefined) return { kind: "index", index: Number(index) };
  if (from !== undefined) {
    return { kind: "slice", from: Number(from), to: to === "" ? undefined : Number(to) };
  }
  if (star !== undefined || wildcard !== undefined) return { kind: "all" };
  if (filter !== undefined) return parseFilter(filter);
  return { kind: "field", name: (name ?? "").replace(/\\(.)/g, "$1") };
}

function parseFilter(text: string): Step | undefined {
  const match = /^(.*?)\s*(?:(==|!=|<=|>=|<|>)\s*(.*))?$/s.exec(text);
  const path = parseSteps(match?.[1] ?? "");
  if (path === undefined) return undefined;
  const operator = match?.[2];
  const operand = operator === undefined ? null : parseOperand(match?.[3] ?? "");
  return operand === undefined ? undefined : { kind: "filter", path, operator, operand };
}

function parseOperand(text: string): Json | Step[] | undefined {
  const quoted = /^'([^']*)'$|^"([^"]*)"$/.exec(text);
  if (quoted !== null) return quoted[1] ?? quoted[2] ?? "";
  if (text === "true" || text === "false") return text === "true";
  if (text.startsWith("@")) return parseSteps(text.slice(1));
  const number = Number(text);
  return text === "" || Number.isNaN(number) ? undefined : number;
}

const walk = (steps: readonly Step[], values: Json[]): Json[] =>
  steps.reduce((found, step) => found.flatMap((value) => take(step, value)), values);

function take(step: Step, value: Json): Json[] {
  switch (step.kind) {
    case "field":
      return isObject(value) && Object.hasOwn(value, step.name) ? [value[step.name] as Json] : [];
    case "index":
      return Array.isArray(value) ? value.slice(step.index).slice(0, 1) : [];
    case "slice":
      return Array.isArray(value) ? value.slice(step.from, step.to) : [];
    case "all":
      return childrenOf(value);
    case "descend":
      return descendants(value);
    case "filter":
      return childrenOf(value).filter((item) => matches(step, item));
  }
}

function childrenOf(value: Json): Json[] {
  if (Array.isArray(value)) return value;
  return isObject(value) ? Object.values(value) : [];
}

const descendants = (value: Json): Json[] => [value, ...childrenOf(value).flatMap(descendants)];

function matches(filter: Extract<Step, { kind: "filter" }>, item: Json): boolean {
  const [left] = walk(filter.path, [item]);
  if (left === undefined) return false;
  const { operator, operand } = filter;
  if (operator === undefined) return true;
  const isPath =
    Array.isArray(operand) && operand.every((step) => isObject(step) && "kind" in step);
  const right = isPath ? walk(operand as Step[], [item])[0] : (operand as Json);
  if (right === undefined) return false;
  if (operator === "==") return jsonEqual(left, right);
  if (operator === "!=") return !jsonEqual(left, right);
  const [a, b] = typeof left === typeof right ? [left, right] : [null, null];
  if (a === null || b === null) return false;
  return operator === "<" ? a < b : operator === ">" ? a > b : operator === "<=" ? a <= b : a >= b;
}
