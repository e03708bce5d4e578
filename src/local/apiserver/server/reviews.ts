import type { JsonObject } from "#base/json.ts";
import { methodNotSupported } from "../registry/api-error.ts";
import type { User } from "../registry/object-api.ts";
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
  sendObject(exchange, 201, {
    kind: review.kind,
    apiVersion: `${info.group}/${info.version}`,
    metadata: {},
    spec: {},
    status: review.status(user),
  });
  return true;
}

interface Review {
  readonly kind: string;
  readonly status: (user: User) => JsonObject;
}

const REVIEWS: { readonly [path: string]: Review | undefined } = {
  "authorization.k8s.io/v1/selfsubjectaccessreviews": {
    kind: "SelfSubjectAccessReview",
    status: () => ({ allowed: true, reason: "RBAC is stored on a single machine, not enforced" }),
  },
  "authorization.k8s.io/v1/selfsubjectrulesreviews": {
    kind: "SelfSubjectRulesReview",
    status: () => ({
      resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }],
      nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
      incomplete: false,
    }),
  },
  "authentication.k8s.io/v1/selfsubjectreviews": {
    kind: "SelfSubjectReview",
    status: ({ name, groups }) => ({ userInfo: { username: name, groups: [...groups] } }),
  },
};
