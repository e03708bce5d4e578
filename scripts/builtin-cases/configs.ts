import { type Case, kindOf, metadata, patches } from "./case.ts";

const secret = kindOf("/Secret", { metadata: metadata("x") });
const configMap = kindOf("/ConfigMap", { metadata: metadata("x") });
export const CONFIGS: Case[] = [
  secret(),
  secret({ data: { a: "YQ==" }, stringData: { a: "b", c: "ä" } }),
  secret({ stringData: {}, data: {} }),
  secret({ stringData: { "a b": "c", "..": "d", "..e": "f" } }),
  secret({ type: "kubernetes.io/tls" }),
  secret({ type: "kubernetes.io/tls", stringData: { "tls.crt": "", "tls.key": "" } }),
  secret({ type: "kubernetes.io/dockerconfigjson" }),
  secret({ type: "kubernetes.io/dockerconfigjson", stringData: { ".dockerconfigjson": "{}" } }),
  secret({ type: "kubernetes.io/basic-auth" }),
  secret({ type: "kubernetes.io/ssh-auth", stringData: { "ssh-privatekey": "" } }),
  secret({ type: "kubernetes.io/service-account-token" }),
  secret({ type: "a.example/b", immutable: false }),
  secret({ stringData: { a: "b" } }, [
    ...patches(
      { type: "x" },
      { stringData: { c: "d" } },
      { data: null },
      { immutable: true },
      { type: null },
    ),
    { put: { metadata: metadata("x"), stringData: { z: "1" } } },
  ]),
  secret({ stringData: { a: "b" }, immutable: true }, [
    ...patches(
      { stringData: { a: "c" } },
      { immutable: null },
      { metadata: { labels: { a: "b" } } },
      { immutable: false, data: null },
    ),
  ]),
  configMap(),
  configMap({ data: { a: "b", "c/d": "e" } }),
  configMap({ data: { a: "b" }, binaryData: { a: "YQ==", "a b": "YQ==" } }),
  configMap({ data: {}, binaryData: {} }),
  configMap({ data: { big: "x".repeat(1_048_577) } }),
  configMap({ data: { a: "" }, immutable: true }, [
    ...patches({ data: { a: "c" } }, { binaryData: { b: "YQ==" } }, { immutable: null }),
  ]),
];

const slice = kindOf("discovery.k8s.io/EndpointSlice", {
  metadata: metadata("e"),
  addressType: "IPv4",
  endpoints: [{ addresses: ["10.0.0.1"] }],
  ports: [{ port: 80 }],
});
export const SLICES: Case[] = [
  slice({}, [
    ...patches(
      { addressType: "IPv6" },
      { endpoints: null },
      { ports: null },
      { endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: false } }] },
      { endpoints: [] },
    ),
  ]),
  slice({ addressType: null }),
  slice({ addressType: "X" }),
  slice({ endpoints: null, ports: null }),
  slice({ endpoints: [], ports: [] }),
  slice({ endpoints: [{ addresses: [] }, { addresses: ["x", "0.0.0.0", "169.254.1.1", "::1"] }] }),
  slice({ endpoints: [{ addresses: ["127.0.0.5"] }] }),
  slice({
    addressType: "IPv6",
    endpoints: [{ addresses: ["1.2.3.4", "FD00::1", "fe80::1", "x"] }],
  }),
  slice({ addressType: "IPv6", endpoints: [{ addresses: ["fd00::1"] }] }),
  slice({ addressType: "FQDN", endpoints: [{ addresses: ["a", "a.example.", "A_", ""] }] }),
  slice({ endpoints: [{ addresses: ["10.0.0.1"], hostname: "A_", nodeName: "B_", zone: "z" }] }),
  slice({
    endpoints: [
      {
        addresses: ["10.0.0.1"],
        hints: { forZones: [{ name: "a" }, { name: "a" }, { name: "a b" }] },
        targetRef: { kind: "Pod", name: "p" },
        deprecatedTopology: { a: "b" },
      },
    ],
  }),
  slice({
    ports: [
      { port: 80, name: "a" },
      { port: 81, name: "a" },
      { name: "A_", protocol: "X", appProtocol: "a b" },
    ],
  }),
  slice({ ports: [{ port: 80 }, { port: 81 }] }),
];
