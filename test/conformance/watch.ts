import assert from "node:assert/strict";
import { it } from "node:test";
import { at } from "./answer.ts";
import { adapter, configMap, GROUP, pod } from "./objects.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";
import { brief } from "./watching.ts";

export function watchTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const change = async (path: string, name: string, body: object) =>
    (await target.patch(`${path}/${name}`, "merge", body)).expect(200);

  for (const [plural, path, object] of [
    ["configmaps", "/api/v1/namespaces/NS/configmaps", configMap("one")],
    ["modeladapters", `${GROUP}/namespaces/NS/modeladapters`, adapter("one")],
  ] as const) {
    it(`${plural}: what is there, then what happens`, async () => {
      const list = path.replace("NS", await target.namespace());
      const made = await target.create(list, object);
      await using watch = await target.watch(list);
      assert.equal(watch.status, 200);
      assert.equal(watch.contentType, "application/json");
      const added = await watch.next();
      assert.equal(added.type, "ADDED");
      assert.deepEqual(added.object, made.body);
      const changed = await change(list, "one", { metadata: { labels: { a: "1" } } });
      assert.deepEqual(await watch.next(), { type: "MODIFIED", object: changed.body });
      await target.delete(`${list}/one`);
      const deleted = await watch.next();
      assert.equal(deleted.type, "DELETED");
      // The object as it last was, at the version of its deletion.
      assert.deepEqual(at(deleted.object, "metadata.labels"), { a: "1" });
      const version = Number(at(deleted.object, "metadata.resourceVersion"));
      assert.ok(version > Number(changed.resourceVersion));
    });
  }

  it("from a resourceVersion on: only what came after it", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const two = await target.create(path, configMap("two"));
    await target.create(path, configMap("three"));
    await target.delete(`${path}/one`);
    await using watch = await target.watch(`${path}?resourceVersion=${two.resourceVersion}`);
    assert.deepEqual(await watch.take(2), ["ADDED three", "DELETED one"]);
  });

  it("from a list's resourceVersion on", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const list = await target.get(path);
    await target.create(path, configMap("two"));
    await using watch = await target.watch(`${path}?resourceVersion=${list.resourceVersion}`);
    assert.deepEqual(await watch.take(1), ["ADDED two"]);
  });

  it("resourceVersion 0: what is there, in any order, then what happens", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    await target.create(path, configMap("two"));
    await using watch = await target.watch(`${path}?resourceVersion=0`);
    assert.deepEqual((await watch.take(2)).sort(), ["ADDED one", "ADDED two"]);
    await target.create(path, configMap("three"));
    assert.deepEqual(await watch.take(1), ["ADDED three"]);
  });

  it("labels: what starts to match is added, what stops is deleted", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    await using watch = await target.watch(`${path}?labelSelector=a%3D1`);
    await target.create(path, configMap("other", {}, { labels: { a: "2" } }));
    await change(path, "one", { metadata: { labels: { a: "1" } } });
    await change(path, "one", { data: { b: "2" } });
    await change(path, "one", { metadata: { labels: { a: "2" } } });
    await change(path, "one", { data: { c: "3" } });
    await change(path, "one", { metadata: { labels: { a: "1" } } });
    await target.delete(`${path}/one`);
    assert.deepEqual(await watch.take(5), [
      "ADDED one",
      "MODIFIED one",
      "DELETED one",
      "ADDED one",
      "DELETED one",
    ]);
  });

  it("an object that stops matching is shown as it was, at the version of its change", async () => {
    const path = await maps();
    await target.create(path, configMap("one", { a: "1" }, { labels: { a: "1" } }));
    await using watch = await target.watch(`${path}?labelSelector=a`);
    await watch.take(1);
    const changed = await change(path, "one", {
      metadata: { labels: { a: null } },
      data: { a: "2" },
    });
    const deleted = await watch.next();
    assert.equal(brief(deleted), "DELETED one");
    assert.deepEqual(at(deleted.object, "metadata.labels"), { a: "1" });
    assert.deepEqual(at(deleted.object, "data"), { a: "1" });
    assert.equal(at(deleted.object, "metadata.resourceVersion"), changed.resourceVersion);
  });

  it("fields: a single object by its name", async () => {
    const path = await maps();
    await using watch = await target.watch(`${path}?fieldSelector=metadata.name%3Done`);
    await target.create(path, configMap("two"));
    await target.create(path, configMap("one"));
    await target.delete(`${path}/one`);
    assert.deepEqual(await watch.take(2), ["ADDED one", "DELETED one"]);
  });

  it("fields: pods of a node", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/pods`;
    await using watch = await target.watch(`${path}?fieldSelector=spec.nodeName%3Dn1`);
    await target.create(path, pod("one"));
    await target.create(path, pod("two", { nodeName: "n1" }));
    await target.post(`${path}/one/binding`, {
      apiVersion: "v1",
      kind: "Binding",
      metadata: { name: "one" },
      target: { kind: "Node", name: "n1" },
    });
    assert.deepEqual(await watch.take(2), ["ADDED two", "ADDED one"]);
  });

  it("of all namespaces", async () => {
    const path = await maps();
    const name = target.unique("all");
    await using watch = await target.watch(
      `/api/v1/configmaps?fieldSelector=metadata.name%3D${name}`,
    );
    await target.create(path, configMap(name));
    assert.deepEqual(await watch.take(1), [`ADDED ${name}`]);
  });

  it("the old form of the path: /api/v1/watch", async () => {
    const namespace = await target.namespace();
    await target.create(`/api/v1/namespaces/${namespace}/configmaps`, configMap("one"));
    await using watch = await target.watch(`/api/v1/watch/namespaces/${namespace}/configmaps`);
    assert.deepEqual(await watch.take(1), ["ADDED one"]);
  });

  it("timeoutSeconds ends it", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    await using watch = await target.watch(`${path}?timeoutSeconds=1`);
    assert.deepEqual((await watch.rest()).map(brief), ["ADDED one"]);
  });

  it("too old a resourceVersion", async () => {
    // Nothing is remembered of a kind from before its definition.
    const path = `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
    await using watch = await target.watch(`${path}?resourceVersion=1`);
    const [event, ...more] = await watch.rest();
    assert.deepEqual(more, []);
    assert.equal(event?.type, "ERROR");
    const { message, ...rest } = event.object;
    assert.match(String(message), /^too old resource version: 1 \(\d+\)$/);
    assert.deepEqual(rest, {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      reason: "Expired",
      code: 410,
    });
  });

  it("an invalid resourceVersion", async () => {
    const path = await maps();
    // Of all errors, this one has no reason and an internal error's code.
    (await target.get(`${path}?watch=true&resourceVersion=x`)).refused({
      code: 500,
      message:
        'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
    });
  });

  it("sendInitialEvents: what is there, a bookmark that says so, then what happens", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const two = await target.create(path, configMap("two"));
    await using watch = await target.watch(
      `${path}?sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan`,
    );
    assert.deepEqual((await watch.take(2)).sort(), ["ADDED one", "ADDED two"]);
    const bookmark = await watch.next();
    const version = String(at(bookmark.object, "metadata.resourceVersion"));
    assert.ok(Number(version) >= Number(two.resourceVersion));
    assert.deepEqual(bookmark, {
      type: "BOOKMARK",
      object: {
        kind: "ConfigMap",
        apiVersion: "v1",
        metadata: {
          resourceVersion: version,
          annotations: { "k8s.io/initial-events-end": "true" },
        },
      },
    });
    await target.create(path, configMap("three"));
    // A real server may send the next bookmark any time.
    let event = await watch.next();
    while (event.type === "BOOKMARK") event = await watch.next();
    assert.deepEqual([event.type, at(event.object, "metadata.name")], ["ADDED", "three"]);
  });

  it("sendInitialEvents of custom objects", async () => {
    const path = `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
    await target.create(path, adapter("one"));
    await using watch = await target.watch(
      `${path}?sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan`,
    );
    assert.deepEqual(await watch.take(1), ["ADDED one"]);
    const bookmark = await watch.next();
    assert.equal(bookmark.type, "BOOKMARK");
    const { metadata, ...rest } = bookmark.object;
    assert.deepEqual(rest, { apiVersion: "model.aibrix.ai/v1alpha1", kind: "ModelAdapter" });
    assert.equal(at(metadata, ["annotations", "k8s.io/initial-events-end"]), "true");
  });

  it("sendInitialEvents needs resourceVersionMatch", async () => {
    const path = await maps();
    const message =
      "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    (await target.get(`${path}?watch=true&sendInitialEvents=true`)).refused({
      code: 422,
      reason: "Invalid",
      message: `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "ListOptions",
        causes: [{ reason: "FieldValueForbidden", message, field: "resourceVersionMatch" }],
      },
    });
  });

  it("resourceVersionMatch needs sendInitialEvents", async () => {
    const path = await maps();
    const message =
      "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
    const query = "watch=true&resourceVersion=0&resourceVersionMatch=NotOlderThan";
    (await target.get(`${path}?${query}`)).refused({
      code: 422,
      reason: "Invalid",
      message: `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: ${message}`,
      details: {
        group: "meta.k8s.io",
        kind: "ListOptions",
        causes: [{ reason: "FieldValueForbidden", message, field: "resourceVersionMatch" }],
      },
    });
  });

  it("bookmarks before it ends", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    const from = `resourceVersion=${made.resourceVersion}`;
    await using watch = await target.watch(
      `${path}?${from}&allowWatchBookmarks=true&timeoutSeconds=4`,
    );
    await target.create(path, configMap("two"));
    const [first, ...more] = await watch.rest();
    assert.equal(first && brief(first), "ADDED two");
    assert.ok(more.length > 0, "no bookmark");
    for (const { type, object } of more) {
      const resourceVersion = at(object, "metadata.resourceVersion") ?? null;
      assert.ok(Number(resourceVersion) >= Number(at(first?.object, "metadata.resourceVersion")));
      assert.deepEqual(
        { type, object },
        {
          type: "BOOKMARK",
          object: { kind: "ConfigMap", apiVersion: "v1", metadata: { resourceVersion } },
        },
      );
    }
  });

  for (const version of ["", "&resourceVersion=0"]) {
    it(`bookmarks${version}: one says that what is there has been sent`, async () => {
      const path = await maps();
      await target.create(path, configMap("one"));
      // With 0 any state will do, also one of a moment ago.
      await soon("the cache has it", async () =>
        (await target.get(`${path}?resourceVersion=0`)).names.includes("one"),
      );
      await using watch = await target.watch(`${path}?allowWatchBookmarks=true${version}`);
      assert.deepEqual(await watch.take(1), ["ADDED one"]);
      const { type, object } = await watch.next();
      assert.equal(type, "BOOKMARK");
      const end = at(object, ["metadata", "annotations", "k8s.io/initial-events-end"]);
      assert.equal(end, "true");
    });
  }

  it("a watch of a single object's path is a get", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const answer = await target.get(`${path}/one?watch=true`);
    assert.equal(answer.expect(200).at("metadata.name"), "one");
  });
}
