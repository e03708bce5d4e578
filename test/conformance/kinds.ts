/** Each kind from its creation to its end: what the API fills in, and what it answers. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { at, lasting } from "./answer.ts";
import {
  adapter,
  configMap,
  deployment,
  GROUP,
  lease,
  pod,
  replicaSet,
  secret,
  service,
} from "./objects.ts";
import type { Target } from "./target.ts";

interface KindCase {
  /** The collection; NS stands for the test's namespace. */
  readonly path: string;
  readonly object: JsonObject;
  /** What the server adds to the object, index by index in arrays. */
  readonly adds: JsonObject;
  /** `metadata.generation` after a change of labels; left out for kinds that have none. */
  readonly generation?: number;
  /** How DELETE answers: mostly with a Status. */
  readonly deleted?: "object";
}

const CONTAINER = {
  resources: {},
  terminationMessagePath: "/dev/termination-log",
  terminationMessagePolicy: "File",
  imagePullPolicy: "IfNotPresent",
};
const POD_SPEC = {
  containers: [CONTAINER],
  restartPolicy: "Always",
  terminationGracePeriodSeconds: 30,
  dnsPolicy: "ClusterFirst",
  securityContext: {},
  schedulerName: "default-scheduler",
};
const TOLERATIONS = ["not-ready", "unreachable"].map((what) => ({
  key: `node.kubernetes.io/${what}`,
  operator: "Exists",
  effect: "NoExecute",
  tolerationSeconds: 300,
}));
const NOTHING_KNOWN = Object.fromEntries(
  [
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
  ].map((field) => [field, ""]),
);
const RBAC = "rbac.authorization.k8s.io";
const webhooks = (kind: string) => ({
  apiVersion: "admissionregistration.k8s.io/v1",
  kind,
  metadata: { name: "one" },
  webhooks: [
    {
      name: "a.example.com",
      clientConfig: { url: "https://127.0.0.1:1/" },
      rules: [
        {
          apiGroups: ["none.example.com"],
          apiVersions: ["v1"],
          operations: ["CREATE"],
          resources: ["nones"],
        },
      ],
      admissionReviewVersions: ["v1"],
      sideEffects: "None",
    },
  ],
});
const WEBHOOK = {
  rules: [{ scope: "*" }],
  failurePolicy: "Fail",
  matchPolicy: "Equivalent",
  namespaceSelector: {},
  objectSelector: {},
  timeoutSeconds: 10,
};

