import { type Case, kindOf, metadata, patches, statuses } from "./case.ts";

const claim = kindOf("/PersistentVolumeClaim", {
  metadata: metadata("c"),
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1024Mi" } } },
});
const node = kindOf("/Node", { metadata: metadata("builtins-n") });
const namespace = kindOf("/Namespace", { metadata: metadata("builtins-ns") });
const lease = kindOf("coordination.k8s.io/Lease", { metadata: metadata("l") });
const account = kindOf("/ServiceAccount", { metadata: metadata("a") });
export const OTHERS: Case[] = [
  claim({}, [
    ...patches(
      { spec: { resources: { requests: { storage: "2Gi" } } } },
      { spec: { resources: { requests: { storage: "1Mi" } } } },
      { spec: { volumeName: "v" } },
      { spec: { accessModes: ["ReadWriteMany"] } },
      { spec: { volumeMode: "Block" } },
      { metadata: { labels: { a: "b" } } },
    ),
  ]),
  claim({ spec: { accessModes: null, resources: null } }),
  claim({
    spec: {
      accessModes: ["X", "ReadWriteOncePod", "ReadWriteOnce"],
      resources: { requests: { storage: "0" } },
    },
  }),
  claim({ spec: { storageClassName: "A_", volumeMode: "X" } }),
  claim({
    spec: { storageClassName: "", dataSource: { kind: "PersistentVolumeClaim", name: "o" } },
  }),
  claim({ spec: { dataSource: { kind: "Thing", name: "o" } } }),
  claim({ spec: { dataSourceRef: { apiGroup: "a.example", kind: "Thing", name: "o" } } }),
  claim({ spec: { dataSourceRef: { kind: "Thing", name: "" } } }),
  node(
    {
      status: {
        capacity: { cpu: "4", memory: "8192Mi" },
        conditions: [{ type: "Ready", status: "True" }],
      },
    },
    [
      ...patches(
        { spec: { unschedulable: true } },
        {
          spec: {
            taints: [
              { key: "a", effect: "NoSchedule" },
              { key: "a", effect: "NoSchedule" },
            ],
          },
        },
        { spec: { podCIDR: "10.1.0.0/24", providerID: "x" } },
      ),
      ...statuses(
        {
          addresses: [
            { type: "InternalIP", address: "1.2.3.4" },
            { type: "InternalIP", address: "1.2.3.4" },
          ],
        },
        { capacity: { cpu: "-1" } },
        { allocatable: { pods: "110" } },
      ),
    ],
  ),
  node({ spec: { podCIDR: "10.1.0.0/24", providerID: "x" } }, [
    ...patches(
      { spec: { podCIDR: "10.2.0.0/24", podCIDRs: ["10.2.0.0/24"] } },
      { spec: { providerID: "y" } },
    ),
  ]),
  node({ spec: { taints: [{ key: "a b", value: "-", effect: "X" }, {}], podCIDR: "x" } }),
  namespace({}, [
    ...patches(
      { metadata: { labels: { a: "b" } } },
      { spec: { finalizers: ["a.example/b"] } },
      { metadata: { labels: null } },
    ),
    ...statuses({ phase: "Terminating" }),
  ]),
  namespace({ spec: { finalizers: ["x", "a.example/b"] } }),
  namespace({ metadata: metadata("a.b") }),
  lease(),
  lease(
    {
      spec: {
        holderIdentity: "",
        leaseDurationSeconds: 15,
        renewTime: "2026-01-01T00:00:00.123456Z",
      },
    },
    [...patches({ spec: { leaseDurationSeconds: 0, leaseTransitions: -1 } }, { spec: null })],
  ),
  lease({ spec: { leaseDurationSeconds: -1, strategy: "X", preferredHolder: "h" } }),
  account({
    secrets: [{ name: "s", namespace: "n" }],
    automountServiceAccountToken: false,
    imagePullSecrets: [],
  }),
  account({ metadata: metadata("A_") }),
];
