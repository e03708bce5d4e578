import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "#base/json.ts";
import samples from "../../../../fixtures/kubernetes/validation.json" with { type: "json" };
import { objectAt, objectsAt } from "../json-access.ts";
import { builtinKinds } from "./builtin-kinds.ts";
import { kindsOfCrd } from "./crd-kinds.ts";
import {
  aggregatedDiscovery,
  apiGroup,
  apiGroupList,
  apiResourceList,
  apiVersions,
  compareVersions,
} from "./discovery.ts";

const kinds = [
  ...builtinKinds(),
  ...(samples.crds as unknown as JsonObject[]).flatMap((crd) => kindsOfCrd(crd)),
];
const find = (list: JsonObject[], key: string, value: string) => {
  const found = list.find((item) => item[key] === value);
  assert(found !== undefined, value);
  return found;
};

test("everything at once", () => {
  const core = aggregatedDiscovery(kinds, "api", "v2");
  assert.equal(core["apiVersion"], "apidiscovery.k8s.io/v2");
  const [group] = objectsAt(core, "items");
  const [v1] = objectsAt(group, "versions");
  assert.deepEqual(objectAt(group, "metadata"), {});
  assert.deepEqual(find(objectsAt(v1, "resources"), "resource", "pods"), {
    resource: "pods",
    responseKind: { group: "", version: "v1", kind: "Pod" },
    scope: "Namespaced",
    singularResource: "pod",
    verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    shortNames: ["po"],
    categories: ["all"],
    subresources: [
      {
        subresource: "binding",
        responseKind: { group: "", version: "v1", kind: "Binding" },
        verbs: ["create"],
      },
      {
        subresource: "exec",
        responseKind: { group: "", version: "v1", kind: "PodExecOptions" },
        verbs: ["create", "get"],
      },
      {
        subresource: "log",
        responseKind: { group: "", version: "v1", kind: "Pod" },
        verbs: ["get"],
      },
      {
        subresource: "status",
        responseKind: { group: "", version: "v1", kind: "Pod" },
        verbs: ["get", "patch", "update"],
      },
    ],
  });
  const others = aggregatedDiscovery(kinds, "apis", "v2beta1");
  assert.equal(others["apiVersion"], "apidiscovery.k8s.io/v2beta1");
  const names = objectsAt(others, "items").map((item) => objectAt(item, "metadata")["name"]);
  assert.ok(names.includes("test.example.com") && names.includes("apps") && !names.includes(""));
});

// As kube-apiserver 1.34 answers, but for the order of verbs and resources.
test("group by group", () => {
  assert.deepEqual(apiVersions("127.0.0.1:16443")["versions"], ["v1"]);
  const group = {
    name: "test.example.com",
    versions: [{ groupVersion: "test.example.com/v1", version: "v1" }],
    preferredVersion: { groupVersion: "test.example.com/v1", version: "v1" },
  };
  assert.deepEqual(apiGroup(kinds, "test.example.com"), {
    kind: "APIGroup",
    apiVersion: "v1",
    ...group,
  });
  assert.deepEqual(find(objectsAt(apiGroupList(kinds), "groups"), "name", group.name), group);
  assert.equal(apiGroup(kinds, "nope"), undefined);
  assert.equal(apiResourceList(kinds, "apps", "v2"), undefined);

  const list = apiResourceList(kinds, "test.example.com", "v1");
  assert.equal(list?.["groupVersion"], "test.example.com/v1");
  assert.deepEqual(find(objectsAt(list, "resources"), "name", "things"), {
    name: "things",
    singularName: "thing",
    namespaced: true,
    kind: "Thing",
    verbs: ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
    shortNames: ["th"],
    categories: ["all"],
    storageVersionHash: "Cus4EAt+Eb4=",
  });
  assert.deepEqual(find(objectsAt(list, "resources"), "name", "things/scale"), {
    name: "things/scale",
    singularName: "",
    namespaced: true,
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    verbs: ["get", "patch", "update"],
  });
  const core = apiResourceList(kinds, "", "v1");
  const namespaces = find(objectsAt(core, "resources"), "name", "namespaces");
  assert.equal(JSON.stringify(namespaces["verbs"]).includes("deletecollection"), false);
});

test("versions in the order of preference", () => {
  const versions = ["v1beta1", "foo", "v1", "v2alpha1", "v10", "v2", "v1beta2", "bar"];
  assert.deepEqual(versions.sort(compareVersions), [
    "v10",
    "v2",
    "v1",
    "v1beta2",
    "v1beta1",
    "v2alpha1",
    "bar",
    "foo",
  ]);
});
