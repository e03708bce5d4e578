import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Container, Pod } from "#api/kubernetes.ts";
import { type EnvironmentContext, environmentOf } from "./environment.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");

const pod: Pod = {
  metadata: {
    name: "web-1",
    namespace: "shop",
    uid: "u-1",
    labels: { "model.aibrix.ai/name": "qwen" },
    annotations: { note: "hello" },
  },
  spec: { containers: [] },
};

function resolve(container: Partial<Container>, context: Partial<EnvironmentContext> = {}) {
  return environmentOf(
    { name: "main", ...container },
    {
      pod,
      podAddress: "127.20.0.9",
      hostAddress: "127.0.0.1",
      nodeName: "loradock",
      mounts: [{ mountPath: "/data", folder: "/real" }],
      provided: { PATH: "/bin", KUBECONFIG: "/pods/u-1/kubeconfig" },
      allocatable: { cpu: "4", memory: "8Gi" },
      secret: (name) =>
        name === "keys"
          ? { metadata: { name }, data: { token: base64("s3cret localhost"), "a.b": base64("x") } }
          : undefined,
      configMap: (name) =>
        name === "settings"
          ? { metadata: { name }, data: { URL: "http://localhost:1/data", MODE: "fast" } }
          : undefined,
      ...context,
    },
  );
}

describe("environmentOf", () => {
  it("fills in values, references and the pod's own loopback and folders, in order", () => {
    const { values } = resolve({
      envFrom: [{ configMapRef: { name: "settings" }, prefix: "CFG_" }],
      env: [
        { name: "HOST", value: "0.0.0.0" },
        { name: "BASE", value: "http://$(HOST):8000" },
        { name: "FILE", value: "/data/$(CFG_MODE)" },
        { name: "LATE", value: "$(AFTER)" },
        { name: "AFTER", value: "1" },
        { name: "KUBECONFIG", value: "/data/own" },
      ],
    });
    assert.deepEqual(values, {
      PATH: "/bin",
      CFG_URL: "http://127.20.0.9:1/data",
      CFG_MODE: "fast",
      HOST: "127.20.0.9",
      BASE: "http://127.20.0.9:8000",
      FILE: "/real/fast",
      LATE: "$(AFTER)",
      AFTER: "1",
      KUBECONFIG: "/real/own",
    });
  });

  it("reads the downward API, resources, Secrets and ConfigMaps", () => {
    const from = (name: string, valueFrom: object) => ({ name, valueFrom });
    const field = (name: string, fieldPath: string) => from(name, { fieldRef: { fieldPath } });
    const { values } = resolve({
      resources: { limits: { memory: "1536Mi" }, requests: { cpu: "250m" } },
      env: [
        field("NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("UID", "metadata.uid"),
        field("MODEL", "metadata.labels['model.aibrix.ai/name']"),
        field("NOTE", "metadata.annotations['note']"),
        field("NODE", "spec.nodeName"),
        field("ACCOUNT", "spec.serviceAccountName"),
        field("IP", "status.podIP"),
        field("HOST_IP", "status.hostIP"),
        from("MEMORY", { resourceFieldRef: { resource: "limits.memory", divisor: "1Mi" } }),
        from("CPU", { resourceFieldRef: { resource: "limits.cpu" } }),
        from("ASKED", { resourceFieldRef: { resource: "requests.cpu" } }),
        from("TOKEN", { secretKeyRef: { name: "keys", key: "token" } }),
        from("MODE", { configMapKeyRef: { name: "settings", key: "MODE" } }),
        from("NONE", { secretKeyRef: { name: "absent", key: "x", optional: true } }),
      ],
    });
    assert.deepEqual(
      { ...values, PATH: undefined, KUBECONFIG: undefined },
      {
        PATH: undefined,
        KUBECONFIG: undefined,
        NAME: "web-1",
        NAMESPACE: "shop",
        UID: "u-1",
        MODEL: "qwen",
        NOTE: "hello",
        NODE: "loradock",
        ACCOUNT: "default",
        IP: "127.20.0.9",
        HOST_IP: "127.0.0.1",
        MEMORY: "1536",
        CPU: "4",
        ASKED: "1",
        TOKEN: "s3cret localhost",
        MODE: "fast",
      },
    );
  });

  it("skips names that no process can have and says which", () => {
    const { values, skipped } = resolve({ envFrom: [{ secretRef: { name: "keys" } }] });
    assert.equal(values["token"], "s3cret localhost");
    assert.deepEqual(skipped, ["a.b"]);
  });

  const missing: [string, Partial<Container>, RegExp][] = [
    ["Secret", { envFrom: [{ secretRef: { name: "absent" } }] }, /^secret "absent" not found$/],
    [
      "key of a Secret",
      { env: [{ name: "A", valueFrom: { secretKeyRef: { name: "keys", key: "no" } } }] },
      /^couldn't find key no in Secret shop\/keys$/,
    ],
    [
      "ConfigMap",
      { env: [{ name: "A", valueFrom: { configMapKeyRef: { name: "absent", key: "no" } } }] },
      /^configmap "absent" not found$/,
    ],
  ];
  for (const [what, container, message] of missing) {
    it(`refuses a missing ${what} in Kubernetes' words`, () => {
      assert.throws(() => resolve(container), { name: "UserError", message });
    });
  }
});
