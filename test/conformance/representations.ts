/** The other shapes of objects: Table, and metadata alone. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { type Answer, at } from "./answer.ts";
import { adapter, configMap, deployment, GROUP, pod, service } from "./objects.ts";
import type { Target } from "./target.ts";

const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
const PARTIALS =
  "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";

/** A column as it is told; its description is each server's own prose. */
const column = (name: string, type: string, priority: number, format = "") => ({
  name,
  type,
  format,
  priority,
});

function withoutDescriptions(columns: Json | undefined): Json {
  assert.ok(Array.isArray(columns));
  return columns.map((one) => {
    assert.ok(isObject(one) && typeof one["description"] === "string");
    const { description: _, ...rest } = one;
    return rest;
  });
}

/** The cells of each row, ages left out. */
function cells(answer: Answer): unknown[][] {
  const rows = answer.at("rows");
  assert.ok(Array.isArray(rows), answer.text);
  return rows.map((row) => cellsOf(row));
}

function cellsOf(row: unknown): unknown[] {
  const found = at(row, "cells");
  assert.ok(Array.isArray(found));
  return found.map((cell) => (/^\d+(s|m|m\d+s)$/.test(String(cell)) ? "AGE" : cell));
}

function columnNames(answer: Answer): string[] {
  const columns = answer.at("columnDefinitions");
  assert.ok(Array.isArray(columns), answer.text);
  return columns.map((one) => `${at(one, "name")}/${at(one, "priority")}`);
}

