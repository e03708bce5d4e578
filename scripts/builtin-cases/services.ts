import type { JsonObject } from "#base/json.ts";
import { type Case, kindOf, metadata, patches, statuses } from "./case.ts";

const PORT = { port: 80 };
const service = kindOf("/Service", { metadata: metadata("s"), spec: { ports: [PORT] } });
export const SERVICES: Case[] = [
  ...[
    {},
    { ports: [] },
    { clusterIP: "None", ports: null },
    { clusterIP: "None", ports: null, selector: { a: "b" } },
    { clusterIP: "None", type: "NodePort" },
    { clusterIP: "None", type: "LoadBalancer" },
    { selector: { a: "b" }, sessionAffinity: "ClientIP" },
    { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } } },
    { sessionAffinity: "X" },
    { selector: { "a b": "-" } },
    { type: "X" },
    { type: "NodePort" },
    { type: "NodePort", externalTrafficPolicy: "Local" },
    { type: "NodePort", externalTrafficPolicy: "X", internalTrafficPolicy: "Y" },
    { type: "LoadBalancer" },
    { type: "LoadBalancer", externalTrafficPolicy: "Local" },
    {
      type: "LoadBalancer",
      allocateLoadBalancerNodePorts: false,
      loadBalancerClass: "a.example/b",
    },
    {
      type: "LoadBalancer",
      loadBalancerSourceRanges: ["1.2.3.0/24", "x"],
      loadBalancerClass: "a b",
    },
    { loadBalancerSourceRanges: ["1.2.3.0/24"], loadBalancerClass: "a" },
    { allocateLoadBalancerNodePorts: true },
    { type: "ExternalName", externalName: "a.example.", ports: null },
    { type: "ExternalName", ports: null },
    { type: "ExternalName", externalName: "A_", clusterIP: "None", ipFamilyPolicy: "SingleStack" },
    { type: "ExternalName", externalName: "a.example" },
    { externalTrafficPolicy: "Local", healthCheckNodePort: 30500 },
    { externalIPs: ["1.2.3.4"] },
    { externalIPs: ["x", "0.0.0.0", "169.254.1.1", "224.0.0.1"] },
    { trafficDistribution: "PreferClose" },
    { trafficDistribution: "X" },
    { ports: [PORT, { port: 81 }] },
    {
      ports: [
        { name: "a", port: 80 },
        { name: "a", port: 81 },
      ],
    },
    {
      ports: [
        { name: "a", port: 80 },
        { name: "b", port: 80 },
      ],
    },
    {
      ports: [
        { name: "a", port: 53 },
        { name: "b", port: 53, protocol: "UDP" },
      ],
      type: "NodePort",
    },
    { ports: [{ name: "A_", port: 0, protocol: "X", targetPort: 70000, appProtocol: "a b" }] },
    { ports: [{ port: 80, targetPort: "http", appProtocol: "http" }] },
    { ports: [{ port: 80, targetPort: "NOT--OK" }] },
    { ports: [{ port: 80, nodePort: 30123 }] },
    { type: "NodePort", ports: [{ port: 80, nodePort: 30123 }] },
    { type: "NodePort", ports: [{ port: 80, nodePort: 80 }] },
    {
      type: "NodePort",
      ports: [
        { name: "a", port: 80, nodePort: 30123 },
        { name: "b", port: 81, nodePort: 30123 },
      ],
    },
    {
      type: "NodePort",
      ports: [
        { name: "a", port: 80, nodePort: 30123 },
        { name: "b", port: 81, nodePort: 30123, protocol: "UDP" },
      ],
    },
    { clusterIP: "10.96.9.9" },
    { clusterIP: "1.2.3.4" },
    { clusterIP: "10.96.0.0" },
    { clusterIP: "x" },
    { clusterIP: "fd00::1" },
    { clusterIPs: ["10.96.9.9"] },
    { clusterIP: "10.96.9.9", clusterIPs: ["10.96.9.8"] },
    { clusterIP: "None", clusterIPs: ["None", "10.96.9.9"] },
    { clusterIP: "10.96.9.9", clusterIPs: ["10.96.9.9", "10.96.9.8"] },
    { clusterIP: "10.96.9.9", clusterIPs: ["10.96.9.9", "fd00::1"] },
    { ipFamilyPolicy: "PreferDualStack" },
    { ipFamilyPolicy: "RequireDualStack" },
    { ipFamilyPolicy: "X" },
    { ipFamilies: ["IPv6"] },
    { ipFamilies: ["IPv4", "IPv4"] },
    { ipFamilies: ["IPv4", "IPv6"] },
    { ipFamilies: ["X"] },
    { clusterIP: "10.96.9.9", ipFamilies: ["IPv6"] },
    { clusterIP: "None", ipFamilyPolicy: "SingleStack" },
    { publishNotReadyAddresses: false, externalIPs: [] },
  ].map((spec) => service({ spec: spec as unknown as JsonObject })),
  service({ metadata: metadata("9s") }),
  service({ metadata: metadata("s.a") }),
  service({ status: { loadBalancer: { ingress: [{ ip: "1.2.3.4" }] } } }),
  service({}, [
    ...patches(
      { spec: { type: "NodePort" } },
      { spec: { type: "LoadBalancer" } },
      { spec: { type: "ExternalName", externalName: "a.example" } },
      { spec: { type: "ExternalName", externalName: "a.example", ports: null } },
      { spec: { clusterIP: null } },
      { spec: { clusterIP: null, clusterIPs: null } },
      { spec: { clusterIP: "None" } },
      { spec: { clusterIP: "None", clusterIPs: null } },
      { spec: { clusterIP: "10.96.200.200", clusterIPs: ["10.96.200.200"] } },
      { spec: { selector: { a: "b" } } },
      { spec: { ports: [{ port: 81, targetPort: 5 }] } },
      { spec: { ports: [{ port: 81, nodePort: 30200 }] } },
      { spec: { ipFamilyPolicy: "PreferDualStack" } },
      { spec: { ipFamilies: ["IPv6"] } },
      { spec: { sessionAffinity: "ClientIP" } },
      { spec: { externalIPs: ["1.2.3.4"] } },
    ),
    ...statuses({ loadBalancer: { ingress: [{ ip: "1.2.3.4" }] } }),
    { put: { metadata: metadata("s"), spec: { ports: [PORT, { name: "b", port: 81 }] } } },
    { put: { metadata: metadata("s"), spec: { ports: [PORT] } } },
  ]),
  service(
    {
      spec: {
        type: "NodePort",
        ports: [
          { name: "a", port: 80 },
          { name: "b", port: 81 },
        ],
      },
    },
    [
      ...patches(
        { spec: { type: "ClusterIP" } },
        { spec: { type: "LoadBalancer" } },
        { spec: { ports: [{ name: "a", port: 90 }] } },
        {
          spec: {
            ports: [
              { name: "a", port: 90 },
              { name: "c", port: 91 },
            ],
          },
        },
        {
          spec: {
            ports: [
              { name: "a", port: 80, nodePort: 31999 },
              { name: "b", port: 81 },
            ],
          },
        },
        { spec: { externalTrafficPolicy: "Local" } },
        { spec: { type: "ExternalName", externalName: "x" } },
      ),
      {
        put: {
          metadata: metadata("s"),
          spec: { type: "NodePort", ports: [{ name: "b", port: 5 }] },
        },
      },
    ],
  ),
  service(
    { spec: { type: "LoadBalancer", externalTrafficPolicy: "Local", loadBalancerClass: "a" } },
    [
      ...patches(
        { spec: { type: "ClusterIP" } },
        { spec: { type: "NodePort" } },
        { spec: { loadBalancerClass: "b" } },
        { spec: { externalTrafficPolicy: "Cluster" } },
        { spec: { healthCheckNodePort: 30999 } },
        { spec: { allocateLoadBalancerNodePorts: false } },
      ),
      ...statuses(
        { loadBalancer: { ingress: [{ ip: "1.2.3.4" }, { hostname: "a.example" }] } },
        { loadBalancer: { ingress: [{ ip: "x" }, { hostname: "1.2.3.4", ipMode: "VIP" }] } },
      ),
    ],
  ),
  service({ spec: { type: "ExternalName", externalName: "a.example", ports: null } }, [
    ...patches(
      { spec: { type: "ClusterIP", ports: [PORT] } },
      { spec: { type: "ClusterIP" } },
      { spec: { externalName: "b.example" } },
    ),
  ]),
  service({ spec: { clusterIP: "None", selector: { a: "b" } } }, [
    ...patches(
      { spec: { clusterIP: "10.96.200.201" } },
      { spec: { type: "NodePort" } },
      { spec: { selector: { c: "d" } } },
    ),
  ]),
];
