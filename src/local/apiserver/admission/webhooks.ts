import { randomUUID } from "node:crypto";
import { messageOf } from "#base/errors.ts";
import { isObject, type JsonObject, jsonEqual } from "#base/json.ts";
import { applyJsonPatch } from "#base/json-patch.ts";
import type { Log } from "#telemetry/log.ts";
import type { Admission, AdmissionRequest } from "../registry/admission.ts";
import { ApiError, badRequest, forbidden } from "../registry/api-error.ts";
import {
  denial,
  type ReviewResponse,
  readReview,
  reviewOf,
  reviewRequest,
} from "./admission-review.ts";
import { matchConditions } from "./match-conditions.ts";
import { type CallDeps, callWebhook } from "./webhook-call.ts";
import {
  isExempt,
  matchesNamespace,
  matchesObject,
  matchesRule,
  namespaceOf,
  type Webhook,
  webhooksOf,
} from "./webhook-match.ts";

export interface AdmissionDeps extends CallDeps {
  /** The webhook configurations as they are now. */
  readonly configurations: () => {
    readonly mutating: readonly JsonObject[];
    readonly validating: readonly JsonObject[];
  };
  /** The labels of a namespace; undefined when there is none of that name. */
  readonly namespaceLabels: (name: string) => Readonly<Record<string, string>> | undefined;
  readonly log?: Log;
}

/** Admission by the webhooks of Mutating- and ValidatingWebhookConfigurations. */
export function createAdmission(deps: AdmissionDeps): Admission {
  return {
    mutate: async (request) => {
      if (isExempt(request)) return { object: request.object, warnings: [] };
      const round = new MutatingRound(deps, request);
      return await round.run(webhooksOf(deps.configurations().mutating));
    },
    validate: async (request) => {
      if (isExempt(request)) return { warnings: [] };
      const webhooks = webhooksOf(deps.configurations().validating).filter((webhook) =>
        isConcerned(deps, webhook, request),
      );
      const errors: unknown[] = [];
      const responses = await Promise.all(
        webhooks.map(async (webhook) => {
          try {
            return await ask(deps, webhook, request, false);
          } catch (error) {
            errors.push(error);
            return undefined;
          }
        }),
      );
      // One refusal is enough for the client; the first to come counts.
      if (errors.length > 0) throw errors[0];
      return { warnings: distinct(responses.flatMap((response) => response?.warnings ?? [])) };
    },
  };
}

/** The mutating webhooks' walk over one object. */
class MutatingRound {
  readonly #deps: AdmissionDeps;
  #request: AdmissionRequest;
  readonly #warnings: string[] = [];
  /** Webhooks that were asked since the last change and want to hear of the next one. */
  #asked = new Set<Webhook>();
  readonly #again = new Set<Webhook>();

  constructor(deps: AdmissionDeps, request: AdmissionRequest) {
    this.#deps = deps;
    this.#request = request;
  }

  async run(webhooks: readonly Webhook[]) {
    for (const webhook of webhooks) await this.#ask(webhook);
    // Once more, never a third time: two webhooks could go on correcting each other.
    for (const webhook of webhooks) if (this.#again.has(webhook)) await this.#ask(webhook);
    return { object: this.#request.object, warnings: distinct(this.#warnings) };
  }

  async #ask(webhook: Webhook): Promise<void> {
    if (!isConcerned(this.#deps, webhook, this.#request)) return;
    const response = await ask(this.#deps, webhook, this.#request, true);
    this.#warnings.push(...(response?.warnings ?? []));
    const { object } = this.#request;
    const changed = patched(webhook, object, response?.patch);
    if (changed !== undefined && !jsonEqual(changed, object)) {
      this.#request = { ...this.#request, object: changed };
      for (const one of this.#asked) this.#again.add(one);
      this.#asked = new Set();
    }
    if (webhook.reinvokes) this.#asked.add(webhook);
  }
}

/** What a webhook's patch makes of the object; undefined when there is no patch. */
function patched(
  webhook: Webhook,
  object: JsonObject | undefined,
  patch: unknown,
): JsonObject | undefined {
  if (patch === undefined || (Array.isArray(patch) && patch.length === 0)) return undefined;
  const name = JSON.stringify(webhook.name);
  if (object === undefined) {
    throw internalError(
      `admission webhook ${name} attempted to modify the object, which is not supported for this operation`,
    );
  }
  try {
    const changed = applyJsonPatch(object, patch);
    if (isObject(changed)) return changed;
  } catch (error) {
    throw internalError(`admission webhook ${name} gave a patch: ${messageOf(error)}`);
  }
  throw internalError(`admission webhook ${name} gave a patch that leaves no object`);
}

/** Whether a webhook has to be asked. @throws ApiError when that cannot be found out */
function isConcerned(deps: AdmissionDeps, webhook: Webhook, request: AdmissionRequest): boolean {
  const isInNamespace = matchesNamespace(webhook, request, deps.namespaceLabels);
  if (isInNamespace === false || !matchesObject(webhook, request)) return false;
  if (!webhook.rules.some((rule) => matchesRule(rule, request))) return false;
  if (isInNamespace === undefined) {
    const name = namespaceOf(request);
    const details = { name, kind: "namespaces" };
    throw new ApiError(404, "NotFound", `namespaces "${name}" not found`, details);
  }
  if (webhook.matchConditions.length === 0) return true;
  const result = matchConditions(webhook.matchConditions, reviewRequest(request, ""));
  if ("matches" in result) return result.matches;
  if (webhook.failurePolicy === "Ignore") return false;
  throw forbidden(request.kind, request.name, result.error);
}

/** Asks one webhook; undefined when it failed and may be passed over. */
async function ask(
  deps: AdmissionDeps,
  webhook: Webhook,
  request: AdmissionRequest,
  isMutating: boolean,
): Promise<ReviewResponse | undefined> {
  let response: ReviewResponse;
  try {
    if (request.dryRun) checkSideEffects(webhook);
    if (!webhook.reviewVersions.includes("v1")) {
      throw new Error(
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
      );
    }
    const uid = randomUUID();
    const answer = await callWebhook(deps, webhook, reviewOf(reviewRequest(request, uid)));
    response = readReview(answer, uid, isMutating);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    const message = `failed calling webhook ${JSON.stringify(webhook.name)}: ${messageOf(error)}`;
    if (webhook.failurePolicy === "Fail") throw internalError(message);
    const { configuration } = webhook;
    deps.log?.warn("A webhook failed and is passed over", { configuration, error: message });
    return undefined;
  }
  if (!response.allowed) throw denial(webhook.name, response.result);
  return response;
}

function checkSideEffects({ name, sideEffects }: Webhook): void {
  if (sideEffects === "") throw new Error("Webhook SideEffects is nil");
  if (["None", "NoneOnDryRun"].includes(sideEffects)) return;
  throw badRequest(`admission webhook ${JSON.stringify(name)} does not support dry run`);
}

const internalError = (message: string) =>
  new ApiError(500, "InternalError", `Internal error occurred: ${message}`, {
    causes: [{ message }],
  });

const distinct = (texts: readonly string[]) => [...new Set(texts)];
