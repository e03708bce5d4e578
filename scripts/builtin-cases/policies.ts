import type { JsonObject } from "#base/json.ts";
import { type Case, kindOf, metadata, patches } from "./case.ts";

const EVENT_TIME = "2026-01-01T00:00:00.000000Z";
const coreEvent = kindOf("/Event", {
  metadata: metadata("e.1"),
  involvedObject: { kind: "Pod", name: "p", namespace: "builtins" },
});
const newEvent = kindOf("events.k8s.io/Event", {
  metadata: metadata("e.2"),
  regarding: { kind: "Pod", name: "p", namespace: "builtins" },
  eventTime: EVENT_TIME,
  reportingController: "a.example/c",
  reportingInstance: "c-1",
  action: "Doing",
  reason: "Because",
  type: "Normal",
  note: "text",
});
export const EVENTS: Case[] = [
  coreEvent({ reason: "r", message: "m", count: 1, firstTimestamp: "2026-01-01T01:00:00+01:00" }),
  coreEvent({ involvedObject: { namespace: "other" } }),
  coreEvent({ involvedObject: null }),
  coreEvent({ eventTime: EVENT_TIME }),
  coreEvent({
    eventTime: EVENT_TIME,
    reportingComponent: "a b",
    action: "x".repeat(200),
    reason: "r",
  }),
  coreEvent(
    { source: { component: "c" }, type: "Normal" },
    patches({ count: 2 }, { involvedObject: { namespace: "x" } }),
  ),
  newEvent({}, [
    ...patches(
      { note: "other" },
      { series: { count: 3, lastObservedTime: EVENT_TIME } },
      { series: { count: 1 } },
      { regarding: { name: "q" }, reportingController: "b", type: "Warning" },
    ),
  ]),
  newEvent({ eventTime: null, type: "X" }),
  newEvent({
    deprecatedCount: 1,
    deprecatedSource: { component: "c" },
    deprecatedFirstTimestamp: "2026-01-01T00:00:00Z",
  }),
  newEvent({
    reportingController: "",
    reportingInstance: "",
    action: "",
    reason: "",
    note: "x".repeat(2000),
  }),
  newEvent({ regarding: { namespace: null }, series: { count: 1 } }),
];

const RULE = { apiGroups: [""], resources: ["pods"], verbs: ["get"] };
const REF = { kind: "Role", name: "r" };
const role = kindOf("rbac.authorization.k8s.io/Role", { metadata: metadata("r") });
const clusterRole = kindOf("rbac.authorization.k8s.io/ClusterRole", {
  metadata: metadata("builtins-r"),
});
const roleBinding = kindOf("rbac.authorization.k8s.io/RoleBinding", {
  metadata: metadata("r"),
  roleRef: REF,
});
const clusterBinding = kindOf("rbac.authorization.k8s.io/ClusterRoleBinding", {
  metadata: metadata("builtins-r"),
  roleRef: { kind: "ClusterRole", name: "r" },
});
export const RBAC: Case[] = [
  role(),
  role({ rules: [RULE], metadata: metadata("a:b") }),
  role({ rules: [{}, { verbs: ["get"], nonResourceURLs: ["/x"] }] }),
  role({ rules: [], metadata: metadata("a%b") }),
  clusterRole({
    rules: [
      { ...RULE, nonResourceURLs: ["/x"] },
      { verbs: ["get"], nonResourceURLs: ["/x"] },
    ],
  }),
  clusterRole({ aggregationRule: {} }),
  clusterRole({ aggregationRule: { clusterRoleSelectors: [{ matchLabels: { a: "b" } }] } }),
  roleBinding(
    {
      subjects: [
        { kind: "User", name: "u" },
        { kind: "Group", name: "g" },
        { kind: "ServiceAccount", name: "s" },
      ],
    },
    [...patches({ roleRef: { name: "other" } }, { subjects: null })],
  ),
  roleBinding({ roleRef: null }),
  roleBinding({ roleRef: { apiGroup: "x", kind: "Y", name: "a/b" } }),
  roleBinding({
    subjects: [
      { kind: "X" },
      { kind: "ServiceAccount", name: "A_", apiGroup: "x" },
      { kind: "User", name: "u", apiGroup: "x" },
    ],
  }),
  clusterBinding({ subjects: [{ kind: "ServiceAccount", name: "s" }] }),
  clusterBinding({ roleRef: { kind: "Role" } }),
  clusterBinding({ subjects: [{ kind: "ServiceAccount", name: "s", namespace: "n" }] }),
];

const HOOK = {
  name: "a.b.example",
  clientConfig: { service: { namespace: "n", name: "s" } },
  sideEffects: "None",
  admissionReviewVersions: ["v1"],
  rules: [
    { operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["nothings"] },
  ],
};
const validating = kindOf("admissionregistration.k8s.io/ValidatingWebhookConfiguration", {
  metadata: metadata("builtins-w"),
});
const mutating = kindOf("admissionregistration.k8s.io/MutatingWebhookConfiguration", {
  metadata: metadata("builtins-w"),
});
const hooks: JsonObject[][] = [
  [HOOK],
  [],
  [{}],
  [HOOK, HOOK],
  [{ ...HOOK, name: "a.b" }],
  [{ ...HOOK, name: "A_" }],
  [{ ...HOOK, failurePolicy: "X", matchPolicy: "Y", sideEffects: "Some", timeoutSeconds: 31 }],
  [{ ...HOOK, timeoutSeconds: 0, admissionReviewVersions: ["v2", "v2", "A_"] }],
  [{ ...HOOK, clientConfig: { url: "https://a.example/x" } }],
  [{ ...HOOK, clientConfig: { url: "http://u:p@/x?y#z" } }],
  [{ ...HOOK, clientConfig: { url: "https://a", service: { namespace: "n", name: "s" } } }],
  [{ ...HOOK, clientConfig: { service: { namespace: "", name: "", port: 0, path: "x//y" } } }],
  [{ ...HOOK, clientConfig: { service: { namespace: "n", name: "s", path: "/A_/" } } }],
  [{ ...HOOK, rules: [{}] }],
  [
    {
      ...HOOK,
      rules: [
        {
          operations: ["*", "X"],
          apiGroups: ["*", "a"],
          apiVersions: ["*", ""],
          resources: ["*", "a", "a/*", "a/b", "*/*"],
          scope: "X",
        },
      ],
    },
  ],
  [
    {
      ...HOOK,
      namespaceSelector: { matchExpressions: [{ key: "a", operator: "X" }] },
      objectSelector: { matchLabels: { a: "b" } },
    },
  ],
  [
    {
      ...HOOK,
      matchConditions: [
        { name: "a b", expression: "" },
        { name: "", expression: "true" },
      ],
    },
  ],
];
export const WEBHOOKS: Case[] = [
  ...hooks.map((webhooks) => validating({ webhooks })),
  ...hooks.slice(0, 6).map((webhooks) => mutating({ webhooks })),
  mutating({ webhooks: [{ ...HOOK, reinvocationPolicy: "X" }] }),
  mutating({ webhooks: [{ ...HOOK, reinvocationPolicy: "IfNeeded" }] }),
];
