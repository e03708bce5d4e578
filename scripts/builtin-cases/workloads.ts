import type { JsonObject } from "#base/json.ts";
import { type Case, CONTAINER, kindOf, metadata, patches, statuses } from "./case.ts";

const TEMPLATE = {
  metadata: { labels: { a: "b" } },
  spec: { containers: [CONTAINER] },
};
const WORKLOAD = {
  metadata: metadata("w"),
  spec: { selector: { matchLabels: { a: "b" } }, template: TEMPLATE },
};
const deployment = kindOf("apps/Deployment", WORKLOAD);
const replicaSet = kindOf("apps/ReplicaSet", WORKLOAD);
const workloadSpecs: JsonObject[] = [
  {},
  { replicas: 0 },
  { replicas: -1 },
  { selector: null },
  { selector: { matchLabels: null } },
  { selector: { matchLabels: { a: "c" } } },
  { selector: { matchLabels: { "a b": "-" } } },
  { selector: { matchExpressions: [{ key: "a", operator: "Is" }] } },
  { selector: { matchExpressions: [{ key: "a", operator: "In" }] } },
  { selector: { matchExpressions: [{ key: "a", operator: "Exists", values: ["x"] }] } },
  {
    selector: {
      matchExpressions: [
        { key: "x", operator: "DoesNotExist" },
        { key: "a", operator: "In", values: ["b"] },
      ],
    },
  },
  { template: null },
  { template: { spec: { restartPolicy: "Never" } } },
  { template: { spec: { activeDeadlineSeconds: 5 } } },
  { template: { spec: { containers: null } } },
  { template: { metadata: { labels: { "a b": "x" }, annotations: { "a b": "c" } } } },
  { template: { spec: { volumes: [{ name: "v", secret: { secretName: "s" } }] } } },
  { template: { spec: { containers: [{ ...CONTAINER, resources: { limits: { cpu: "1" } } }] } } },
  {
    template: {
      spec: { hostNetwork: true, containers: [{ ...CONTAINER, ports: [{ containerPort: 1 }] }] },
    },
  },
  { template: { spec: { ephemeralContainers: [{ name: "e", image: "x" }] } } },
  { minReadySeconds: -1 },
];
export const WORKLOADS: Case[] = [
  ...workloadSpecs.flatMap((spec) => [deployment({ spec }), replicaSet({ spec })]),
  ...[
    { strategy: { type: "Recreate" } },
    { strategy: { type: "Recreate", rollingUpdate: { maxSurge: 1 } } },
    { strategy: { type: "X" } },
    { strategy: { rollingUpdate: { maxSurge: 0 } } },
    { strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } },
    { strategy: { rollingUpdate: { maxSurge: "x", maxUnavailable: "150%" } } },
    { strategy: { rollingUpdate: { maxSurge: -1, maxUnavailable: "-5%" } } },
    { progressDeadlineSeconds: 5, minReadySeconds: 5 },
    { revisionHistoryLimit: -1, paused: true },
    { revisionHistoryLimit: 0, paused: false },
  ].map((spec) => deployment({ spec: spec as unknown as JsonObject })),
  deployment({}, [
    ...patches(
      { spec: { replicas: 3 } },
      { spec: { selector: { matchLabels: { c: "d" } } } },
      {
        spec: {
          selector: { matchLabels: { c: "d" } },
          template: { metadata: { labels: { c: "d" } } },
        },
      },
      { spec: { template: { spec: { containers: [{ name: "c", image: "x:2" }] } } } },
    ),
    ...statuses(
      { replicas: 2, readyReplicas: 3, availableReplicas: 4, updatedReplicas: 5 },
      { replicas: -1, collisionCount: -1 },
      { replicas: 1, conditions: [{ type: "Available", status: "True" }] },
    ),
    { put: WORKLOAD },
  ]),
  replicaSet({}, [
    ...patches(
      { spec: { replicas: 3 } },
      { spec: { selector: { matchLabels: { a: "b", c: "d" } } } },
    ),
    ...statuses(
      { replicas: 2, readyReplicas: 3, availableReplicas: 4, fullyLabeledReplicas: 5 },
      { replicas: 0, observedGeneration: 1 },
    ),
  ]),
];
