/** What there is: versions, groups, resources, and how kubectl shows them. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { isObject, type JsonObject } from "#base/json.ts";
import { itWithKubectl } from "#test/support/programs.ts";
import { at } from "./answer.ts";
import type { Target } from "./target.ts";

const AGGREGATED =
  "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const ALL = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/** Of each group and version that we serve: `plural kind short,names categories verbs`. */
const RESOURCES: Readonly<Record<string, readonly string[]>> = {
  "api/v1": [
    "configmaps ConfigMap ns=true cm",
    "events Event ns=true ev",
    "namespaces Namespace ns=false ns",
    "nodes Node ns=false no",
    "persistentvolumeclaims PersistentVolumeClaim ns=true pvc",
    "pods Pod ns=true po all",
    "secrets Secret ns=true",
    "serviceaccounts ServiceAccount ns=true sa",
    "services Service ns=true svc all",
  ],
  "apis/apps/v1": [
    "deployments Deployment ns=true deploy all",
    "replicasets ReplicaSet ns=true rs all",
  ],
  "apis/events.k8s.io/v1": ["events Event ns=true ev"],
  "apis/coordination.k8s.io/v1": ["leases Lease ns=true"],
  "apis/discovery.k8s.io/v1": ["endpointslices EndpointSlice ns=true"],
  "apis/apiextensions.k8s.io/v1": [
    "customresourcedefinitions CustomResourceDefinition ns=false crd,crds api-extensions",
  ],
  "apis/rbac.authorization.k8s.io/v1": [
    "clusterrolebindings ClusterRoleBinding ns=false",
    "clusterroles ClusterRole ns=false",
    "rolebindings RoleBinding ns=true",
    "roles Role ns=true",
  ],
  "apis/admissionregistration.k8s.io/v1": [
    "mutatingwebhookconfigurations MutatingWebhookConfiguration ns=false api-extensions",
    "validatingwebhookconfigurations ValidatingWebhookConfiguration ns=false api-extensions",
  ],
  "apis/model.aibrix.ai/v1alpha1": ["modeladapters ModelAdapter ns=true"],
};

function line(resource: JsonObject, scoped: boolean): string {
  const list = (path: string) => {
    const names = resource[path];
    return Array.isArray(names) ? ` ${names.join(",")}` : "";
  };
  const name = resource["name"] ?? resource["resource"];
  const kind = resource["kind"] ?? at(resource, "responseKind.kind");
  return `${name} ${kind} ns=${scoped}${list("shortNames")}${list("categories")}`;
}

