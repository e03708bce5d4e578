import { isObject, type JsonObject } from "#base/json.ts";
import { objectAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import type { AdmissionRequest } from "../registry/admission.ts";
import { ApiError } from "../registry/api-error.ts";
import { namespaceOf } from "./webhook-match.ts";

const API_VERSION = "admission.k8s.io/v1";
const OPTIONS = {
  CREATE: "CreateOptions",
  UPDATE: "UpdateOptions",
  DELETE: "DeleteOptions",
  CONNECT: "PodExecOptions",
};

/** The `request` of an AdmissionReview, which match conditions see, too. */
export function reviewRequest(request: AdmissionRequest, uid: string): JsonObject {
  const { kind, subresource, operation, name, user } = request;
  const { group, version, plural: resource } = kind;
  const gvk = gvkOf(request.objectKind ?? kind);
  const gvr = { group, version, resource };
  const namespace = namespaceOf(request);
  return {
    uid,
    kind: gvk,
    resource: gvr,
    ...(subresource === "" ? {} : { subResource: subresource }),
    requestKind: gvk,
    requestResource: gvr,
    ...(subresource === "" ? {} : { requestSubResource: subresource }),
    ...(name === "" ? {} : { name }),
    ...(namespace === "" ? {} : { namespace }),
    operation,
    userInfo: { username: user.name, groups: [...user.groups] },
    object: request.object ?? null,
    oldObject: request.oldObject ?? null,
    dryRun: request.dryRun,
    options: request.options ?? { kind: OPTIONS[operation], apiVersion: "meta.k8s.io/v1" },
  };
}

const gvkOf = ({ group, version, kind }: Pick<Kind, "group" | "version" | "kind">) => ({
  group,
  version,
  kind,
});

/** The body that a webhook gets. */
export const reviewOf = (request: JsonObject): JsonObject => ({
  kind: "AdmissionReview",
  apiVersion: API_VERSION,
  request,
});

export interface ReviewResponse {
  readonly allowed: boolean;
  readonly warnings: readonly string[];
  /** Undefined when nothing is to be changed. */
  readonly patch: unknown;
  /** metav1.Status; undefined when the webhook gives none. */
  readonly result: JsonObject | undefined;
}

/**
 * Reads a webhook's answer.
 * @throws Error that says what is wrong with it
 */
export function readReview(answer: unknown, uid: string, isMutating: boolean): ReviewResponse {
  const invalid = (message: string) => new Error(`received invalid webhook response: ${message}`);
  const review = isObject(answer) ? answer : {};
  const { response } = review;
  if (!isObject(response)) throw invalid("webhook response was absent");
  if (response["uid"] !== uid) {
    const got = JSON.stringify(response["uid"] ?? "");
    throw invalid(`expected response.uid=${JSON.stringify(uid)}, got ${got}`);
  }
  const [apiVersion, kind] = [stringAt(review, "apiVersion"), stringAt(review, "kind")];
  if (apiVersion !== API_VERSION || kind !== "AdmissionReview") {
    const got = `${apiVersion === "" ? "/" : apiVersion}, Kind=${kind}`;
    throw invalid(`expected webhook response of ${API_VERSION}, Kind=AdmissionReview, got ${got}`);
  }
  return {
    allowed: response["allowed"] === true,
    warnings: stringsAt(response, "warnings"),
    patch: patchOf(response, isMutating, invalid),
    result: isObject(response["status"]) ? response["status"] : undefined,
  };
}

function patchOf(
  response: JsonObject,
  isMutating: boolean,
  invalid: (message: string) => Error,
): unknown {
  const patch = stringAt(response, "patch");
  const { patchType } = response;
  if (!isMutating) {
    if (patch !== "") throw invalid("validating webhook may not return response.patch");
    if (patchType !== undefined) {
      throw invalid("validating webhook may not return response.patchType");
    }
    return undefined;
  }
  if (patch !== "" && patchType === undefined) {
    throw invalid("webhook returned response.patch but not response.patchType");
  }
  if (patch === "" && patchType !== undefined) {
    throw invalid("webhook returned response.patchType but not response.patch");
  }
  if (patch === "") return undefined;
  if (patchType !== "JSONPatch") {
    throw new Error(`unsupported patch type ${JSON.stringify(patchType)}`);
  }
  try {
    return JSON.parse(Buffer.from(patch, "base64").toString("utf8"));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`received undecodable patch in webhook response: ${why}`);
  }
}

/** The refusal that a webhook's "not allowed" becomes. */
export function denial(webhook: string, result: JsonObject | undefined): ApiError {
  const denied = `admission webhook ${JSON.stringify(webhook)} denied the request`;
  const message = stringAt(result, "message");
  const reason = stringAt(result, "reason");
  const code = Number(result?.["code"] ?? 0);
  const why =
    message !== "" ? `: ${message}` : reason !== "" ? `: ${reason}` : " without explanation";
  const details = objectAt(result, "details");
  return new ApiError(
    code >= 400 ? code : 400,
    reason,
    denied + why,
    Object.keys(details).length === 0 ? undefined : details,
  );
}