const KINDS: Readonly<Record<string, KindCase>> = {
  pods: {
    path: "/api/v1/namespaces/NS/pods",
    object: pod("one"),
    adds: {
      spec: {
        ...POD_SPEC,
        tolerations: TOLERATIONS,
        priority: 0,
        enableServiceLinks: true,
        preemptionPolicy: "PreemptLowerPriority",
      },
      status: { phase: "Pending", qosClass: "BestEffort" },
    },
    generation: 1,
    deleted: "object",
  },
  services: {
    path: "/api/v1/namespaces/NS/services",
    object: service("one", { clusterIP: "None", selector: { app: "one" } }),
    adds: {
      spec: {
        ports: [{ protocol: "TCP", targetPort: 80 }],
        clusterIPs: ["None"],
        type: "ClusterIP",
        sessionAffinity: "None",
        ipFamilies: ["IPv4"],
        ipFamilyPolicy: "SingleStack",
        internalTrafficPolicy: "Cluster",
      },
      status: { loadBalancer: {} },
    },
    deleted: "object",
  },
  secrets: {
    path: "/api/v1/namespaces/NS/secrets",
    object: secret("one"),
    adds: { type: "Opaque" },
  },
  configmaps: { path: "/api/v1/namespaces/NS/configmaps", object: configMap("one"), adds: {} },
  serviceaccounts: {
    path: "/api/v1/namespaces/NS/serviceaccounts",
    object: { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "one" } },
    adds: {},
    deleted: "object",
  },
  nodes: {
    path: "/api/v1/nodes",
    object: { apiVersion: "v1", kind: "Node", metadata: { name: "one" } },
    adds: {
      spec: { taints: [{ key: "node.kubernetes.io/not-ready", effect: "NoSchedule" }] },
      status: {
        daemonEndpoints: { kubeletEndpoint: { Port: 0 } },
        nodeInfo: NOTHING_KNOWN,
      },
    },
  },
  events: {
    path: "/api/v1/namespaces/NS/events",
    object: {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: "one" },
      involvedObject: { kind: "Pod", namespace: "NS", name: "one" },
      reason: "Tested",
      message: "a test",
      type: "Normal",
      source: { component: "test" },
      firstTimestamp: "2026-01-01T00:00:00Z",
      lastTimestamp: "2026-01-01T00:00:00Z",
      count: 1,
    },
    adds: { eventTime: null, reportingComponent: "", reportingInstance: "" },
  },
  "events.events.k8s.io": {
    path: "/apis/events.k8s.io/v1/namespaces/NS/events",
    object: {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: "two" },
      regarding: { kind: "Pod", namespace: "NS", name: "one" },
      reason: "Tested",
      note: "a test",
      type: "Normal",
      action: "Testing",
      reportingController: "example.com/test",
      reportingInstance: "test-1",
      eventTime: "2026-01-01T00:00:00.000000Z",
    },
    adds: {
      deprecatedSource: {},
      deprecatedFirstTimestamp: null,
      deprecatedLastTimestamp: null,
    },
  },
  deployments: {
    path: "/apis/apps/v1/namespaces/NS/deployments",
    object: deployment("one"),
    adds: {
      spec: {
        replicas: 1,
        template: { spec: POD_SPEC },
        strategy: {
          type: "RollingUpdate",
          rollingUpdate: { maxUnavailable: "25%", maxSurge: "25%" },
        },
        revisionHistoryLimit: 10,
        progressDeadlineSeconds: 600,
      },
      status: {},
    },
    generation: 1,
  },
  replicasets: {
    path: "/apis/apps/v1/namespaces/NS/replicasets",
    object: replicaSet("one"),
    adds: { spec: { replicas: 1, template: { spec: POD_SPEC } }, status: { replicas: 0 } },
    generation: 1,
  },
  leases: {
    path: "/apis/coordination.k8s.io/v1/namespaces/NS/leases",
    object: lease("one"),
    adds: {},
  },
  endpointslices: {
    path: "/apis/discovery.k8s.io/v1/namespaces/NS/endpointslices",
    object: {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "one" },
      addressType: "IPv4",
      endpoints: [{ addresses: ["127.0.9.1"] }],
      ports: [{ port: 80 }],
    },
    adds: { endpoints: [{ conditions: {} }], ports: [{ name: "", protocol: "TCP" }] },
    // Alone among all kinds, its labels count as what it says.
    generation: 2,
  },
  roles: {
    path: `/apis/${RBAC}/v1/namespaces/NS/roles`,
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: "Role",
      metadata: { name: "one" },
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }],
    },
    adds: {},
  },
  rolebindings: {
    path: `/apis/${RBAC}/v1/namespaces/NS/rolebindings`,
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: "RoleBinding",
      metadata: { name: "one" },
      roleRef: { apiGroup: RBAC, kind: "Role", name: "one" },
      subjects: [{ kind: "ServiceAccount", name: "one", namespace: "NS" }],
    },
    adds: {},
  },
  clusterroles: {
    path: `/apis/${RBAC}/v1/clusterroles`,
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: "ClusterRole",
      metadata: { name: "one" },
      rules: [{ nonResourceURLs: ["/healthz"], verbs: ["get"] }],
    },
    adds: {},
  },
  clusterrolebindings: {
    path: `/apis/${RBAC}/v1/clusterrolebindings`,
    object: {
      apiVersion: `${RBAC}/v1`,
      kind: "ClusterRoleBinding",
      metadata: { name: "one" },
      roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: "none" },
      subjects: [{ kind: "User", name: "jane" }],
    },
    adds: { subjects: [{ apiGroup: RBAC }] },
  },
  validatingwebhookconfigurations: {
    path: "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    object: webhooks("ValidatingWebhookConfiguration"),
    adds: { webhooks: [WEBHOOK] },
    generation: 1,
  },
  mutatingwebhookconfigurations: {
    path: "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    object: webhooks("MutatingWebhookConfiguration"),
    adds: { webhooks: [{ ...WEBHOOK, reinvocationPolicy: "Never" }] },
    generation: 1,
  },
  modeladapters: {
    path: `${GROUP}/namespaces/NS/modeladapters`,
    object: adapter("one"),
    adds: { spec: { schedulerName: "default" } },
    generation: 1,
  },
};