export function discoveryTests(target: Target): void {
  it("/version", async () => {
    const version = (await target.get("/version")).expect(200);
    assert.equal(version.at("major"), "1");
    assert.equal(version.at("minor"), "34");
    assert.match(version.textAt("gitVersion"), /^v1\.34\.\d+/);
  });

  for (const path of ["/healthz", "/livez", "/readyz"]) {
    it(path, async () => {
      const answer = (await target.get(path)).expect(200);
      assert.equal(answer.text, "ok");
      assert.equal(answer.headers["content-type"], "text/plain; charset=utf-8");
      assert.equal(answer.headers["x-content-type-options"], "nosniff");
    });
  }

  it("/api", async () => {
    const answer = (await target.get("/api")).expect(200);
    const { serverAddressByClientCIDRs, ...rest } = answer.body;
    assert.deepEqual(rest, { kind: "APIVersions", versions: ["v1"] });
    assert.ok(Array.isArray(serverAddressByClientCIDRs));
    assert.equal(at(serverAddressByClientCIDRs, "0.clientCIDR"), "0.0.0.0/0");
  });

  it("/apis lists the groups", async () => {
    const answer = (await target.get("/apis")).expect(200);
    assert.equal(answer.at("kind"), "APIGroupList");
    assert.equal(answer.at("apiVersion"), "v1");
    const groups = answer.at("groups");
    assert.ok(Array.isArray(groups));
    const apps = groups.find((group) => at(group, "name") === "apps");
    assert.deepEqual(apps, {
      name: "apps",
      versions: [{ groupVersion: "apps/v1", version: "v1" }],
      preferredVersion: { groupVersion: "apps/v1", version: "v1" },
    });
    const custom = groups.find((group) => at(group, "name") === "model.aibrix.ai");
    assert.deepEqual(custom, {
      name: "model.aibrix.ai",
      versions: [{ groupVersion: "model.aibrix.ai/v1alpha1", version: "v1alpha1" }],
      preferredVersion: { groupVersion: "model.aibrix.ai/v1alpha1", version: "v1alpha1" },
    });
  });

  it("/apis/<group>", async () => {
    const answer = (await target.get("/apis/apps")).expect(200);
    assert.deepEqual(answer.body, {
      kind: "APIGroup",
      apiVersion: "v1",
      name: "apps",
      versions: [{ groupVersion: "apps/v1", version: "v1" }],
      preferredVersion: { groupVersion: "apps/v1", version: "v1" },
    });
    const custom = (await target.get("/apis/model.aibrix.ai")).expect(200);
    assert.equal(custom.at("kind"), "APIGroup");
  });

  for (const [path, lines] of Object.entries(RESOURCES)) {
    it(`/${path} lists its resources`, async () => {
      const answer = (await target.get(`/${path}`)).expect(200);
      assert.equal(answer.at("kind"), "APIResourceList");
      assert.equal(answer.at("groupVersion"), path.replace(/^apis?\//, ""));
      const resources = answer.at("resources");
      assert.ok(Array.isArray(resources));
      const found = resources.filter(isObject);
      const shown = found.map((one) => line(one, one["namespaced"] === true));
      for (const wanted of lines)
        assert.ok(shown.includes(wanted), `${wanted}\n${shown.join("\n")}`);
      for (const one of found) {
        const name = String(one["name"]);
        if (!lines.some((wanted) => wanted.startsWith(`${name} `))) continue;
        const verbs = one["verbs"];
        assert.ok(Array.isArray(verbs));
        assert.deepEqual(
          [...verbs].sort(),
          name === "namespaces" ? withoutCollection() : ALL,
          name,
        );
        assert.equal(one["singularName"], String(one["kind"]).toLowerCase(), name);
      }
    });
  }

  it("/api/v1 and /apis/apps/v1 list the subresources", async () => {
    const names = async (path: string) => {
      const resources = (await target.get(path)).at("resources");
      assert.ok(Array.isArray(resources));
      return resources.map((one) => `${at(one, "name")} ${at(one, "kind")}`);
    };
    const core = await names("/api/v1");
    for (const wanted of [
      "namespaces/status Namespace",
      "namespaces/finalize Namespace",
      "nodes/status Node",
      "pods/binding Binding",
      "pods/exec PodExecOptions",
      "pods/log Pod",
      "pods/status Pod",
      "serviceaccounts/token TokenRequest",
      "services/status Service",
    ])
      assert.ok(core.includes(wanted), wanted);
    const apps = await names("/apis/apps/v1");
    for (const wanted of ["deployments/scale Scale", "deployments/status Deployment"])
      assert.ok(apps.includes(wanted), wanted);
    const custom = await names("/apis/model.aibrix.ai/v1alpha1");
    assert.deepEqual(custom, ["modeladapters ModelAdapter", "modeladapters/status ModelAdapter"]);
  });

  it("aggregated", async () => {
    const answer = (await target.get("/apis", AGGREGATED)).expect(200);
    assert.equal(
      answer.headers["content-type"],
      "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    );
    assert.equal(answer.at("kind"), "APIGroupDiscoveryList");
    assert.equal(answer.at("apiVersion"), "apidiscovery.k8s.io/v2");
    const group = answer.items.find((one) => at(one, "metadata.name") === "model.aibrix.ai");
    assert.deepEqual(at(group, "versions"), [
      {
        version: "v1alpha1",
        freshness: "Current",
        resources: [
          {
            resource: "modeladapters",
            responseKind: { group: "model.aibrix.ai", version: "v1alpha1", kind: "ModelAdapter" },
            scope: "Namespaced",
            singularResource: "modeladapter",
            verbs: [
              "delete",
              "deletecollection",
              "get",
              "list",
              "patch",
              "create",
              "update",
              "watch",
            ],
            subresources: [
              {
                subresource: "status",
                responseKind: {
                  group: "model.aibrix.ai",
                  version: "v1alpha1",
                  kind: "ModelAdapter",
                },
                verbs: ["get", "patch", "update"],
              },
            ],
          },
        ],
      },
    ]);
  });

  it("aggregated and legacy say the same", async () => {
    for (const root of ["/api", "/apis"]) {
      const answer = (await target.get(root, AGGREGATED)).expect(200);
      for (const group of answer.items) {
        const name = at(group, "metadata.name");
        const versions = at(group, "versions");
        assert.ok(Array.isArray(versions));
        for (const version of versions) {
          const path = name ? `apis/${name}` : "api";
          const full = `${path}/${at(version, "version")}`;
          const wanted = RESOURCES[full];
          if (wanted === undefined) continue;
          const resources = at(version, "resources");
          assert.ok(Array.isArray(resources));
          const shown = resources
            .filter(isObject)
            .map((one) => line(one, one["scope"] === "Namespaced"));
          for (const one of wanted) assert.ok(shown.includes(one), `${full}: ${one}`);
        }
      }
    }
  });

  it("aggregated discovery has an ETag, and 304 for who knows it", async () => {
    const first = (await target.get("/apis", AGGREGATED)).expect(200);
    const etag = String(first.headers["etag"]);
    assert.match(etag, /^"[0-9A-F]{128}"$/);
    const again = await target.request("GET", "/apis", {
      accept: AGGREGATED,
      headers: { "if-none-match": etag },
    });
    // Another test's definition may have come in between.
    if (again.status !== 200) again.expect(304);
  });

  itWithKubectl("kubectl api-resources of our kinds", async () => {
    const said = await target.kubectl(["api-resources", "--api-group=model.aibrix.ai"]);
    assert.equal(
      said.stdout,
      `${[
        "NAME            SHORTNAMES   APIVERSION                 NAMESPACED   KIND",
        "modeladapters                model.aibrix.ai/v1alpha1   true         ModelAdapter",
      ].join("\n")}\n`,
    );
    assert.equal(said.code, 0, said.stderr);
  });

  itWithKubectl("kubectl api-resources -o wide of apiextensions", async () => {
    const group = "--api-group=apiextensions.k8s.io";
    const said = await target.kubectl(["api-resources", group, "-o", "wide"]);
    assert.match(
      said.stdout,
      /^customresourcedefinitions {3}crd,crds {5}apiextensions\.k8s\.io\/v1 {3}false {8}CustomResourceDefinition {3}create,delete,deletecollection,get,list,patch,update,watch {3}api-extensions$/m,
    );
  });

  itWithKubectl("kubectl api-versions", async () => {
    const versions = (await target.kubectl(["api-versions"])).stdout.split("\n");
    for (const path of Object.keys(RESOURCES))
      assert.ok(versions.includes(path.replace(/^apis?\//, "")), path);
  });

  itWithKubectl("kubectl get of a kind that is not there", async () => {
    assert.deepEqual(await target.kubectl(["get", "modeladapterz"]), {
      code: 1,
      stdout: "",
      stderr: 'error: the server doesn\'t have a resource type "modeladapterz"\n',
    });
  });
}

/** Namespaces are only deleted one by one. */
function withoutCollection(): string[] {
  return ALL.filter((verb) => verb !== "deletecollection");
}
