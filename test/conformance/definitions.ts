/** The life of CustomResourceDefinitions, and what their objects then are. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { Json, JsonObject } from "#base/json.ts";
import { itWithKubectl } from "#test/support/programs.ts";
import { at, lasting } from "./answer.ts";
import { definition } from "./objects.ts";
import { define, established } from "./prepare.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";

const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

const schemaOf = (spec: JsonObject, more: JsonObject = {}): JsonObject => ({
  schema: {
    openAPIV3Schema: {
      type: "object",
      ...more,
      properties: { spec: { type: "object", ...spec } },
    },
  },
});

export function definitionTests(target: Target): void {
  const groupOf = (what: string) => `${target.unique(what)}.example.com`;
  const pathOf = (group: string) => `${DEFINITIONS}/things.${group}`;
  const things = async (group: string) =>
    `/apis/${group}/v1/namespaces/${await target.namespace()}/things`;
  const thing = (group: string, name: string, spec: Json = {}, meta: JsonObject = {}) => ({
    apiVersion: `${group}/v1`,
    kind: "Thing",
    metadata: { name, ...meta },
    spec,
  });

  it("is created, established, served, discovered, deleted with its objects, gone", async () => {
    const group = groupOf("life");
    const crd = definition(group, "Thing", {}, {});
    const made = await target.create(DEFINITIONS, crd);
    const { status: _, ...rest } = lasting(made.body);
    assert.deepEqual(rest, {
      ...crd,
      metadata: { name: `things.${group}`, generation: 1 },
      spec: { ...crd.spec, conversion: { strategy: "None" } },
    });
    await established(target, crd);
    assert.equal((await target.get(pathOf(group))).at("metadata.finalizers"), undefined);
    const status = (await target.get(pathOf(group))).at("status");
    assert.deepEqual(at(status, "storedVersions"), ["v1"]);
    assert.deepEqual(at(status, "acceptedNames"), crd.spec.names);
    const conditions = at(status, "conditions");
    assert.ok(Array.isArray(conditions));
    assert.deepEqual(
      conditions.map((one) => {
        const { lastTransitionTime, ...condition } = Object(one);
        assert.match(String(lastTransitionTime), /^\d{4}-/);
        return condition;
      }),
      [
        {
          type: "NamesAccepted",
          status: "True",
          reason: "NoConflicts",
          message: "no conflicts found",
        },
        {
          type: "Established",
          status: "True",
          reason: "InitialNamesAccepted",
          message: "the initial names have been accepted",
        },
      ],
    );
    const path = await things(group);
    await target.create(path, thing(group, "one"));
    await soon(
      "the group is discovered",
      async () => (await target.get(`/apis/${group}/v1`)).status === 200,
    );
    const listed = await target.get(`/apis/${group}/v1`);
    assert.equal(listed.at("resources.0.name"), "things");
    await using watch = await target.watch(path);
    assert.deepEqual(await watch.take(1), ["ADDED one"]);

    const deleted = (await target.delete(pathOf(group))).expect(200);
    assert.equal(deleted.at("kind"), "CustomResourceDefinition");
    assert.deepEqual(deleted.at("metadata.finalizers"), [
      "customresourcecleanup.apiextensions.k8s.io",
    ]);
    assert.deepEqual(await watch.take(1), ["DELETED one"]);
    await soon(
      "the definition is gone",
      async () => (await target.get(pathOf(group))).status === 404,
    );
    await soon(
      "its objects are no longer served",
      async () => (await target.get(path)).text === "404 page not found\n",
    );
    // Under the same name again, it begins empty.
    await define(target, crd);
    assert.deepEqual((await target.get(path)).names, []);
  });

  it("a changed schema is served", async () => {
    const group = groupOf("change");
    await define(
      target,
      definition(group, "Thing", schemaOf({ properties: { a: { type: "string" } } })),
    );
    const path = await things(group);
    const first = await target.create(path, thing(group, "one", { a: "1", b: "2" }));
    assert.deepEqual(first.at("spec"), { a: "1" });
    const properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/b";
    const patched = await target.patch(pathOf(group), "json", [
      { op: "add", path: properties, value: { type: "string", default: "x" } },
    ]);
    assert.equal(patched.expect(200).at("metadata.generation"), 2);
    await soon(
      "the new default shows in what is stored",
      async () => (await target.get(`${path}/one`)).at("spec.b") === "x",
    );
    const second = await target.create(path, thing(group, "two", { b: "2" }));
    assert.deepEqual(second.at("spec"), { b: "2" });
  });

  it("unknown fields are pruned, unless they are to be kept", async () => {
    const group = groupOf("prune");
    const open = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
    await define(
      target,
      definition(
        group,
        "Thing",
        schemaOf({
          properties: {
            known: { type: "object", properties: { a: { type: "string" } } },
            open,
            half: { ...open, properties: { in: { type: "object", properties: {} } } },
            list: {
              type: "array",
              items: { type: "object", properties: { a: { type: "string" } } },
            },
            map: {
              type: "object",
              additionalProperties: { type: "object", properties: { a: { type: "string" } } },
            },
          },
        }),
      ),
    );
    const spec = {
      known: { a: "1", b: "2" },
      open: { any: { thing: [1, null] } },
      half: { in: { gone: 1 }, out: 2 },
      list: [{ a: "1", b: "2" }, { b: "2" }],
      map: { k: { a: "1", b: "2" } },
      other: 1,
    };
    const made = await target.create(await things(group), {
      ...thing(group, "one", spec, { annotations: { a: "b" } }),
      top: 1,
    });
    assert.deepEqual(made.at("spec"), {
      known: { a: "1" },
      open: { any: { thing: [1, null] } },
      half: { in: {}, out: 2 },
      list: [{ a: "1" }, {}],
      map: { k: { a: "1" } },
    });
    assert.equal(made.at("top"), undefined);
    assert.deepEqual(made.at("metadata.annotations"), { a: "b" });
  });

  it("defaults", async () => {
    const group = groupOf("default");
    await define(
      target,
      definition(
        group,
        "Thing",
        schemaOf({
          default: {},
          properties: {
            a: { type: "integer", default: 5 },
            nested: { type: "object", properties: { b: { type: "string", default: "x" } } },
            filled: {
              type: "object",
              default: { c: 1 },
              properties: { c: { type: "integer" }, d: { type: "boolean", default: true } },
            },
            list: {
              type: "array",
              items: { type: "object", properties: { e: { type: "string", default: "y" } } },
            },
            nothing: { type: "string", nullable: true, default: "z" },
          },
        }),
      ),
    );
    const path = await things(group);
    const { spec: _, ...bare } = thing(group, "bare");
    const made = await target.create(path, bare);
    assert.deepEqual(made.at("spec"), { a: 5, filled: { c: 1, d: true }, nothing: "z" });
    const full = await target.create(
      path,
      thing(group, "full", { a: 0, nested: {}, list: [{}, { e: "q" }], nothing: null }),
    );
    assert.deepEqual(full.at("spec"), {
      a: 0,
      nested: { b: "x" },
      filled: { c: 1, d: true },
      list: [{ e: "y" }, { e: "q" }],
      nothing: null,
    });
  });

  it("validation: every fault at once", async () => {
    const group = groupOf("valid");
    await define(
      target,
      definition(
        group,
        "Thing",
        schemaOf({
          required: ["must"],
          properties: {
            must: { type: "string" },
            short: { type: "string", maxLength: 3 },
            like: { type: "string", pattern: "^a+$" },
            small: { type: "integer", maximum: 3 },
            one: { type: "string", enum: ["x", "y"] },
            set: { type: "array", "x-kubernetes-list-type": "set", items: { type: "string" } },
          },
        }),
      ),
    );
    const answer = await target.post(
      await things(group),
      thing(group, "one", { short: "long", like: "b", small: 5, one: "z", set: ["q", "q"] }),
    );
    answer.expect(422);
    const causes = answer.at("details.causes");
    assert.ok(Array.isArray(causes));
    assert.deepEqual(causes.map((one) => `${at(one, "field")}: ${at(one, "message")}`).sort(), [
      "spec.like: Invalid value: \"b\": spec.like in body should match '^a+$'",
      "spec.must: Required value",
      'spec.one: Unsupported value: "z": supported values: "x", "y"',
      'spec.set[1]: Duplicate value: "q"',
      "spec.short: Too long: may not be more than 3 bytes",
      "spec.small: Invalid value: 5: spec.small in body should be less than or equal to 3",
    ]);
  });

  it("rules (CEL), of one state and of a transition", async () => {
    const group = groupOf("rules");
    await define(
      target,
      definition(
        group,
        "Thing",
        schemaOf({
          properties: {
            min: { type: "integer" },
            max: { type: "integer" },
            fixed: {
              type: "string",
              "x-kubernetes-validations": [{ rule: "self == oldSelf", message: "is settled" }],
            },
          },
          "x-kubernetes-validations": [
            {
              rule: "!has(self.min) || !has(self.max) || self.min <= self.max",
              messageExpression: "'min is above ' + (self.max == 2 ? 'two' : 'max')",
              reason: "FieldValueForbidden",
              fieldPath: ".min",
            },
          ],
        }),
      ),
    );
    const path = await things(group);
    const forbidden = "Forbidden: min is above two";
    (await target.post(path, thing(group, "one", { min: 3, max: 2 }))).refused({
      code: 422,
      reason: "Invalid",
      message: `Thing.${group} "one" is invalid: spec.min: ${forbidden}`,
      details: {
        name: "one",
        group,
        kind: "Thing",
        causes: [{ reason: "FieldValueForbidden", message: forbidden, field: "spec.min" }],
      },
    });
    await target.create(path, thing(group, "one", { min: 1, max: 2, fixed: "a" }));
    const settled = 'Invalid value: "string": is settled';
    (await target.patch(`${path}/one`, "merge", { spec: { fixed: "b" } })).refused({
      code: 422,
      reason: "Invalid",
      message: `Thing.${group} "one" is invalid: spec.fixed: ${settled}`,
      details: {
        name: "one",
        group,
        kind: "Thing",
        causes: [{ reason: "FieldValueInvalid", message: settled, field: "spec.fixed" }],
      },
    });
    (await target.patch(`${path}/one`, "merge", { spec: { max: 9 } })).expect(200);
  });

  itWithKubectl("scale, columns, short names and categories", async () => {
    const group = groupOf("shape");
    const word = target.unique("th").replaceAll("-", "");
    const crd = definition(
      group,
      "Thing",
      {
        subresources: {
          status: {},
          scale: {
            specReplicasPath: ".spec.replicas",
            statusReplicasPath: ".status.replicas",
            labelSelectorPath: ".status.selector",
          },
        },
        additionalPrinterColumns: [
          { name: "Size", type: "integer", jsonPath: ".spec.replicas" },
          { name: "More", type: "string", jsonPath: ".spec.more", priority: 1 },
        ],
      },
      {
        names: {
          kind: "Thing",
          plural: "things",
          singular: "thing",
          listKind: "ThingList",
          shortNames: [word],
          categories: [`all${word}`],
        },
      },
    );
    await define(target, crd);
    const path = await things(group);
    const namespace = path.split("/")[5] ?? "";
    const made = await target.create(path, thing(group, "one", { replicas: 2, more: "m" }));
    await target.patch(`${path}/one/status`, "merge", { status: { replicas: 1, selector: "a=b" } });
    const scale = (await target.get(`${path}/one/scale`)).expect(200);
    assert.deepEqual(lasting(scale.body), {
      kind: "Scale",
      apiVersion: "autoscaling/v1",
      metadata: { name: "one", namespace },
      spec: { replicas: 2 },
      status: { replicas: 1, selector: "a=b" },
    });
    assert.equal(scale.uid, made.uid);
    const scaled = await target.patch(`${path}/one/scale`, "merge", { spec: { replicas: 7 } });
    assert.equal(scaled.expect(200).at("spec.replicas"), 7);
    const said = await soon("kubectl knows the short name", async () => {
      const printed = await target.kubectl(["get", word, "-o", "wide"], { namespace });
      return printed.code === 0 && printed.stdout;
    });
    assert.equal(said, "NAME   SIZE   MORE\none    7      m\n");
    const category = await target.kubectl(["get", `all${word}`], { namespace });
    assert.equal(category.stdout, "NAME   SIZE\none    7\n");
    const kubectl = await target.kubectl(["scale", `${word}/one`, "--replicas=3"], { namespace });
    assert.equal(kubectl.stdout, `thing.${group}/one scaled\n`);
    assert.equal((await target.get(`${path}/one`)).at("spec.replicas"), 3);
  });

  it("cluster-scoped objects, without columns", async () => {
    const group = groupOf("cluster");
    await define(target, definition(group, "Thing", {}, { scope: "Cluster" }));
    const path = `/apis/${group}/v1/things`;
    const made = await target.create(path, thing(group, "one"));
    assert.equal(made.at("metadata.namespace"), undefined);
    const table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const columns = (await target.get(path, table)).at("columnDefinitions");
    assert.ok(Array.isArray(columns));
    assert.deepEqual(
      columns.map((one) => at(one, "name")),
      ["Name", "Age"],
    );
  });

  it("several versions of one stored object", async () => {
    const group = groupOf("versions");
    const base = definition(group, "Thing");
    const [v1] = base.spec.versions;
    const crd = {
      ...base,
      spec: { ...base.spec, versions: [{ ...v1 }, { ...v1, name: "v1beta1", storage: false }] },
    };
    await define(target, crd);
    const path = await things(group);
    await target.create(path, thing(group, "one", { a: 1 }));
    const old = (await target.get(`${path.replace("/v1/", "/v1beta1/")}/one`)).expect(200);
    assert.equal(old.at("apiVersion"), `${group}/v1beta1`);
    assert.deepEqual(old.at("spec"), { a: 1 });
    const discovered = await target.get(`/apis/${group}`);
    assert.equal(discovered.at("preferredVersion.version"), "v1");
  });

  it("without a status subresource, status is a field like any other", async () => {
    const group = groupOf("plain");
    await define(target, definition(group, "Thing"));
    const path = await things(group);
    const made = await target.create(path, { ...thing(group, "one"), status: { a: 1 } });
    assert.deepEqual(made.at("status"), { a: 1 });
    const patched = await target.patch(`${path}/one`, "merge", { status: { a: 2 } });
    assert.equal(patched.expect(200).at("metadata.generation"), 2);
    (await target.get(`${path}/one/status`)).expect(404);
  });

  // Faults are found in the internal form of a definition: it has other names for some fields, and
  // what all versions share stands under spec.validation.
  const broken: Readonly<Record<string, [(crd: Crd) => unknown, readonly string[]]>> = {
    "a name that is not the plural and the group": [
      (crd) => ({ ...crd, metadata: { name: "x.example.com" } }),
      ['metadata.name: Invalid value: "x.example.com": must be spec.names.plural+"."+spec.group'],
    ],
    "no stored version": [
      (crd) => inVersion(crd, { storage: false }),
      [
        'spec.versions: Invalid value: [{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]: must have exactly one version marked as storage version',
        "status.storedVersions: Invalid value: null: must have at least one stored version",
      ],
    ],
    "a schema without types": [
      (crd) =>
        inVersion(crd, {
          schema: { openAPIV3Schema: { type: "object", properties: { spec: {} } } },
        }),
      [
        "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
      ],
    ],
    "a rule that does not compile": [
      (crd) =>
        inVersion(
          crd,
          schemaOf({ "x-kubernetes-validations": [{ rule: "self.none == 1", message: "m" }] }),
        ),
      [
        'spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.none == 1","Message":"m","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field \'none\'\n | self.none == 1\n | ....^',
      ],
    ],
    "a default of the wrong type": [
      (crd) => inVersion(crd, schemaOf({ properties: { a: { type: "string", default: 5 } } })),
      [
        'spec.validation.openAPIV3Schema.properties[spec].properties[a].default: Invalid value: "integer":  in body must be of type string: "integer"',
      ],
    ],
    "no schema": [
      (crd) => inVersion(crd, { schema: undefined }),
      ["spec.versions[0].schema.openAPIV3Schema: Required value"],
    ],
    "an unknown scope": [
      (crd) => ({ ...crd, spec: { ...crd.spec, scope: "Odd" } }),
      ['spec.scope: Unsupported value: "Odd": supported values: "Cluster", "Namespaced"'],
    ],
  };
  for (const [what, [change, causes]] of Object.entries(broken)) {
    it(`refuses ${what}`, async () => {
      const crd = definition(groupOf("broken"), "Thing");
      const answer = (await target.post(DEFINITIONS, change(crd))).expect(422);
      const found = answer.at("details.causes");
      assert.ok(Array.isArray(found), answer.text);
      assert.deepEqual(
        found.map((one) => `${at(one, "field")}: ${at(one, "message")}`),
        causes,
      );
    });
  }
}

type Crd = ReturnType<typeof definition>;

function inVersion(crd: Crd, version: object): unknown {
  return {
    ...crd,
    spec: { ...crd.spec, versions: crd.spec.versions.map((one) => ({ ...one, ...version })) },
  };
}