export function kindTests(target: Target): void {
  for (const [label, kind] of Object.entries(KINDS)) {
    it(`${label}: create, read, list, update, patch, delete`, () => wholeLife(target, label, kind));
  }

  it("namespaces: the label with their name, the finalizer, the phase", async () => {
    const name = target.unique("plain");
    const created = await target.create("/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name },
    });
    assert.deepEqual(lasting(created.body), {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels: { "kubernetes.io/metadata.name": name } },
      spec: { finalizers: ["kubernetes"] },
      status: { phase: "Active" },
    });
  });

  it("there are the namespaces default, kube-system, kube-public and kube-node-lease", async () => {
    const names = (await target.get("/api/v1/namespaces")).expect(200).names;
    for (const name of ["default", "kube-system", "kube-public", "kube-node-lease"])
      assert.ok(names.includes(name), name);
  });

  it("the service kubernetes is there and has the first address of its range", async () => {
    const found = await target.get("/api/v1/namespaces/default/services/kubernetes");
    // Which range it is, is each installation's own choice.
    assert.match(found.expect(200).textAt("spec.clusterIP"), /^\d+\.\d+\.0\.1$/);
    assert.deepEqual(found.at("metadata.labels"), {
      component: "apiserver",
      provider: "kubernetes",
    });
  });

  it("persistentvolumeclaims: protected from the start", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/persistentvolumeclaims`;
    const spec = { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } };
    const created = await target.create(path, {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "one" },
      spec,
    });
    assert.deepEqual(created.at("metadata.finalizers"), ["kubernetes.io/pvc-protection"]);
    assert.deepEqual(created.at("spec"), { ...spec, volumeMode: "Filesystem" });
    assert.deepEqual(created.at("status"), { phase: "Pending" });
  });

  it("an event is one object in both of its groups", async () => {
    const namespace = await target.namespace();
    const core = `/api/v1/namespaces/${namespace}/events`;
    const modern = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const event = KINDS["events"];
    assert.ok(event !== undefined);
    const created = await target.create(core, inNamespace(event.object, namespace, "one"));
    const other = (await target.get(`${modern}/one`)).expect(200);
    assert.equal(other.uid, created.uid);
    assert.equal(other.resourceVersion, created.resourceVersion);
    assert.deepEqual(lasting(other.body), {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: "one", namespace },
      regarding: { kind: "Pod", namespace, name: "one" },
      reason: "Tested",
      note: "a test",
      type: "Normal",
      deprecatedSource: { component: "test" },
      deprecatedFirstTimestamp: "2026-01-01T00:00:00Z",
      deprecatedLastTimestamp: "2026-01-01T00:00:00Z",
      deprecatedCount: 1,
      eventTime: null,
    });
    (await target.delete(`${modern}/one`)).expect(200);
    (await target.get(`${core}/one`)).expect(404);
  });

  it("a service with a selector gets a cluster IP of its own, and keeps it", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/services`;
    const one = await target.create(path, service("one", { selector: { a: "b" } }));
    const ip = one.textAt("spec.clusterIP");
    const first = await target.get("/api/v1/namespaces/default/services/kubernetes");
    const [a, b] = first.textAt("spec.clusterIP").split(".");
    assert.ok(ip.startsWith(`${a}.${b}.`), ip);
    assert.notEqual(ip, first.at("spec.clusterIP"));
    assert.deepEqual(one.at("spec.clusterIPs"), [ip]);
    const two = await target.create(path, service("two", { selector: { a: "b" } }));
    assert.notEqual(two.at("spec.clusterIP"), ip);
    const body = service("one", { clusterIP: `${a}.${b}.250.250` });
    const message = `Invalid value: ["${a}.${b}.250.250"]: may not change once set`;
    (await target.put(`${path}/one`, { ...body, metadata: one.at("metadata") })).refused({
      code: 422,
      reason: "Invalid",
      message: `Service "one" is invalid: spec.clusterIPs[0]: ${message}`,
      details: {
        name: "one",
        kind: "Service",
        causes: [
          {
            reason: "FieldValueInvalid",
            message,
            field: "spec.clusterIPs[0]",
          },
        ],
      },
    });
  });

  it("a headless service without a selector is for both families", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/services`;
    const made = await target.create(path, service("one", { clusterIP: "None" }));
    assert.equal(made.at("spec.ipFamilyPolicy"), "RequireDualStack");
    assert.deepEqual(made.at("spec.ipFamilies"), ["IPv4", "IPv6"]);
  });

  it("a secret's stringData becomes data", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/secrets`;
    const made = await target.create(path, {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "one" },
      stringData: { key: "value" },
    });
    assert.deepEqual(made.at("data"), { key: "dmFsdWU=" });
    assert.equal(made.at("stringData"), undefined);
  });

  it("who writes stringData manages data, unless it applies", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/secrets`;
    const secret = (value: string) => ({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "one" },
      stringData: { key: value },
    });
    const made = await target.create(`${path}?fieldManager=m`, secret("value"));
    const managed = (answer: typeof made) => answer.at("metadata.managedFields.0.fieldsV1");
    assert.deepEqual(managed(made), {
      "f:data": { ".": {}, "f:key": {} },
      "f:type": {},
    });
    const put = await target.put(`${path}/one?fieldManager=m`, secret("other"));
    assert.deepEqual(managed(put.expect(200)), managed(made));
    const applied = await target.patch(`${path}/one?fieldManager=a`, "apply", secret("third"));
    assert.deepEqual(applied.expect(200).at("data"), { key: "dGhpcmQ=" });
  });

  it("a config map's keys that other languages know", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/configmaps`;
    const text = `{"metadata":{"name":"one"},"data":{"__proto__":"a","constructor":"b","toString":"c"}}`;
    const made = (await target.request("POST", path, { body: text })).expect(201);
    assert.match(made.text, /"__proto__":"a","constructor":"b","toString":"c"/);
    const patch = `{"data":{"__proto__":"z","valueOf":"d"}}`;
    const patched = await target.patch(`${path}/one`, "merge", patch);
    assert.match(patched.expect(200).text, /"__proto__":"z".*"valueOf":"d"/);
    assert.deepEqual((await target.get(`${path}?labelSelector=constructor`)).items, []);
  });
}

