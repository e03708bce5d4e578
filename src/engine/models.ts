import { isObject } from "#base/json.ts";
import type { HeldAdapter } from "./engine.ts";
import { EngineError } from "./errors.ts";

/** The adapters of an OpenAI model list: those models that have a parent. vLLM and SGLang write it alike. */
export function parseModels(text: string): HeldAdapter[] {
  let data: unknown;
  try {
    const value: unknown = JSON.parse(text);
    data = isObject(value) ? value["data"] : undefined;
  } catch {
    data = undefined;
  }
  if (!Array.isArray(data)) {
    throw new EngineError(
      "Unavailable",
      true,
      "service unavailable: /v1/models is not a model list",
    );
  }
  return data.flatMap((model): HeldAdapter[] => {
    if (!isObject(model) || typeof model["id"] !== "string") return [];
    if (model["parent"] === null || model["parent"] === undefined) return [];
    const root = typeof model["root"] === "string" ? model["root"] : undefined;
    return [{ name: model["id"], root }];
  });
}
