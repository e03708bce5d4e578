import type { Json, JsonObject } from "#base/json.ts";
import { type Case, CONTAINER, kindOf, metadata, patches, statuses } from "./case.ts";

const podOf = kindOf("/Pod", { metadata: metadata("p"), spec: { containers: [CONTAINER] } });
/** A pod with one container that has some fields more. */
const container = (more: JsonObject, spec: JsonObject = {}) =>
  podOf({ spec: { ...spec, containers: [{ ...CONTAINER, ...more }] } });
const volume = (...volumes: Json[]) => podOf({ spec: { volumes, containers: [CONTAINER] } });
const probe = (name: string, more: JsonObject) => container({ [name]: more });
const env = (...list: Json[]) => container({ env: list });

export const PODS: Case[] = [
  podOf(),
  podOf({ spec: { containers: [] } }),
  podOf({ spec: { containers: [{}] } }),
  podOf({ spec: { containers: [CONTAINER, CONTAINER] } }),
  podOf({ spec: { containers: [{ name: "A_b", image: "x" }] } }),
  podOf({ spec: { containers: [{ name: "a", image: " x " }] } }),
  ...[
    "nginx:latest",
    "nginx:1.25",
    "repo.example.com:5000/a/b",
    "a/b:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "Upper/case",
    "localhost/x",
  ].map((image) => container({ image })),
  container({ imagePullPolicy: "Sometimes", terminationMessagePolicy: "Nowhere" }),
  container({
    ports: [{ containerPort: 80 }, { containerPort: 81, name: "http", protocol: "UDP" }],
  }),
  container({ ports: [{ containerPort: 0 }, { containerPort: 70000 }, { name: "a" }] }),
  container({
    ports: [
      { containerPort: 1, name: "http" },
      { containerPort: 2, name: "http" },
    ],
  }),
  container({
    ports: [
      { containerPort: 1, name: "UPPER--x-" },
      { containerPort: 1, name: "1" },
    ],
  }),
  container({ ports: [{ containerPort: 1, name: "sixteen-letters-x" }] }),
  container({ ports: [{ containerPort: 1, protocol: "HTTP" }] }),
  container({
    ports: [
      { containerPort: 1, hostPort: 90 },
      { containerPort: 2, hostPort: 90 },
      { containerPort: 3, hostPort: 70000 },
    ],
  }),
  container({ ports: [{ containerPort: 8080 }] }, { hostNetwork: true }),
  container({ ports: [{ containerPort: 8080, hostPort: 1 }] }, { hostNetwork: true }),
  env({ name: "A", value: "1" }, { name: "B", value: "" }, { name: "C" }),
  env({ value: "1" }, { name: "a b=c" }, { name: "1x.y-z" }, { name: "ä" }),
  env(
    { name: "A", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "B", valueFrom: { fieldRef: { fieldPath: "metadata.labels['a']" } } },
    { name: "C", valueFrom: { resourceFieldRef: { resource: "limits.cpu" } } },
    { name: "D", valueFrom: { configMapKeyRef: { name: "m", key: "k" } } },
    { name: "E", valueFrom: { secretKeyRef: { name: "m", key: "k", optional: true } } },
  ),
  env(
    { name: "A", valueFrom: { fieldRef: { fieldPath: "" } } },
    { name: "B", valueFrom: { fieldRef: { fieldPath: "spec.x" } } },
    { name: "C", valueFrom: { fieldRef: { fieldPath: "status.phase" } } },
    { name: "D", valueFrom: { fieldRef: { fieldPath: "spec.host" } } },
    { name: "E", valueFrom: { fieldRef: { fieldPath: "spec.x['a']" } } },
    { name: "F", valueFrom: { fieldRef: { fieldPath: "metadata.labels['a b']" } } },
    { name: "G", valueFrom: { fieldRef: { apiVersion: "v2", fieldPath: "metadata.name" } } },
  ),
  env(
    { name: "A", valueFrom: {} },
    { name: "B", value: "x", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "C", valueFrom: { resourceFieldRef: { resource: "limits.disk" } } },
    { name: "D", valueFrom: { configMapKeyRef: { name: "", key: "" } } },
    { name: "E", valueFrom: { secretKeyRef: { name: "A_", key: "a b" } } },
    {
      name: "F",
      valueFrom: {
        fieldRef: { fieldPath: "metadata.name" },
        secretKeyRef: { name: "m", key: "k" },
      },
    },
  ),
  container({
    envFrom: [{ configMapRef: { name: "a" } }, { prefix: "P_", secretRef: { name: "b" } }],
  }),
  container({
    envFrom: [
      {},
      { configMapRef: { name: "a" }, secretRef: { name: "b" } },
      { prefix: "=", configMapRef: { name: "" } },
      { secretRef: { name: "A_" } },
    ],
  }),
  container({ volumeMounts: [{ name: "v", mountPath: "/v" }] }),
  container(
    { volumeMounts: [{}, { name: "v", mountPath: "/a" }, { name: "v", mountPath: "/a" }] },
    { volumes: [{ name: "v" }] },
  ),
  container(
    {
      volumeMounts: [
        { name: "v", mountPath: "/a", subPath: "/abs" },
        { name: "v", mountPath: "/b", subPath: "a/../b" },
        { name: "v", mountPath: "/c", subPath: "x", subPathExpr: "$(A)" },
        { name: "v", mountPath: "/d", mountPropagation: "Both" },
        { name: "v", mountPath: "/e", mountPropagation: "Bidirectional" },
      ],
    },
    { volumes: [{ name: "v" }] },
  ),
  container(
    { volumeMounts: [{ name: "v", mountPath: "/a", readOnly: true, mountPropagation: "None" }] },
    { volumes: [{ name: "v", emptyDir: { sizeLimit: "1024Mi", medium: "Memory" } }] },
  ),
  volume(
    { name: "a" },
    { name: "b", secret: { secretName: "s" } },
    { name: "c", configMap: { name: "m", items: [{ key: "k", path: "p" }] } },
    { name: "d", hostPath: { path: "/tmp" } },
    { name: "e", persistentVolumeClaim: { claimName: "c" } },
    {
      name: "f",
      downwardAPI: { items: [{ path: "l", fieldRef: { fieldPath: "metadata.labels" } }] },
    },
    {
      name: "g",
      projected: {
        sources: [
          { secret: { name: "s" } },
          { configMap: { name: "m", optional: false } },
          { downwardAPI: { items: [{ path: "x", fieldRef: { fieldPath: "metadata.name" } }] } },
        ],
      },
    },
    {
      name: "h",
      ephemeral: {
        volumeClaimTemplate: {
          spec: {
            accessModes: ["ReadWriteOnce"],
            resources: { requests: { storage: "1024Mi" } },
          },
        },
      },
    },
    { name: "i", nfs: { server: "s", path: "/p" } },
  ),
  volume({ name: "a" }, { name: "a" }, {}, { name: "A_" }),
  volume(
    { name: "a", emptyDir: {}, hostPath: { path: "/a" } },
    { name: "b", emptyDir: { sizeLimit: "-1" } },
    { name: "c", hostPath: { path: "" } },
    { name: "d", hostPath: { path: "/a/../b", type: "Thing" } },
    { name: "e", secret: { defaultMode: 1000 } },
    {
      name: "f",
      configMap: {
        items: [
          { key: "", path: "" },
          { key: "k", path: "/abs", mode: -1 },
        ],
      },
    },
    { name: "g", persistentVolumeClaim: { claimName: "" } },
    { name: "h", nfs: { server: "", path: "p" } },
  ),
  volume(
    {
      name: "a",
      downwardAPI: {
        defaultMode: 1000,
        items: [
          { path: "", fieldRef: { fieldPath: "spec.nodeName" } },
          { path: "..x" },
          {
            path: "ok",
            fieldRef: { fieldPath: "metadata.uid" },
            resourceFieldRef: { resource: "limits.cpu" },
          },
          { path: "p", resourceFieldRef: { resource: "limits.cpu" } },
        ],
      },
    },
    {
      name: "b",
      projected: {
        sources: [
          { secret: { items: [{ key: "a", path: "a" }] } },
          { configMap: { name: "m", items: [{ key: "a", path: "a" }] } },
          { serviceAccountToken: { path: "", expirationSeconds: 1 } },
          { serviceAccountToken: { path: "/t" } },
          { secret: { name: "a" }, configMap: { name: "b" } },
        ],
      },
    },
    { name: "c", ephemeral: {} },
  ),
  probe("livenessProbe", { httpGet: { port: 80 } }),
  probe("readinessProbe", { tcpSocket: { port: "http" }, periodSeconds: 3 }),
  probe("startupProbe", { grpc: { port: 80 }, failureThreshold: 30 }),
  probe("livenessProbe", { exec: { command: ["a"] }, initialDelaySeconds: 0 }),
  probe("livenessProbe", {}),
  probe("livenessProbe", { exec: {}, httpGet: { port: 80 }, tcpSocket: { port: 1 } }),
  probe("livenessProbe", {
    httpGet: { port: 0, scheme: "FTP", httpHeaders: [{ name: "a b", value: "c" }] },
    successThreshold: 2,
    timeoutSeconds: -1,
    terminationGracePeriodSeconds: 0,
  }),
  probe("readinessProbe", { tcpSocket: { port: "NOT--OK" }, terminationGracePeriodSeconds: 1 }),
  container({
    lifecycle: {
      preStop: { exec: { command: ["a"] } },
      postStart: { httpGet: { port: "http", path: "/x" } },
    },
  }),
  container({ lifecycle: { preStop: { sleep: { seconds: 40 } }, postStart: {} } }),
  container({ resources: { limits: { cpu: "0.5", memory: "1024Mi" } } }),
  container({ resources: { limits: { cpu: 1, memory: "1e3" }, requests: { cpu: "100m" } } }),
  container({
    resources: {
      limits: { cpu: "1", memory: "1.5Gi" },
      requests: { cpu: "1000m", memory: "1536Mi" },
    },
  }),
  container({ resources: { requests: { cpu: "0.0001", "ephemeral-storage": "0.5Ki" } } }),
  container({ resources: { limits: { cpu: "1" }, requests: { cpu: "2" } } }),
  container({ resources: { limits: { cpu: "-1", disk: "1", "nvidia.com/gpu": "1.5" } } }),
  container({ resources: { requests: { "nvidia.com/gpu": "1" } } }),
  container({
    resources: { limits: { "nvidia.com/gpu": "2" }, requests: { "nvidia.com/gpu": "1" } },
  }),
  container({ resources: { limits: { "nvidia.com/gpu": 1 } } }),
  container({ resources: { limits: { "hugepages-2Mi": "2Mi" } } }),
  container({ resources: { limits: { "a b": "1", "requests.x/y": "1" } } }),
  container({ securityContext: { runAsUser: -1, runAsGroup: 1, seccompProfile: { type: "X" } } }),
  container({ securityContext: { seccompProfile: { type: "Localhost" }, runAsNonRoot: false } }),
  container({
    stdin: false,
    tty: true,
    args: [],
    command: ["x"],
    env: [],
    restartPolicy: "Always",
  }),
  ...[
    { restartPolicy: "Sometimes" },
    { restartPolicy: "Never", activeDeadlineSeconds: 5 },
    { activeDeadlineSeconds: 0 },
    { dnsPolicy: "X" },
    { dnsPolicy: "None" },
    { dnsPolicy: "None", dnsConfig: { searches: ["a"] } },
    { dnsConfig: { nameservers: ["1.2.3.4", "x", "::1", "1.1.1.1"] } },
    { nodeSelector: { "a b": "c", d: "-" } },
    { serviceAccountName: "A_" },
    { serviceAccount: "sa" },
    { serviceAccountName: "sa", serviceAccount: "other" },
    { nodeName: "A_" },
    { nodeName: "n", schedulingGates: [{ name: "a" }] },
    { schedulingGates: [{ name: "a.example/b" }] },
    { hostname: "A.b", subdomain: "c_d" },
    { hostname: "" },
    { hostAliases: [{ ip: "x", hostnames: ["A_", "b"] }] },
    { terminationGracePeriodSeconds: 0 },
    { terminationGracePeriodSeconds: -5 },
    { enableServiceLinks: false, automountServiceAccountToken: false, hostNetwork: false },
    { priorityClassName: "system-node-critical" },
    { preemptionPolicy: "PreemptLowerPriority", priority: 0 },
    { securityContext: { fsGroup: -1, runAsUser: 5 } },
    { shareProcessNamespace: true, hostPID: true },
    { imagePullSecrets: [{ name: "x" }] },
    { readinessGates: [{ conditionType: "a.example/x" }, { conditionType: "" }] },
    { ephemeralContainers: [{ name: "e", image: "x" }] },
    { tolerations: [{ operator: "Exists" }] },
    {
      tolerations: [
        { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute" },
      ],
    },
    { tolerations: [{ key: "a" }, { key: "b", value: "c", effect: "NoSchedule" }] },
    {
      tolerations: [
        { operator: "Equal" },
        { key: "a b", operator: "Exists", value: "x" },
        { key: "a", operator: "Is", effect: "Never" },
        { key: "a", tolerationSeconds: 5 },
        { key: "a", value: "a b" },
      ],
    },
    { topologySpreadConstraints: [{ maxSkew: 0, topologyKey: "", whenUnsatisfiable: "X" }] },
    {
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: "zone",
          whenUnsatisfiable: "ScheduleAnyway",
          labelSelector: { matchLabels: { a: "b" } },
        },
      ],
    },
    {
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] },
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 0, preference: { matchExpressions: [{ key: "a", operator: "In" }] } },
          ],
        },
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: "" }],
          preferredDuringSchedulingIgnoredDuringExecution: [
            {
              weight: 101,
              podAffinityTerm: {
                topologyKey: "z",
                labelSelector: { matchExpressions: [{ key: "a", operator: "Is" }] },
              },
            },
          ],
        },
      },
    },
    {
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [
              {
                matchExpressions: [
                  { key: "a", operator: "Gt", values: ["1", "2"] },
                  { key: "b", operator: "Exists", values: ["1"] },
                  { key: "c", operator: "Is" },
                ],
              },
            ],
          },
        },
      },
    },
    { resources: { limits: { cpu: "1" } } },
    { overhead: { cpu: "-1" } },
    { initContainers: [{ name: "c", image: "x" }] },
    { initContainers: [{ name: "i", image: "x", livenessProbe: { exec: { command: ["a"] } } }] },
    { initContainers: [{ name: "i", image: "x:1", restartPolicy: "Always" }] },
    { initContainers: [{ name: "i", image: "x:1", restartPolicy: "Never" }] },
  ].map((spec) => podOf({ spec: spec as unknown as JsonObject })),
  container({ lifecycle: { stopSignal: "SIGTERM" }, restartPolicyRules: [{ action: "Restart" }] }),
  env({ name: "A", valueFrom: { fileKeyRef: { volumeName: "v", path: "p", key: "k" } } }),
  volume({ name: "v", image: { reference: "x" } }),
  podOf({ spec: { hostnameOverride: "x", hostUsers: false, os: { name: "linux" } } }),
  podOf({ spec: { resources: { limits: { cpu: "1" }, requests: { cpu: "500m" } } } }),
  container(
    { resources: { requests: { cpu: "1", memory: "1Gi" } } },
    { resources: { limits: { cpu: "2", memory: "2Gi" } } },
  ),
  podOf({ metadata: metadata("Bad_Name") }),
  podOf({
    metadata: metadata("p", { labels: {}, annotations: { a: "b" } }),
    status: { phase: "Running" },
  }),
  podOf({ spec: { activeDeadlineSeconds: 10, terminationGracePeriodSeconds: 5 } }, [
    ...patches(
      { metadata: { labels: { a: "b" } } },
      { spec: { containers: [{ name: "c", image: "other:1" }] } },
      { spec: { containers: [{ name: "c", image: "" }] } },
      {
        spec: {
          containers: [
            { name: "c", image: "nginx" },
            { name: "d", image: "x" },
          ],
        },
      },
      { spec: { containers: [{ name: "c", image: "nginx", command: ["x"] }] } },
      { spec: { nodeName: "n" } },
      { spec: { activeDeadlineSeconds: 5 } },
      { spec: { activeDeadlineSeconds: 20 } },
      { spec: { activeDeadlineSeconds: null } },
      { spec: { tolerations: [] } },
      { spec: { tolerations: [{ key: "a", operator: "Exists" }] } },
      { spec: { restartPolicy: "Never" } },
      { spec: { priority: 5 } },
      { spec: { schedulingGates: [{ name: "a" }] } },
    ),
    ...statuses(
      { phase: "Running", podIP: "10.0.0.1", hostIP: "10.0.0.2" },
      {
        conditions: [
          { type: "Ready", status: "True" },
          { type: "a b", status: "True" },
        ],
      },
      { podIPs: [{ ip: "x" }] },
      { podIPs: [{ ip: "10.0.0.1" }, { ip: "10.0.0.2" }] },
      { qosClass: "Guaranteed" },
      {
        containerStatuses: [
          { name: "c", state: { running: { startedAt: "2026-01-01T02:00:00+02:00" } } },
        ],
      },
    ),
    { put: { metadata: metadata("p"), spec: { containers: [CONTAINER] } } },
  ]),
];
