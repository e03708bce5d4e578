/** How the API says no. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { Answer } from "./answer.ts";
import { adapter, configMap, deployment, GROUP, pod } from "./objects.ts";
import type { Target } from "./target.ts";

export function errorTests(target: Target): void {
  const path = async (plural = "configmaps") =>
    `/api/v1/namespaces/${await target.namespace()}/${plural}`;

  it("AlreadyExists", async () => {
    const maps = await path();
    await target.create(maps, configMap("one"));
    (await target.post(maps, configMap("one"))).refused({
      code: 409,
      reason: "AlreadyExists",
      message: 'configmaps "one" already exists',
      details: { name: "one", kind: "configmaps" },
    });
  });

  it("AlreadyExists in a group", async () => {
    const adapters = `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
    await target.create(adapters, adapter("one"));
    (await target.post(adapters, adapter("one"))).refused({
      code: 409,
      reason: "AlreadyExists",
      message: 'modeladapters.model.aibrix.ai "one" already exists',
      details: { name: "one", group: "model.aibrix.ai", kind: "modeladapters" },
    });
  });

  for (const method of ["GET", "DELETE"]) {
    it(`NotFound of ${method}`, async () => {
      (await target.request(method, `${await path()}/none`)).refused({
        code: 404,
        reason: "NotFound",
        message: 'configmaps "none" not found',
        details: { name: "none", kind: "configmaps" },
      });
    });
  }

  it("NotFound of PATCH", async () => {
    const adapters = `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
    (await target.patch(`${adapters}/none`, "merge", {})).refused({
      code: 404,
      reason: "NotFound",
      message: 'modeladapters.model.aibrix.ai "none" not found',
      details: { name: "none", group: "model.aibrix.ai", kind: "modeladapters" },
    });
  });

  it("PUT creates nothing of most kinds", async () => {
    (await target.put(`${await path()}/none`, configMap("none"))).refused({
      code: 404,
      reason: "NotFound",
      message: 'configmaps "none" not found',
      details: { name: "none", kind: "configmaps" },
    });
  });

  it("PUT creates leases and events", async () => {
    const namespace = await target.namespace();
    const lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "one" },
      spec: {},
    };
    const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/one`;
    (await target.put(leases, lease)).expect(201);
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: "one", namespace },
      involvedObject: { namespace },
    };
    (await target.put(`/api/v1/namespaces/${namespace}/events/one`, event)).expect(201);
  });

  it("Conflict of a stale update", async () => {
    const maps = await path();
    const created = await target.create(maps, configMap("one"));
    (await target.patch(`${maps}/one`, "merge", { data: { b: "2" } })).expect(200);
    (await target.put(`${maps}/one`, created.body)).refused({
      code: 409,
      reason: "Conflict",
      message:
        'Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply your changes to the latest version and try again',
      details: { name: "one", kind: "configmaps" },
    });
  });

  it("Conflict of a patch that names a stale resourceVersion", async () => {
    const maps = await path();
    const created = await target.create(maps, configMap("one"));
    (await target.patch(`${maps}/one`, "merge", { data: { b: "2" } })).expect(200);
    const patch = {
      metadata: { resourceVersion: created.resourceVersion },
      data: { c: "3" },
    };
    (await target.patch(`${maps}/one`, "merge", patch)).refused({
      code: 409,
      reason: "Conflict",
      message:
        'Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply your changes to the latest version and try again',
      details: { name: "one", kind: "configmaps" },
    });
  });

  it("an update without a resourceVersion overwrites", async () => {
    const maps = await path();
    await target.create(maps, configMap("one"));
    const updated = await target.put(`${maps}/one`, configMap("one", { b: "2" }));
    assert.deepEqual(updated.expect(200).at("data"), { b: "2" });
  });

  it("an update of a custom object needs a resourceVersion", async () => {
    const adapters = `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
    await target.create(adapters, adapter("one"));
    const message = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    (await target.put(`${adapters}/one`, adapter("one"))).refused({
      code: 422,
      reason: "Invalid",
      message: `modeladapters.model.aibrix.ai "one" is invalid: ${message}`,
      details: {
        name: "one",
        group: "model.aibrix.ai",
        kind: "modeladapters",
        causes: [
          {
            reason: "FieldValueInvalid",
            message: "Invalid value: 0: must be specified for an update",
            field: "metadata.resourceVersion",
          },
        ],
      },
    });
  });

  it("an update to another uid is a conflict", async () => {
    const maps = await path();
    const created = await target.create(maps, configMap("one"));
    const other = "11111111-2222-3333-4444-555555555555";
    (await target.put(`${maps}/one`, configMap("one", { b: "2" }, { uid: other }))).refused({
      code: 409,
      reason: "Conflict",
      message: `Operation cannot be fulfilled on configmaps "one": StorageError: invalid object, Code: 4, Key: /registry/configmaps/${maps.split("/")[4]}/one, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${other}, UID in object meta: ${created.uid}`,
      details: { name: "one", kind: "configmaps" },
    });
  });

  it("a create with a resourceVersion", async () => {
    const maps = await path();
    (await target.post(maps, configMap("one", {}, { resourceVersion: "1" }))).refused({
      code: 500,
      message: "resourceVersion should not be set on objects to be created",
    });
  });

  it("a create without a name", async () => {
    const body = { apiVersion: "v1", kind: "ConfigMap", metadata: {} };
    (await target.post(await path(), body)).refused({
      code: 422,
      reason: "Invalid",
      message:
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
      details: {
        kind: "ConfigMap",
        causes: [
          {
            reason: "FieldValueRequired",
            message: "Required value: name or generateName is required",
            field: "metadata.name",
          },
        ],
      },
    });
  });

  it("a create in another namespace than the path's", async () => {
    (await target.post(await path(), configMap("one", {}, { namespace: "default" }))).refused({
      code: 400,
      reason: "BadRequest",
      message:
        "the namespace of the provided object does not match the namespace sent on the request",
    });
  });

  it("an update under another name", async () => {
    const maps = await path();
    await target.create(maps, configMap("one"));
    (await target.put(`${maps}/one`, configMap("two"))).refused({
      code: 400,
      reason: "BadRequest",
      message: "the name of the object (two) does not match the name on the URL (one)",
    });
  });

  it("a body of another kind", async () => {
    (await target.post(await path(), pod("one"))).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion',
    });
  });

  it("a custom object of another kind", async () => {
    const adapters = `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
    const message = 'Invalid value: "Other": must be ModelAdapter';
    (await target.post(adapters, { ...adapter("one"), kind: "Other" })).refused({
      code: 422,
      reason: "Invalid",
      message: `Other.model.aibrix.ai "one" is invalid: kind: ${message}`,
      details: {
        name: "one",
        group: "model.aibrix.ai",
        kind: "Other",
        causes: [{ reason: "FieldValueInvalid", message, field: "kind" }],
      },
    });
  });

  it("a body that is not JSON", async () => {
    (await target.post(await path(), "{oops")).refused({
      code: 400,
      reason: "BadRequest",
      message:
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'o' looking for beginning of object key string ({oops)",
    });
  });

  it("an empty body", async () => {
    (await target.post(await path(), "")).refused({
      code: 400,
      reason: "BadRequest",
      message:
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
    });
  });

  it("a value of the wrong type", async () => {
    (await target.post(await path(), configMap("one", { a: 1 }))).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string',
    });
  });

  it("a body in a format that it does not know", async () => {
    const answer = await target.request("POST", await path(), {
      body: "a=b",
      contentType: "text/plain",
    });
    withoutProtobuf(answer).refused({
      code: 415,
      reason: "UnsupportedMediaType",
      message:
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
    });
  });

  it("an answer in a format that it does not know", async () => {
    withoutProtobuf(await target.get(await path(), "text/html")).refused({
      code: 406,
      reason: "NotAcceptable",
      message:
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/json;stream=watch",
      details: {},
    });
  });

  it("a body in YAML, an answer in YAML", async () => {
    const maps = await path();
    const answer = await target.request("POST", maps, {
      body: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  a: b\n",
      contentType: "application/yaml",
      accept: "application/yaml",
    });
    answer.expect(201);
    assert.equal(answer.headers["content-type"], "application/yaml");
    assert.match(answer.text, /^apiVersion: v1\ndata:\n {2}a: b\nkind: ConfigMap\nmetadata:\n/);
  });

  it("a body that is too large", async () => {
    const data = { a: "x".repeat(3 * 1024 * 1024) };
    (await target.post(await path(), configMap("one", data))).refused({
      code: 413,
      reason: "RequestEntityTooLarge",
      message: "Request entity too large: limit is 3145728",
    });
  });

  it("an object that is too large", async () => {
    const data = { a: "x".repeat(1024 * 1024 + 1) };
    const message = "Too long: may not be more than 1048576 bytes";
    (await target.post(await path(), configMap("one", data))).refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "one" is invalid: []: ${message}`,
      details: {
        name: "one",
        kind: "ConfigMap",
        causes: [{ reason: "FieldValueTooLong", message, field: "[]" }],
      },
    });
  });

  it("a path that nobody serves", async () => {
    for (const path of ["/apis/none.example.com/v1/nones", "/nowhere"]) {
      const answer = await target.get(path);
      answer.expect(404);
      assert.equal(answer.text, "404 page not found\n", path);
    }
  });

  it("a resource that a served group does not have", async () => {
    for (const path of ["/api/v1/nones", "/apis/apps/v1/nones", "/apis/apps/v2"]) {
      (await target.get(path)).refused({
        code: 404,
        reason: "NotFound",
        message: "the server could not find the requested resource",
        details: {},
      });
    }
  });

  it("a method that the path does not have", async () => {
    (await target.put(await path(), configMap("one"))).refused({
      code: 405,
      reason: "MethodNotAllowed",
      message: "the server does not allow this method on the requested resource",
      details: {},
    });
  });

  it("a wrong token", async () => {
    const answer = await target.request("GET", "/api/v1/nodes", {
      headers: { authorization: "Bearer wrong" },
    });
    answer.refused({ code: 401, reason: "Unauthorized", message: "Unauthorized" });
  });

  it("an invalid name", async () => {
    const answer = await target.post(await path(), configMap("Not_Valid"));
    const message =
      "Invalid value: \"Not_Valid\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    answer.refused({
      code: 422,
      reason: "Invalid",
      message: `ConfigMap "Not_Valid" is invalid: metadata.name: ${message}`,
      details: {
        name: "Not_Valid",
        kind: "ConfigMap",
        causes: [{ reason: "FieldValueInvalid", message, field: "metadata.name" }],
      },
    });
  });

  it("several faults at once", async () => {
    const pods = `/api/v1/namespaces/${await target.namespace()}/pods`;
    const answer = await target.post(pods, pod("one", { containers: [{ name: "A" }] }));
    const name =
      "Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    answer.refused({
      code: 422,
      reason: "Invalid",
      message: `Pod "one" is invalid: [spec.containers[0].name: ${name}, spec.containers[0].image: Required value]`,
      details: {
        name: "one",
        kind: "Pod",
        causes: [
          { reason: "FieldValueInvalid", message: name, field: "spec.containers[0].name" },
          {
            reason: "FieldValueRequired",
            message: "Required value",
            field: "spec.containers[0].image",
          },
        ],
      },
    });
  });

  it("a deployment whose selector does not match its template", async () => {
    const path = `/apis/apps/v1/namespaces/${await target.namespace()}/deployments`;
    const body = deployment("one", { selector: { matchLabels: { app: "other" } } });
    const message = 'Invalid value: {"app":"one"}: `selector` does not match template `labels`';
    (await target.post(path, body)).refused({
      code: 422,
      reason: "Invalid",
      message: `Deployment.apps "one" is invalid: spec.template.metadata.labels: ${message}`,
      details: {
        name: "one",
        group: "apps",
        kind: "Deployment",
        causes: [{ reason: "FieldValueInvalid", message, field: "spec.template.metadata.labels" }],
      },
    });
  });

  it("a deployment's selector cannot change", async () => {
    const path = `/apis/apps/v1/namespaces/${await target.namespace()}/deployments`;
    await target.create(path, deployment("one"));
    const answer = await target.patch(`${path}/one`, "merge", {
      spec: {
        selector: { matchLabels: { b: "1" } },
        template: { metadata: { labels: { b: "1" } } },
      },
    });
    const message = 'Invalid value: {"matchLabels":{"app":"one","b":"1"}}: field is immutable';
    answer.refused({
      code: 422,
      reason: "Invalid",
      message: `Deployment.apps "one" is invalid: spec.selector: ${message}`,
      details: {
        name: "one",
        group: "apps",
        kind: "Deployment",
        causes: [{ reason: "FieldValueInvalid", message, field: "spec.selector" }],
      },
    });
  });

  it("a create in a namespace that is not there", async () => {
    (await target.post("/api/v1/namespaces/nowhere/configmaps", configMap("one"))).refused({
      code: 404,
      reason: "NotFound",
      message: 'namespaces "nowhere" not found',
      details: { name: "nowhere", kind: "namespaces" },
    });
  });

  for (const query of ["limit=abc", "limit=1.5", "watch=true&timeoutSeconds=abc"]) {
    it(`a number that is none: ${query}`, async () => {
      const value = query.split("=").at(-1);
      (await target.get(`/api/v1/configmaps?${query}`)).refused({
        code: 400,
        reason: "BadRequest",
        message: `strconv.ParseInt: parsing "${value}": invalid syntax`,
      });
    });
  }

  it("a body that goes too deep", async () => {
    const body = `${'{"x":'.repeat(20_000)}1${"}".repeat(20_000)}`;
    const refused = (await target.request("POST", await path(), { body })).expect(400);
    assert.match(
      refused.textAt("message"),
      /^the object provided is unrecognized \(must be of type ConfigMap\): couldn't get version\/kind; json parse error: invalid character '{' exceeded max depth/,
    );
  });

  it("a list in a namespace that is not there is empty", async () => {
    const list = (await target.get("/api/v1/namespaces/nowhere/configmaps")).expect(200);
    assert.deepEqual(list.items, []);
  });
}

/** An answer as if there were no protobuf, which is not for everybody. */
function withoutProtobuf({ asked, status, headers, text }: Answer): Answer {
  const plain = text.replaceAll(/, application\/vnd\.kubernetes\.protobuf(;stream=watch)?/g, "");
  return new Answer(asked, status, headers, plain);
}