async function wholeLife(target: Target, label: string, kind: KindCase): Promise<void> {
  const namespaced = kind.path.includes("/NS/");
  const namespace = namespaced ? await target.namespace() : undefined;
  const path = kind.path.replace("NS", namespace ?? "");
  const name = namespaced ? String(at(kind.object, "metadata.name")) : target.unique("one");
  const object = inNamespace(kind.object, namespace ?? "", name);
  const adds = {
    ...kind.adds,
    metadata: {
      ...(namespace === undefined ? {} : { namespace }),
      ...(kind.generation === undefined ? {} : { generation: 1 }),
    },
  };

  const created = (await target.post(path, object)).expect(201);
  assert.deepEqual(lasting(created.body), plus(object, adds), "as created");

  const read = (await target.get(`${path}/${name}`)).expect(200);
  assert.deepEqual(read.body, created.body, "as read");

  const list = (await target.get(path)).expect(200);
  assert.equal(list.at("kind"), `${object["kind"]}List`);
  assert.equal(list.at("apiVersion"), object["apiVersion"]);
  const item = list.items.find((one) => at(one, "metadata.name") === name);
  const { kind: _, apiVersion: __, ...bare } = created.body;
  // Lists of custom objects spell out their kinds, lists of built-in ones do not.
  assert.deepEqual(item, label === "modeladapters" ? created.body : bare, "as listed");

  const updated = (
    await target.put(`${path}/${name}`, plus(created.body, { metadata: { labels: { x: "y" } } }))
  ).expect(200);
  assert.deepEqual(updated.at("metadata.labels"), { x: "y" });
  assert.equal(updated.at("metadata.generation"), kind.generation, "generation after an update");
  assert.notEqual(updated.resourceVersion, created.resourceVersion);
  assert.equal(updated.uid, created.uid);

  const patch = { metadata: { labels: { x: null, z: "1" } } };
  const patched = (await target.patch(`${path}/${name}`, "merge", patch)).expect(200);
  assert.deepEqual(patched.at("metadata.labels"), { z: "1" });

  const again = (await target.patch(`${path}/${name}`, "merge", patch)).expect(200);
  assert.equal(again.resourceVersion, patched.resourceVersion, "a patch that changes nothing");

  const deleted = (await target.delete(`${path}/${name}`)).expect(200);
  if (kind.deleted === "object") assert.equal(deleted.at("kind"), object["kind"]);
  else assert.deepEqual(deleted.body, success(path, name, created.uid));
  (await target.get(`${path}/${name}`)).expect(404);
}

/** The Status with which a DELETE answers. */
function success(path: string, name: string, uid: string): JsonObject {
  const group = path.startsWith("/apis/") ? { group: path.split("/")[2] ?? "" } : {};
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: { name, ...group, kind: path.split("/").at(-1) ?? "", uid },
  };
}

function inNamespace(object: JsonObject, namespace: string, name: string): JsonObject {
  const text = JSON.stringify(object).replaceAll('"NS"', JSON.stringify(namespace));
  return plus(JSON.parse(text), { metadata: { name } });
}

/** `object` with what `adds` has, merged deeply; arrays index by index. */
function plus(object: JsonObject, adds: JsonObject): JsonObject {
  return merged(object, adds) as JsonObject;
}

function merged(value: Json | undefined, adds: Json): Json {
  if (Array.isArray(value) && Array.isArray(adds)) {
    const length = Math.max(value.length, adds.length);
    return Array.from({ length }, (_, index) => {
      const add = adds[index];
      return add === undefined ? (value[index] ?? null) : merged(value[index], add);
    });
  }
  if (!isObject(value) || !isObject(adds)) return adds;
  const result: JsonObject = { ...value };
  for (const [key, add] of Object.entries(adds)) result[key] = merged(value[key], add);
  return result;
}
