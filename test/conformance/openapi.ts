import assert from "node:assert/strict";
import { it } from "node:test";
import { isObject } from "#base/json.ts";
import { itWithKubectl } from "#test/support/programs.ts";
import { at } from "./answer.ts";
import { definition } from "./objects.ts";
import { define } from "./prepare.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";

const V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

export function openApiTests(target: Target): void {
  it("/openapi/v3 says where each group's is, with a hash", async () => {
    const paths = (await target.get("/openapi/v3")).expect(200).at("paths");
    assert.ok(isObject(paths ?? null));
    for (const path of ["api/v1", "apis/apps/v1", "apis/model.aibrix.ai/v1alpha1", "version"]) {
      const url = at(paths, [path, "serverRelativeURL"]);
      assert.match(String(url), new RegExp(`^/openapi/v3/${path}\\?hash=[0-9A-F]{128}$`));
    }
  });

  it("a document by its hash may be kept for ever, by an old one leads to the new", async () => {
    const index = await target.get("/openapi/v3");
    const url = String(at(index.body, ["paths", "apis/apps/v1", "serverRelativeURL"]));
    const document = (await target.get(url)).expect(200);
    assert.equal(document.headers["cache-control"], "public, immutable");
    assert.match(String(document.headers["etag"]), /^"[0-9A-F]{128}"$/);
    const old = await target.get("/openapi/v3/apis/apps/v1?hash=OLD");
    assert.equal(old.expect(301).headers["location"], url);
    const plain = (await target.get("/openapi/v3/apis/apps/v1")).expect(200);
    assert.equal(plain.headers["cache-control"], "no-cache, private");
  });

  it("the schema of ModelAdapters", async () => {
    const document = (await target.get("/openapi/v3/apis/model.aibrix.ai/v1alpha1")).expect(200);
    assert.equal(document.at("openapi"), "3.0.0");
    const name = "ai.aibrix.model.v1alpha1.ModelAdapter";
    const schema = at(document.body, ["components", "schemas", name]);
    assert.deepEqual(at(schema, "x-kubernetes-group-version-kind"), [
      { group: "model.aibrix.ai", kind: "ModelAdapter", version: "v1alpha1" },
    ]);
    assert.deepEqual(at(schema, "properties.metadata.allOf"), [
      { $ref: "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" },
    ]);
    assert.deepEqual(at(schema, "required"), ["spec"]);
    assert.equal(at(schema, "properties.spec.properties.artifactURL.type"), "string");
    const path = "/apis/model.aibrix.ai/v1alpha1/namespaces/{namespace}/modeladapters/{name}";
    const operation = at(document.body, ["paths", path, "patch"]);
    assert.equal(at(operation, "x-kubernetes-action"), "patch");
    assert.deepEqual(at(operation, "x-kubernetes-group-version-kind"), {
      group: "model.aibrix.ai",
      kind: "ModelAdapter",
      version: "v1alpha1",
    });
  });

  it("the schema of deployments", async () => {
    const document = (await target.get("/openapi/v3/apis/apps/v1")).expect(200);
    const spec = at(document.body, ["components", "schemas", "io.k8s.api.apps.v1.DeploymentSpec"]);
    assert.equal(at(spec, "properties.replicas.type"), "integer");
    assert.equal(at(spec, "properties.replicas.format"), "int32");
    assert.deepEqual(at(spec, "required"), ["selector", "template"]);
  });

  it("/openapi/v2 as JSON", async () => {
    const document = (await target.get("/openapi/v2")).expect(200);
    assert.equal(document.at("swagger"), "2.0");
    const name = "ai.aibrix.model.v1alpha1.ModelAdapter";
    assert.equal(at(document.body, ["definitions", name, "type"]), "object");
    assert.equal(
      at(document.body, ["definitions", "io.k8s.api.core.v1.Pod", "properties", "spec", "$ref"]),
      "#/definitions/io.k8s.api.core.v1.PodSpec",
    );
  });

  it("/openapi/v2 as protobuf, which kubectl asks for", async () => {
    const answer = (await target.get("/openapi/v2", V2_PROTOBUF)).expect(200);
    // Asked for with an @, answered with a dot.
    assert.equal(answer.headers["content-type"], V2_PROTOBUF.replace("@", "."));
    // Field 1 of the document: swagger "2.0".
    assert.ok(answer.text.startsWith("\n\x032.0\x12"), JSON.stringify(answer.text.slice(0, 20)));
  });

  itWithKubectl("kubectl explain of a field of a deployment", async () => {
    const said = await target.kubectl(["explain", "deployment.spec.replicas"]);
    assert.equal(said.code, 0, said.stderr);
    const text =
      "GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nFIELD: replicas <integer>\n\n\nDESCRIPTION:\n    Number of desired pods. This is a pointer to distinguish between explicit\n    zero and not specified. Defaults to 1.\n    \n\n";
    assert.equal(said.stdout, text);
  });

  itWithKubectl("kubectl explain of what several kinds have", async () => {
    const said = await target.kubectl(["explain", "pod.spec.containers.livenessProbe"]);
    const lines = said.stdout.split("\n").map((line) => line.trim());
    assert.ok(
      lines.includes("Periodic probe of container liveness. Container will be restarted if the"),
    );
    assert.ok(
      lines.includes("Probe describes a health check to be performed against a container to"),
    );
    const prose = lines.slice(lines.indexOf("initialDelaySeconds\t<integer>") + 1);
    assert.match(prose[0] ?? "", /^Number of seconds after the container has started/);
  });

  itWithKubectl("kubectl explain of a ModelAdapter", async () => {
    const said = await target.kubectl(["explain", "modeladapter.spec"]);
    assert.equal(said.code, 0, said.stderr);
    assert.ok(
      said.stdout.startsWith(
        "GROUP:      model.aibrix.ai\nKIND:       ModelAdapter\nVERSION:    v1alpha1\n\nFIELD: spec <Object>\n",
      ),
      said.stdout,
    );
    assert.match(said.stdout, /^ {2}artifactURL\t<string> -required-$/m);
    assert.match(said.stdout, /^ {2}podSelector\t<Object> -required-$/m);
    assert.match(said.stdout, /^ {2}replicas\t<integer>\n {2}enum: 1$/m);
    assert.match(said.stdout, /^ {2}additionalConfig\t<map\[string\]string>$/m);
  });

  itWithKubectl("kubectl explain of a kind of its own", async () => {
    const group = `${target.unique("explain")}.example.com`;
    await define(target, definition(group, "Thing", { schema: { openAPIV3Schema: SCHEMA } }));
    const explained = async (path: string, ...flags: string[]) => {
      const type = [`--api-version=${group}/v1`, ...flags];
      // The schema is published a moment after the kind is served.
      return soon("kubectl explains", async () => {
        const said = await target.kubectl(["explain", path, ...type]);
        return said.stdout.includes("A thing") && said.stdout;
      });
    };
    assert.deepEqual(withoutProse(await explained("things")), explainedTop(group));
    assert.equal(
      (await explained("things", "--recursive")).split("FIELDS:\n")[1],
      EXPLAINED_RECURSIVELY,
    );
  });

  itWithKubectl("kubectl explain of a field that is not there", async () => {
    const said = await target.kubectl(["explain", "modeladapter.spec.none"]);
    assert.deepEqual([said.code, said.stderr], [1, 'error: field "none" does not exist\n']);
  });
}

