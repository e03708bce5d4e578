import {
  type Environment,
  EvaluationError,
  Optional,
  type ParseResult,
} from "@marcbachmann/cel-js";
import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { kubernetesCel } from "./cel-library.ts";
import { celValue } from "./cel-values.ts";
import {
  child,
  duplicate,
  type FieldError,
  forbidden,
  index,
  invalid,
  key,
  ROOT,
  required,
} from "./field-error.ts";
import { correlatedItem } from "./list-rules.ts";
import { fieldSchema, itemSchema, propertySchemas } from "./schema-walk.ts";

const RULES = "x-kubernetes-validations";
/** Longest text that a messageExpression may give; beyond it the fixed message is used. */
const MESSAGE_LENGTH_MAX = 5 * 1024;

interface Program {
  rule: JsonObject;
  evaluate: ParseResult;
  message: ParseResult | undefined;
  isTransition: boolean;
}

let environment: Environment | undefined;
const programsBySchema = new WeakMap<JsonObject, Program[]>();
const hasRulesBySchema = new WeakMap<JsonObject, boolean>();

/** Reads an expression; the names `self` and `oldSelf` and Kubernetes' functions are known. */
function parse(expression: string): ParseResult {
  // Building the environment takes some milliseconds that a run without rules need not spend.
  environment ??= kubernetesCel();
  return environment.parse(expression);
}

/** What is wrong with an expression as it is written; undefined when nothing is. */
export function celError(expression: string, result: "bool" | "string"): string | undefined {
  try {
    const { valid, type = "dyn", error } = parse(expression).check();
    if (!valid) return `compilation failed: ERROR: ${error?.summary ?? "invalid expression"}`;
    // Fields of self have no types here, so that often only a run tells what comes out.
    if (type === result || type.startsWith("dyn")) return undefined;
    return `${result === "bool" ? "cel expression" : "messageExpression"} must evaluate to a ${result}`;
  } catch (error) {
    return `compilation failed: ERROR: ${summaryOf(error)}`;
  }
}

/** Whether there is a CEL rule anywhere in a schema. */
export function hasCelRules(schema: JsonObject): boolean {
  const known = hasRulesBySchema.get(schema);
  if (known !== undefined) return known;
  const below = [
    ...propertySchemas(schema).values(),
    itemSchema(schema),
    isObject(schema["additionalProperties"]) ? schema["additionalProperties"] : undefined,
  ];
  const result =
    Array.isArray(schema[RULES]) || below.some((part) => part !== undefined && hasCelRules(part));
  hasRulesBySchema.set(schema, result);
  return result;
}

/**
 * Evaluates the CEL rules of a schema on an object that is otherwise valid. Rules about `oldSelf` run
 * only where there is an old value that the new one can be compared with.
 */
export function validateCel(
  schema: JsonObject,
  value: Json,
  old: Json | undefined,
  path: string = ROOT,
): FieldError[] {
  if (!hasCelRules(schema)) return [];
  const errors = ownErrors(schema, value, old, path);
  if (Array.isArray(value)) {
    const items = itemSchema(schema);
    if (items === undefined) return errors;
    for (const [position, item] of value.entries()) {
      const before = correlatedItem(schema, old, item);
      errors.push(...validateCel(items, item, before, index(path, position)));
    }
  }
  if (isObject(value)) {
    const declared = propertySchemas(schema);
    for (const [name, item] of Object.entries(value)) {
      const field = fieldSchema(schema, name);
      if (field === undefined) continue;
      const below = declared.has(name) ? child(path, name) : key(path, name);
      const before = isObject(old) && Object.hasOwn(old, name) ? old[name] : undefined;
      errors.push(...validateCel(field, item, before, below));
    }
  }
  return errors;
}

function ownErrors(
  schema: JsonObject,
  value: Json,
  old: Json | undefined,
  path: string,
): FieldError[] {
  const programs = programsOf(schema);
  if (programs.length === 0) return [];
  const isUnchanged = old !== undefined && jsonEqual(value, old);
  const isRoot = path === ROOT;
  const self = celValue(schema, value, isRoot);
  const before = old === undefined ? undefined : celValue(schema, old, isRoot);
  const errors: FieldError[] = [];
  for (const program of programs) {
    const isOptional = program.rule["optionalOldSelf"] === true;
    // A rule that an old object broke already must not block updates of something else.
    if (program.isTransition ? old === undefined && !isOptional : isUnchanged) continue;
    const optional = before === undefined ? Optional.none() : Optional.of(before);
    const context = { self, oldSelf: isOptional ? optional : before };
    const error = evaluate(program, context, typeOf(schema), path);
    if (error !== undefined) errors.push(error);
  }
  return errors;
}

function programsOf(schema: JsonObject): Program[] {
  const known = programsBySchema.get(schema);
  if (known !== undefined) return known;
  const rules = schema[RULES];
  const programs = (Array.isArray(rules) ? rules : []).filter(isObject).map((rule) => {
    const text = String(rule["rule"]);
    const expression = rule["messageExpression"];
    return {
      rule,
      evaluate: parse(text),
      message: typeof expression === "string" ? parse(expression) : undefined,
      isTransition: /\boldSelf\b/.test(text),
    };
  });
  programsBySchema.set(schema, programs);
  return programs;
}

type Context = { self: unknown; oldSelf: unknown };

function evaluate(
  program: Program,
  context: Context,
  type: string,
  path: string,
): FieldError | undefined {
  const { rule } = program;
  try {
    if (program.evaluate(context) === true) return undefined;
  } catch (error) {
    const fixed = rule["message"];
    const shown = typeof fixed === "string" ? fixed.trim() : String(rule["rule"]);
    return invalid(path, type, `${summaryOf(error)} evaluating rule: ${shown}`);
  }
  const message = expressedMessage(program, context) ?? messageOf(rule);
  const field = path + relativePath(path, rule["fieldPath"]);
  switch (rule["reason"]) {
    case "FieldValueForbidden":
      return forbidden(field, message);
    case "FieldValueRequired":
      return required(field, message);
    case "FieldValueDuplicate":
      return { ...duplicate(field, type), message: `Duplicate value: ${JSON.stringify(type)}` };
    default:
      return invalid(field, type, message);
  }
}

function messageOf(rule: JsonObject): string {
  const { message } = rule;
  if (typeof message === "string" && message !== "") return message.trim();
  return `failed rule: ${String(rule["rule"]).trim()}`;
}

/** What the rule's messageExpression gives; undefined where the API server falls back to the message. */
function expressedMessage(program: Program, context: Context): string | undefined {
  if (program.message === undefined) return undefined;
  try {
    const text: unknown = program.message(context);
    if (typeof text !== "string" || text.trim() === "" || text.includes("\n")) return undefined;
    return text.length > MESSAGE_LENGTH_MAX ? undefined : text.trim();
  } catch {
    return undefined;
  }
}

/** `.spec.x` and `['a-b']` of a rule's fieldPath, as they are appended to the rule's own path. */
function relativePath(path: string, fieldPath: Json | undefined): string {
  if (typeof fieldPath !== "string") return "";
  const relative = fieldPath.replace(/^\['(.*?)'\]/, ".$1").replace(/\['(.*?)'\]/g, "[$1]");
  return path === ROOT ? relative.replace(/^\./, "") : relative;
}

function typeOf(schema: JsonObject): string {
  return typeof schema["type"] === "string" ? schema["type"] : "";
}

function summaryOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [summary = ""] = (error instanceof EvaluationError ? error.summary : error.message).split(
    "\n",
  );
  return summary.replace(/^No such key/, "no such key");
}
