/**
 * Writes src/local/apiserver/schema/kubernetes-schema.generated.json, the shapes of the built-in kinds that
 * the embedded API serves, and openapi/kubernetes-descriptions.generated.json, what `kubectl explain` says of
 * them, read from the OpenAPI documents of the Go module k8s.io/kubernetes.
 * Needs the Go toolchain. Run: node scripts/kube-schema.ts
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const MODULE = "k8s.io/kubernetes@v1.34.4";
const OUTPUT = new URL(
  "../src/local/apiserver/schema/kubernetes-schema.generated.json",
  import.meta.url,
);
const DESCRIPTIONS = new URL(
  "../src/local/apiserver/openapi/kubernetes-descriptions.generated.json",
  import.meta.url,
);
const DOCUMENTS = [
  "api__v1",
  "apis__apps__v1",
  "apis__discovery.k8s.io__v1",
  "apis__events.k8s.io__v1",
  "apis__coordination.k8s.io__v1",
  "apis__apiextensions.k8s.io__v1",
  "apis__rbac.authorization.k8s.io__v1",
  "apis__admissionregistration.k8s.io__v1",
];
/** Every other definition is here because one of these refers to it. */
const ROOTS = [
  ...[
    "ConfigMap",
    "Event",
    "Namespace",
    "Node",
    "PersistentVolumeClaim",
    "Pod",
    "Secret",
    "Service",
    "ServiceAccount",
  ].map((kind) => `io.k8s.api.core.v1.${kind}`),
  "io.k8s.api.apps.v1.Deployment",
  "io.k8s.api.apps.v1.ReplicaSet",
  "io.k8s.api.autoscaling.v1.Scale",
  "io.k8s.api.discovery.v1.EndpointSlice",
  "io.k8s.api.events.v1.Event",
  "io.k8s.api.coordination.v1.Lease",
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
  ...["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"].map(
    (kind) => `io.k8s.api.rbac.v1.${kind}`,
  ),
  ...["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"].map(
    (kind) => `io.k8s.api.admissionregistration.v1.${kind}`,
  ),
  "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
  "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
  "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
];
/** What the API computes with; descriptions go into a file of their own, examples nowhere. */
const KEPT = new Set([
  "type",
  "format",
  "items",
  "properties",
  "additionalProperties",
  "required",
  "enum",
  "oneOf",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-map-type",
  "x-kubernetes-patch-strategy",
  "x-kubernetes-patch-merge-key",
]);
/** Marks a field that is there even when nothing is in it, because Go cannot leave it out. */
const STRUCT = "x-always-present";
const REF_PREFIX = "#/components/schemas/";

type Schema = Record<string, unknown>;
const isSchema = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isEmptyObject = (value: unknown) => isSchema(value) && Object.keys(value).length === 0;

function compact(schema: Schema, refs: Set<string>): Schema {
  const result: Schema = {};
  const ref = refOf(schema);
  if (ref !== undefined) {
    refs.add(ref);
    result["$ref"] = ref;
  }
  for (const [key, value] of Object.entries(schema)) {
    if (!KEPT.has(key)) continue;
    if (key === "properties" && isSchema(value)) {
      result[key] = Object.fromEntries(
        Object.entries(value).map(([name, field]) => [name, compactField(field as Schema, refs)]),
      );
    } else if (isSchema(value)) result[key] = compact(value, refs);
    else result[key] = value;
  }
  // Go's zero values say nothing; "TCP" completes the keys of lists that server-side apply merges.
  const fallback = schema["default"];
  if (["string", "number"].includes(typeof fallback) && fallback !== "" && fallback !== 0) {
    result["default"] = fallback;
  }
  return result;
}

function compactField(field: Schema, refs: Set<string>): Schema {
  const result = compact(field, refs);
  if ("$ref" in result && isEmptyObject(field["default"])) result[STRUCT] = true;
  return result;
}

function refOf(schema: Schema): string | undefined {
  const [only] = Array.isArray(schema["allOf"]) ? (schema["allOf"] as Schema[]) : [schema];
  const ref = only?.["$ref"];
  return typeof ref === "string" ? ref.slice(REF_PREFIX.length) : undefined;
}

const module = JSON.parse(
  execFileSync("go", ["mod", "download", "-json", MODULE], { encoding: "utf8" }),
) as { Dir: string };
const source: Record<string, Schema> = {};
for (const name of DOCUMENTS) {
  const file = join(module.Dir, "api/openapi-spec/v3", `${name}_openapi.json`);
  const document = JSON.parse(readFileSync(file, "utf8")) as {
    components: { schemas: Record<string, Schema> };
  };
  Object.assign(source, document.components.schemas);
}

/** The descriptions of a definition and of its fields; that of the definition is under the empty name. */
function descriptionsOf(schema: Schema): Record<string, string> {
  const fields = Object.entries(isSchema(schema["properties"]) ? schema["properties"] : {});
  return Object.fromEntries(
    [["", schema] as const, ...fields].flatMap(([name, described]) => {
      const text = isSchema(described) ? described["description"] : undefined;
      return typeof text === "string" && text !== "" ? [[name, text]] : [];
    }),
  );
}

const definitions = new Map<string, Schema>();
const pending = [...ROOTS];
for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
  if (definitions.has(name)) continue;
  const schema = source[name];
  if (schema === undefined) throw new Error(`${name} is not in the documents of ${MODULE}`);
  const refs = new Set<string>();
  definitions.set(name, compact(schema, refs));
  pending.push(...refs);
}

const names = [...definitions.keys()].sort();
const write = (file: URL, what: string, value: (name: string) => unknown) => {
  const comment = `${what} of the Kubernetes API, taken from api/openapi-spec of ${MODULE} (Copyright The Kubernetes Authors, Apache-2.0) by scripts/kube-schema.ts.`;
  const lines = names.map((name) => `${JSON.stringify(name)}:${JSON.stringify(value(name))}`);
  const text = `{"comment":${JSON.stringify(comment)},\n"definitions":{\n${lines.join(",\n")}\n}}\n`;
  writeFileSync(file, text);
};
write(OUTPUT, "Field names, types and merge rules", (name) => definitions.get(name));
write(DESCRIPTIONS, "Descriptions", (name) => descriptionsOf(source[name] ?? {}));
console.log(`${definitions.size} definitions from ${MODULE}`);