const SCHEMA = {
  type: "object",
  description: "A thing that has a spec.",
  required: ["spec"],
  properties: {
    spec: {
      type: "object",
      description: "What is wanted of it.",
      required: ["size"],
      properties: {
        size: { type: "integer", enum: [1, 2] },
        words: { type: "array", items: { type: "string" } },
        parts: {
          type: "array",
          items: { type: "object", properties: { name: { type: "string", default: "n" } } },
        },
        labels: { type: "object", additionalProperties: { type: "string" } },
      },
    },
  },
};

/** What is told of each field, without the sentences about it, which are each server's own. */
const withoutProse = (text: string) =>
  text.split("\n").filter((line) => line !== "" && !/^ {4}/.test(line));

const explainedTop = (group: string) => [
  `GROUP:      ${group}`,
  "KIND:       Thing",
  "VERSION:    v1",
  "DESCRIPTION:",
  "FIELDS:",
  "  apiVersion\t<string>",
  "  kind\t<string>",
  "  metadata\t<ObjectMeta>",
  "  spec\t<Object> -required-",
];

const EXPLAINED_RECURSIVELY = `  apiVersion\t<string>
  kind\t<string>
  metadata\t<ObjectMeta>
    annotations\t<map[string]string>
    creationTimestamp\t<string>
    deletionGracePeriodSeconds\t<integer>
    deletionTimestamp\t<string>
    finalizers\t<[]string>
    generateName\t<string>
    generation\t<integer>
    labels\t<map[string]string>
    managedFields\t<[]ManagedFieldsEntry>
      apiVersion\t<string>
      fieldsType\t<string>
      fieldsV1\t<FieldsV1>
      manager\t<string>
      operation\t<string>
      subresource\t<string>
      time\t<string>
    name\t<string>
    namespace\t<string>
    ownerReferences\t<[]OwnerReference>
      apiVersion\t<string> -required-
      blockOwnerDeletion\t<boolean>
      controller\t<boolean>
      kind\t<string> -required-
      name\t<string> -required-
      uid\t<string> -required-
    resourceVersion\t<string>
    selfLink\t<string>
    uid\t<string>
  spec\t<Object> -required-
    labels\t<map[string]string>
    parts\t<[]Object>
      name\t<string>
    size\t<integer> -required-
    enum: 1, 2
    words\t<[]string>

`;
