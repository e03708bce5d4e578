/** Objects that the tests create, each as small as the API lets it be. */
import type { JsonObject } from "#base/json.ts";

export const GROUP = "/apis/model.aibrix.ai/v1alpha1";

type Meta = JsonObject;

const named = (name: string, meta: Meta): JsonObject => ({ name, ...meta });

export function configMap(name: string, data: JsonObject = { a: "1" }, meta: Meta = {}) {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: named(name, meta), data };
}

export function secret(name: string, meta: Meta = {}) {
  const data = { key: Buffer.from("value").toString("base64") };
  return { apiVersion: "v1", kind: "Secret", metadata: named(name, meta), data };
}

export function pod(name: string, spec: JsonObject = {}, meta: Meta = {}) {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: named(name, meta),
    spec: { containers: [{ name: "main", image: "example/image:1" }], ...spec },
  };
}

export function service(name: string, spec: JsonObject = {}, meta: Meta = {}) {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: named(name, meta),
    spec: { ports: [{ name: "http", port: 80 }], ...spec },
  };
}

export function deployment(name: string, spec: JsonObject = {}, meta: Meta = {}) {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: named(name, meta),
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: "main", image: "example/image:1" }] },
      },
      ...spec,
    },
  };
}

export function replicaSet(name: string, spec: JsonObject = {}, meta: Meta = {}) {
  return { ...deployment(name, spec, meta), kind: "ReplicaSet" };
}

export function lease(name: string, meta: Meta = {}) {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: named(name, meta),
    spec: { holderIdentity: "me", leaseDurationSeconds: 15 },
  };
}

export function adapter(name: string, spec: JsonObject = {}, meta: Meta = {}) {
  return {
    apiVersion: "model.aibrix.ai/v1alpha1",
    kind: "ModelAdapter",
    metadata: named(name, meta),
    spec: {
      baseModel: "base",
      artifactURL: "huggingface://org/repo",
      podSelector: { matchLabels: { "model.aibrix.ai/name": "base" } },
      ...spec,
    },
  };
}

/** A definition whose objects take anything below `spec` unless a schema is given. */
export function definition(
  group: string,
  kind: string,
  version: JsonObject = {},
  spec: JsonObject = {},
) {
  const singular = kind.toLowerCase();
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${singular}s.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, plural: `${singular}s`, singular, listKind: `${kind}List` },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: "object",
              properties: {
                spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
                status: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
              },
            },
          },
          ...version,
        },
      ],
      ...spec,
    },
  };
}
