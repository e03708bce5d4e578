import { isObject, type JsonObject } from "#base/json.ts";
import type { AnswerStream } from "./answer-stream.ts";
import { decodeUtf8 } from "./detokenizer.ts";
import {
  type Answer,
  checkTokensMax,
  encodePrompt,
  type Generated,
  type GenerationDeps,
  generateAll,
  generateEach,
  type PreparedRun,
  prepareAnswers,
  toPrompt,
  usageOf,
} from "./generation.ts";
import { checkBody, type GenerationParams, readGenerationParams } from "./generation-params.ts";
import { ApiError, parameterError } from "./http-errors.ts";
import { FieldReader } from "./request-fields.ts";
import type { TokenLogprob } from "./sampler.ts";

type Prepared = {
  id: string;
  modelName: string;
  params: GenerationParams;
  prompt: number[];
  answers: Answer[];
};

/** POST /v1/chat/completions. @throws ApiError | EngineDeadError before anything was sent */
export async function createChatCompletion(
  deps: GenerationDeps,
  body: JsonObject,
  requestId: string,
): Promise<PreparedRun> {
  const { params, messages, tokensMax, tokensParameter, addsPrompt } = readChat(body);
  const { name, adapter } = await deps.models.find(params.model);
  refuseTools(body);
  checkTokensMax(deps, tokensParameter, tokensMax);
  const prompt = toPrompt(deps, encodePrompt(deps, toChatMl(messages, addsPrompt)), tokensMax);
  const answers = prepareAnswers(deps, params, [prompt], adapter);
  const id = `chatcmpl-${requestId}`;
  const prepared = { id, modelName: name, params, prompt: prompt.tokens, answers };
  return {
    isStream: params.isStream,
    answer: async (signal) => chatBody(deps, prepared, await generateAll(deps, answers, signal)),
    stream: (stream, signal) => streamChat(deps, prepared, stream, signal),
  };
}

type Message = { role: string; content: string };

function readChat(body: JsonObject) {
  checkBody(body);
  const fields = new FieldReader(body);
  const messages = fields.requiredList("messages").map(toMessage);
  const top = fields.integer("top_logprobs") ?? 0;
  const wantsLogprobs = fields.boolean("logprobs") ?? false;
  if (top < 0)
    throw parameterError("`top_logprobs` must be a positive value or -1.", "top_logprobs", top);
  if (top > 0 && !wantsLogprobs) {
    throw parameterError(
      "when using `top_logprobs`, `logprobs` must be set to true.",
      "top_logprobs",
    );
  }
  const params = readGenerationParams(fields, wantsLogprobs ? top : undefined);
  const newer = fields.integer("max_completion_tokens");
  const older = fields.integer("max_tokens");
  const addsPrompt = fields.boolean("add_generation_prompt") ?? true;
  fields.finish();
  return {
    params,
    messages,
    tokensMax: newer ?? older,
    tokensParameter: newer === undefined ? "max_tokens" : "max_completion_tokens",
    addsPrompt,
  };
}

/** A message's content is a text, or parts of which only texts are understood here. */
function toMessage(message: unknown): Message {
  if (!isObject(message) || typeof message["role"] !== "string") {
    throw parameterError("Each message must be an object with a role.", "messages");
  }
  const { role, content } = message;
  if (content === undefined || content === null) return { role, content: "" };
  if (typeof content === "string") return { role, content };
  const texts = Array.isArray(content)
    ? content.map((part) => (isObject(part) ? part["text"] : part))
    : [undefined];
  if (!texts.every((text) => typeof text === "string")) {
    throw parameterError("Only text content is supported by this model.", "messages");
  }
  return { role, content: texts.join("\n") };
}

/** vLLM without a tool parser refuses every use of tools but `none`. */
function refuseTools(body: JsonObject): void {
  const choice = body["tool_choice"] ?? (body["tools"] ? "auto" : "none");
  if (choice === "none") return;
  const message =
    choice === "auto"
      ? '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
      : `tool_choice=${JSON.stringify(choice)} requires --tool-call-parser to be set`;
  throw new ApiError(400, "BadRequestError", message);
}

