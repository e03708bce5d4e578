import type { JsonObject } from "#base/json.ts";
import type { AnswerStream } from "./answer-stream.ts";
import { createChatCompletion } from "./chat.ts";
import { createCompletion } from "./completions.ts";
import type { GenerationDeps, PreparedRun } from "./generation.ts";
import type { HttpMetrics } from "./http-metrics.ts";
import { processFamilies } from "./process-metrics.ts";
import { FieldReader, parseBody } from "./request-fields.ts";

/** The version of vLLM whose answers this engine gives. */
export const VLLM_VERSION = "0.32.0";

/** What a route gets of a request. */
export type RouteRequest = {
  contentType: string | undefined;
  /** The id of answers: the caller's `X-Request-Id`, or a random one. */
  requestId: string;
  body: () => Promise<Uint8Array>;
  /** The part of the path that the template leaves open. */
  parameter: string;
  /** Aborted when the client has gone. */
  signal: AbortSignal;
};

/** What a route answers: plain text, JSON, or a stream. */
export type RouteAnswer =
  | { status: number; contentType?: string; text?: string }
  | { status: number; json: unknown }
  | { stream: (stream: AnswerStream) => Promise<void> };

export type Route = {
  method: string;
  /** A path, or a prefix that ends with `{}`: one open part. */
  template: string;
  handle: (request: RouteRequest) => Promise<RouteAnswer>;
};

export type RouteDeps = GenerationDeps & {
  httpMetrics: HttpMetrics;
  isLoraUpdatingAllowed: boolean;
};

/** vLLM's routes. Those that load adapters exist only when the environment allows it. */
export function engineRoutes(deps: RouteDeps): Route[] {
  const { inference, models } = deps;
  const health = async (): Promise<RouteAnswer> => ({ status: inference.isDead ? 503 : 200 });
  const routes: Route[] = [
    { method: "GET", template: "/health", handle: health },
    { method: "GET", template: "/ping", handle: health },
    { method: "POST", template: "/ping", handle: health },
    {
      method: "GET",
      template: "/version",
      handle: async () => ({ status: 200, json: { version: VLLM_VERSION } }),
    },
    { method: "GET", template: "/metrics", handle: async () => metricsAnswer(deps) },
    {
      method: "GET",
      template: "/v1/models",
      handle: async () => ({ status: 200, json: models.list() }),
    },
    { method: "POST", template: "/v1/completions", handle: generate(deps, createCompletion) },
    {
      method: "POST",
      template: "/v1/chat/completions",
      handle: generate(deps, createChatCompletion),
    },
  ];
  return deps.isLoraUpdatingAllowed ? [...routes, ...adapterRoutes(deps)] : routes;
}

function metricsAnswer({ metrics, httpMetrics }: RouteDeps): RouteAnswer {
  const families = [...processFamilies(), ...metrics.families(), ...httpMetrics.families()];
  return {
    status: 200,
    contentType: "text/plain; version=1.0.0; charset=utf-8",
    text: `${families.flatMap((family) => family.lines()).join("\n")}\n`,
  };
}

type Prepare = (deps: GenerationDeps, body: JsonObject, requestId: string) => Promise<PreparedRun>;

function generate(deps: GenerationDeps, prepare: Prepare): Route["handle"] {
  return async ({ contentType, body, requestId, signal }) => {
    const run = await prepare(deps, parseBody(contentType, await body()), requestId);
    if (!run.isStream) return { status: 200, json: await run.answer(signal) };
    return { stream: (stream) => run.stream(stream, signal) };
  };
}

function adapterRoutes({ models }: RouteDeps): Route[] {
  return [
    {
      method: "POST",
      template: "/v1/load_lora_adapter",
      handle: async ({ contentType, body }) => {
        const fields = new FieldReader(parseBody(contentType, await body()));
        const name = fields.requiredText("lora_name");
        const path = fields.requiredText("lora_path");
        const inPlace = fields.boolean("load_inplace") ?? false;
        fields.finish();
        return { status: 200, text: await models.load({ name, path, inPlace }) };
      },
    },
    {
      method: "POST",
      template: "/v1/unload_lora_adapter",
      handle: async ({ contentType, body }) => {
        const fields = new FieldReader(parseBody(contentType, await body()));
        const name = fields.requiredText("lora_name");
        fields.finish();
        return { status: 200, text: await models.unload(name) };
      },
    },
    // SageMaker's names for the same two; vLLM leaves them open even when it has an API key.
    {
      method: "POST",
      template: "/adapters",
      handle: async ({ contentType, body }) => {
        const fields = new FieldReader(parseBody(contentType, await body()));
        const name = fields.requiredText("name");
        const path = fields.requiredText("src");
        const inPlace = fields.boolean("load_inplace") ?? false;
        fields.finish();
        await models.load({ name, path, inPlace });
        return { status: 200, text: `Adapter ${name} registered` };
      },
    },
    {
      method: "DELETE",
      template: "/adapters/{}",
      handle: async ({ parameter }) => {
        await models.unload(parameter);
        return { status: 200, text: `Adapter ${parameter} unregistered` };
      },
    },
  ];
}
