import { methodNotSupported } from "../registry/api-error.ts";
import { bodyBytes, type Exchange, sendObject } from "./exchange.ts";
import type { RequestInfo } from "./request-info.ts";

/**
 * Answers `kubectl auth can-i` and `kubectl auth whoami`. RBAC is stored here and not enforced: who has a
 * token may do everything, so that the question need not be read, in whichever encoding it comes.
 * @returns false when the request is about something else.
 */
export async function answerReview(exchange: Exchange, info: RequestInfo): Promise<boolean> {
  const { user } = exchange;
  const review = REVIEWS[`${info.group}/${info.version}/${info.resource}`];
  if (review === undefined) return false;
  if (exchange.method !== "POST") throw methodNotSupported();
  await bodyBytes(exchange);
  const status =
    review === "SelfSubjectReview"
      ? { userInfo: { username: user.name, groups: [...user.groups] } }
      : { allowed: true, reason: "RBAC is stored on a single machine, not enforced" };
  sendObject(exchange, 201, {
    kind: review,
    apiVersion: `${info.group}/${info.version}`,
    metadata: {},
    status,
  });
  return true;
}

const REVIEWS: { readonly [path: string]: string } = {
  "authorization.k8s.io/v1/selfsubjectaccessreviews": "SelfSubjectAccessReview",
  "authentication.k8s.io/v1/selfsubjectreviews": "SelfSubjectReview",
};