/** The ChatML template, the one of the bundled model and of the Qwen family. */
function toChatMl(messages: Message[], addsPrompt: boolean): string {
  const turns = messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`);
  return turns.join("") + (addsPrompt ? "<|im_start|>assistant\n" : "");
}

function chatBody(deps: GenerationDeps, prepared: Prepared, all: Generated[]): unknown {
  const { params, prompt } = prepared;
  const choices = all.map((generated, index) => ({
    index,
    message: {
      role: "assistant",
      content: generated.text,
      refusal: null,
      annotations: null,
      audio: null,
      function_call: null,
      reasoning: null,
    },
    logprobs: logprobsOf(deps, params, generated.logprobs),
    finish_reason: generated.finishReason,
    stop_reason: generated.stopReason,
    token_ids: params.returnsTokenIds ? generated.tokens : null,
    routed_experts: null,
  }));
  const completionTokens = all.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return {
    id: prepared.id,
    object: "chat.completion",
    created: Math.floor(Date.now() / 1000),
    model: prepared.modelName,
    choices,
    service_tier: null,
    system_fingerprint: deps.systemFingerprint,
    usage: {
      ...usageOf(prompt.length, completionTokens),
      prompt_tokens_details: null,
      completion_tokens_details: null,
    },
    prompt_logprobs: null,
    prompt_token_ids: params.returnsTokenIds ? prompt : null,
    prompt_text: null,
    kv_transfer_params: null,
    ec_transfer_params: null,
    metrics: null,
  };
}

/** Logprobs in the chat form: one entry a token, each with its likeliest alternatives. */
function logprobsOf(
  deps: GenerationDeps,
  params: GenerationParams,
  steps: (TokenLogprob[] | undefined)[],
): unknown {
  const { logprobs: count } = params.sampling;
  if (count === undefined) return null;
  const entry = ({ token, logprob }: TokenLogprob) => {
    const text = decodeUtf8(deps.tokenizer.bytesOf(token));
    return { token: text, logprob, bytes: [...new TextEncoder().encode(text)] };
  };
  const content = steps.flatMap((step) => {
    const chosen = step?.[0];
    if (step === undefined || chosen === undefined) return [];
    return [{ ...entry(chosen), top_logprobs: step.slice(0, count).map(entry) }];
  });
  return { content };
}

async function streamChat(
  deps: GenerationDeps,
  prepared: Prepared,
  stream: AnswerStream,
  signal: AbortSignal,
): Promise<void> {
  const { params, prompt, answers } = prepared;
  const counts = answers.map(() => 0);
  const head = {
    id: prepared.id,
    object: "chat.completion.chunk",
    created: Math.floor(Date.now() / 1000),
    model: prepared.modelName,
  };
  const running = (count: number) =>
    params.includesRunningUsage ? { usage: usageOf(prompt.length, count) } : {};
  let isOpened = false;
  const sendRoles = () => {
    if (isOpened) return;
    isOpened = true;
    for (const { index } of answers) {
      const choice = {
        index,
        delta: { role: "assistant", content: "" },
        logprobs: null,
        finish_reason: null,
      };
      stream.send({
        ...head,
        choices: [choice],
        prompt_token_ids: params.returnsTokenIds ? prompt : null,
        prompt_text: null,
        ...running(0),
      });
    }
  };
  await generateEach(deps, answers, signal, ({ index }, output) => {
    sendRoles();
    const count = (counts[index] ?? 0) + 1;
    counts[index] = count;
    const tokens = output.token === undefined ? [] : [output.token];
    const choice = {
      index,
      delta: { content: output.text },
      logprobs: logprobsOf(deps, params, [output.logprobs]),
      finish_reason: output.finish?.reason ?? null,
      ...(output.finish === undefined ? {} : { stop_reason: output.finish.stopReason }),
      token_ids: params.returnsTokenIds ? tokens : null,
    };
    const isLast = output.finish !== undefined && !params.includesUsage;
    stream.send({
      ...head,
      choices: [choice],
      ...(isLast ? { system_fingerprint: deps.systemFingerprint } : {}),
      ...running(count),
    });
  });
  if (!params.includesUsage) return;
  const completionTokens = counts.reduce((sum, count) => sum + count, 0);
  stream.send({
    ...head,
    choices: [],
    usage: usageOf(prompt.length, completionTokens),
    system_fingerprint: deps.systemFingerprint,
  });
}