export function representationTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const pods = async () => `/api/v1/namespaces/${await target.namespace()}/pods`;
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;

  it("Table of a list", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one", { a: "1", b: "2" }));
    const table = (await target.get(path, TABLE)).expect(200);
    assert.equal(table.headers["content-type"], "application/json");
    const { metadata, rows, columnDefinitions, ...rest } = table.body;
    assert.deepEqual(Object.keys(Object(metadata)), ["resourceVersion"]);
    assert.deepEqual(rest, { kind: "Table", apiVersion: "meta.k8s.io/v1" });
    assert.deepEqual(withoutDescriptions(columnDefinitions), [
      column("Name", "string", 0, "name"),
      column("Data", "string", 0),
      column("Age", "string", 0),
    ]);
    assert.deepEqual(cells(table), [["one", 2, "AGE"]]);
    assert.ok(Array.isArray(rows));
    assert.deepEqual(at(rows, "0.object"), {
      kind: "PartialObjectMetadata",
      apiVersion: "meta.k8s.io/v1",
      metadata: made.at("metadata") ?? null,
    });
  });

  it("Table of one object, with and without the object", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    const none = (await target.get(`${path}/one?includeObject=None`, TABLE)).expect(200);
    assert.deepEqual(Object.keys(Object(none.at("rows.0"))), ["cells", "object"]);
    assert.equal(none.at("rows.0.object"), null);
    const whole = (await target.get(`${path}/one?includeObject=Object`, TABLE)).expect(200);
    assert.deepEqual(whole.at("rows.0.object"), made.body);
  });

  it("Table of what is not there is a Status", async () => {
    (await target.get(`${await maps()}/none`, TABLE)).refused({
      code: 404,
      reason: "NotFound",
      message: 'configmaps "none" not found',
      details: { name: "none", kind: "configmaps" },
    });
  });

  it("Table of pods", async () => {
    const path = await pods();
    await target.create(path, pod("one", { nodeName: "n1" }));
    await target.create(path, pod("two"));
    await target.patch(`${path}/one/status`, "merge", {
      status: {
        phase: "Running",
        podIP: "127.0.9.1",
        podIPs: [{ ip: "127.0.9.1" }],
        conditions: [{ type: "Ready", status: "True" }],
        containerStatuses: [
          {
            name: "main",
            image: "example/image:1",
            imageID: "",
            ready: true,
            restartCount: 2,
            state: { running: { startedAt: "2026-01-01T00:00:00Z" } },
          },
        ],
      },
    });
    const table = (await target.get(path, TABLE)).expect(200);
    assert.deepEqual(columnNames(table), [
      "Name/0",
      "Ready/0",
      "Status/0",
      "Restarts/0",
      "Age/0",
      "IP/1",
      "Node/1",
      "Nominated Node/1",
      "Readiness Gates/1",
    ]);
    assert.deepEqual(cells(table), [
      ["one", "1/1", "Running", "2", "AGE", "127.0.9.1", "n1", "<none>", "<none>"],
      ["two", "0/1", "Pending", "0", "AGE", "<none>", "<none>", "<none>", "<none>"],
    ]);
  });

  it("Table of a pod that is going", async () => {
    const path = await pods();
    await target.create(path, pod("one", { nodeName: "n1" }));
    await target.delete(`${path}/one`);
    const table = await target.get(path, TABLE);
    assert.equal(cells(table)[0]?.[2], "Terminating");
  });

  it("Table of services", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/services`;
    await target.create(path, service("one", { clusterIP: "None", selector: { a: "b" } }));
    await target.create(
      path,
      service("two", {
        clusterIP: "None",
        ports: [
          { name: "a", port: 80 },
          { name: "b", port: 53, protocol: "UDP" },
        ],
      }),
    );
    const table = (await target.get(path, TABLE)).expect(200);
    assert.deepEqual(columnNames(table), [
      "Name/0",
      "Type/0",
      "Cluster-IP/0",
      "External-IP/0",
      "Port(s)/0",
      "Age/0",
      "Selector/1",
    ]);
    assert.deepEqual(cells(table), [
      ["one", "ClusterIP", "None", "<none>", "80/TCP", "AGE", "a=b"],
      ["two", "ClusterIP", "None", "<none>", "80/TCP,53/UDP", "AGE", "<none>"],
    ]);
  });

  it("Table of deployments", async () => {
    const path = `/apis/apps/v1/namespaces/${await target.namespace()}/deployments`;
    await target.create(path, deployment("one", { replicas: 3 }));
    await target.patch(`${path}/one/status`, "merge", {
      status: { replicas: 3, readyReplicas: 2, updatedReplicas: 3, availableReplicas: 2 },
    });
    const table = (await target.get(path, TABLE)).expect(200);
    assert.deepEqual(columnNames(table), [
      "Name/0",
      "Ready/0",
      "Up-to-date/0",
      "Available/0",
      "Age/0",
      "Containers/1",
      "Images/1",
      "Selector/1",
    ]);
    assert.deepEqual(cells(table), [
      ["one", "2/3", 3, 2, "AGE", "main", "example/image:1", "app=one"],
    ]);
  });

  it("Table of ModelAdapters: the columns of their definition", async () => {
    const path = await adapters();
    await target.create(path, adapter("one"));
    await target.create(path, adapter("two"));
    await target.patch(`${path}/one/status`, "merge", {
      status: {
        phase: "Running",
        desiredReplicas: 1,
        readyReplicas: 1,
        candidates: 2,
        instances: ["p1", "p2"],
        summary: "Fine",
      },
    });
    const table = (await target.get(path, TABLE)).expect(200);
    assert.deepEqual(columnNames(table), [
      "Name/0",
      "Phase/0",
      "Desired/0",
      "Ready/0",
      "Candidates/0",
      "Model Path/0",
      "Age/0",
      "Instances/1",
      "Reason/1",
      "Base Model/1",
    ]);
    const url = "huggingface://org/repo";
    assert.deepEqual(cells(table), [
      ["one", "Running", 1, 1, 2, url, "AGE", '["p1","p2"]', "Fine", "base"],
      ["two", null, null, null, null, url, "AGE", null, null, "base"],
    ]);
    assert.deepEqual(at(table.body, "columnDefinitions.1"), {
      ...column("Phase", "string", 0),
      description: "Custom resource definition column (in JSONPath format): .status.phase",
    });
  });

  it("Table of pages", async () => {
    const path = await maps();
    for (const name of ["a", "b", "c"]) await target.create(path, configMap(name));
    const table = (await target.get(`${path}?limit=2`, TABLE)).expect(200);
    assert.equal(cells(table).length, 2);
    assert.equal(table.at("metadata.remainingItemCount"), 1);
    assert.ok(table.textAt("metadata.continue").length > 0);
  });

  for (const [what, create] of [
    [
      "configmaps",
      async () => {
        const path = await maps();
        await target.create(path, configMap("one"));
        return path;
      },
    ],
    [
      "modeladapters",
      async () => {
        const path = await adapters();
        await target.create(path, adapter("one"));
        return path;
      },
    ],
  ] as const) {
    it(`Table in a watch of ${what}: columns only in the first event`, async () => {
      const path = await create();
      await using watch = await target.watch(path, TABLE);
      const first = await watch.next();
      assert.equal(first.type, "ADDED");
      assert.equal(at(first.object, "kind"), "Table");
      assert.equal(at(first.object, "columnDefinitions.0.name"), "Name");
      assert.equal(cellsOf(at(first.object, "rows.0"))[0], "one");
      assert.equal(at(first.object, "rows.0.object.kind"), "PartialObjectMetadata");
      await target.patch(`${path}/one`, "merge", { metadata: { labels: { a: "1" } } });
      const second = await watch.next();
      assert.equal(second.type, "MODIFIED");
      assert.equal(at(second.object, "columnDefinitions"), null);
      assert.equal(cellsOf(at(second.object, "rows.0"))[0], "one");
    });

    it(`metadata alone of ${what}: object, list, watch`, async () => {
      const path = await create();
      const whole = await target.get(`${path}/one`);
      const partial = (await target.get(`${path}/one`, PARTIAL)).expect(200);
      const wanted: JsonObject = {
        kind: "PartialObjectMetadata",
        apiVersion: "meta.k8s.io/v1",
        metadata: whole.at("metadata") ?? null,
      };
      assert.deepEqual(partial.body, wanted);
      const list = (await target.get(path, PARTIALS)).expect(200);
      assert.equal(list.at("kind"), "PartialObjectMetadataList");
      assert.equal(list.at("apiVersion"), "meta.k8s.io/v1");
      assert.deepEqual(list.items, [wanted]);
      await using watch = await target.watch(path, PARTIAL);
      assert.deepEqual(await watch.next(), { type: "ADDED", object: wanted });
    });
  }

  it("metadata alone with bookmarks", async () => {
    const path = await maps();
    const query =
      "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    await using watch = await target.watch(`${path}?${query}`, PARTIAL);
    const bookmark = await watch.next();
    assert.equal(bookmark.type, "BOOKMARK");
    assert.equal(bookmark.object["kind"], "PartialObjectMetadata");
    assert.equal(bookmark.object["apiVersion"], "meta.k8s.io/v1");
    const { metadata } = bookmark.object;
    assert.ok(isObject(metadata ?? null));
    assert.equal(at(metadata, ["annotations", "k8s.io/initial-events-end"]), "true");
  });

  it("a shape that it does not know", async () => {
    const answer = await target.get(await maps(), "application/json;as=Odd;v=v1;g=meta.k8s.io");
    answer.expect(406);
    assert.equal(answer.at("reason"), "NotAcceptable");
  });

  it("Accept in the order of preference", async () => {
    const path = await maps();
    for (const accept of ["*/*", "application/json, */*", TABLE]) {
      const answer = (await target.get(path, accept)).expect(200);
      assert.equal(answer.headers["content-type"], "application/json", accept);
      assert.equal(answer.at("kind"), accept === TABLE ? "Table" : "ConfigMapList", accept);
    }
  });

  it("pretty and plain JSON", async () => {
    const path = await maps();
    assert.match((await target.get(`${path}?pretty=true`)).text, /^\{\n {2}"kind": /);
    assert.match((await target.get(path)).text, /^\{"kind":"ConfigMapList",.*\}\n$/);
  });

  it("gzip for what is large", async () => {
    const path = await maps();
    await target.create(path, configMap("one", { a: "x".repeat(200_000) }));
    const answer = await target.request("GET", path, { headers: { "accept-encoding": "gzip" } });
    assert.equal(answer.headers["content-encoding"], "gzip");
    assert.equal(answer.headers["vary"], "Accept-Encoding");
  });
}
