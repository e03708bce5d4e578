import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "#test/support/manual-clock.ts";
import { Store } from "../storage/store.ts";
import { localApi } from "./local-api.ts";
import { Registry } from "./registry.ts";

test("what our own controllers make says what it is, as clients need it", (t) => {
  const store = new Store(":memory:");
  t.after(() => store.close());
  const texts = { randomText: () => "", newUid: () => "u" };
  const registry = new Registry({ store, clock: new ManualClock(), ...texts });
  const api = localApi(registry, "us");
  const [namespaces, maps] = ["Namespace", "ConfigMap"].map((kind) => api.kindNamed("v1", kind));
  assert.ok(namespaces !== undefined && maps !== undefined);
  api.create(namespaces, { metadata: { name: "a" } });
  api.create(maps, { metadata: { namespace: "a", name: "one" }, data: { a: "b" } });
  const found = api.get(maps, { namespace: "a", name: "one" });
  assert.deepEqual([found?.["apiVersion"], found?.["kind"]], ["v1", "ConfigMap"]);
});
