import { type Environment, EvaluationError, type ParseResult } from "@marcbachmann/cel-js";
import type { JsonObject } from "#base/json.ts";
import { stringAt } from "../json-access.ts";
import { kubernetesCel } from "../schema/cel-library.ts";
import { celValue } from "../schema/cel-values.ts";

/** More than any cluster's webhooks have together. */
const PROGRAMS_MAX = 1_000;

let environment: Environment | undefined;
const programs = new Map<string, ParseResult>();

/**
 * What a webhook's match conditions come to: whether all hold, or what went wrong. One that does not
 * hold outweighs others that go wrong.
 * @param request the AdmissionReview's `request`
 */
export function matchConditions(
  conditions: readonly JsonObject[],
  request: JsonObject,
): { readonly matches: boolean } | { readonly error: string } {
  const { object = null, oldObject = null, ...rest } = request;
  const context = {
    object: celValue(undefined, object, false),
    oldObject: celValue(undefined, oldObject, false),
    request: celValue(undefined, rest, false),
  };
  const errors: string[] = [];
  for (const condition of conditions) {
    const expression = stringAt(condition, "expression");
    try {
      const value: unknown = programOf(expression)(context);
      if (value === false) return { matches: false };
      if (value !== true) errors.push(`expression '${expression}' must evaluate to bool`);
    } catch (error) {
      errors.push(`expression '${expression}' resulted in error: ${summaryOf(error)}`);
    }
  }
  if (errors.length === 0) return { matches: true };
  return { error: errors.length === 1 ? (errors[0] ?? "") : `[${errors.join(", ")}]` };
}

function programOf(expression: string): ParseResult {
  const known = programs.get(expression);
  if (known !== undefined) return known;
  environment ??= kubernetesCel()
    .registerVariable("object", "dyn")
    .registerVariable("oldObject", "dyn")
    .registerVariable("request", "dyn");
  const program = environment.parse(expression);
  if (programs.size >= PROGRAMS_MAX) programs.clear();
  programs.set(expression, program);
  return program;
}

function summaryOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [summary = ""] = (error instanceof EvaluationError ? error.summary : error.message).split(
    "\n",
  );
  return summary.replace(/^No such key/, "no such key");
}
