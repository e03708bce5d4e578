import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { UserError } from "#base/errors.ts";
import type { JsonObject } from "#base/json.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import type { ObjectKey, StoredChange } from "./change.ts";
import { Store } from "./store.ts";

const key = (name: string, resource = "/things", namespace = "a"): ObjectKey => ({
  resource,
  namespace,
  name,
});
const names = (objects: readonly JsonObject[] | undefined) =>
  objects?.map((object) => String(object["name"]));

test("a store is what it was after it was closed, its revision included", async (t) => {
  const path = join(await tempFolder(t), "api.db");
  const first = new Store(path);
  const one = first.put(key("one"), { name: "one", value: 1 });
  first.put(key("two"), { name: "two" });
  first.put(key("one"), { ...one, value: 2 });
  first.remove(key("two"));
  const { revision } = first;
  first.close();

  const second = new Store(path);
  assert.equal(second.revision, revision);
  assert.deepEqual(second.list("/things"), [
    { name: "one", value: 2, metadata: { resourceVersion: String(revision - 1) } },
  ]);
  assert.equal(second.history.since("/things", revision - 1), undefined, "the past is forgotten");
  assert.deepEqual(second.history.since("/things", revision), []);
  second.close();
});

test("nobody else may read what is kept", async (t) => {
  const path = join(await tempFolder(t), "api.db");
  writeFileSync(path, "", { mode: 0o644 });
  const store = new Store(path);
  store.put(key("one"), { name: "one" });
  for (const file of [path, `${path}-wal`]) {
    const found = statSync(file, { throwIfNoEntry: false });
    assert.equal((found?.mode ?? 0) & 0o077, 0, file);
  }
  store.close();
});

test("lists are in order, by namespace, and can be had as they were", () => {
  const store = new Store(":memory:");
  const revisions: number[] = [];
  for (const [namespace, name] of [
    ["b", "x"],
    ["a", "z"],
    ["a", "y"],
  ] as const) {
    store.put(key(name, "/things", namespace), { name });
    revisions.push(store.revision);
  }
  store.put(key("other", "/others"), { name: "other" });
  assert.deepEqual(names(store.list("/things")), ["y", "z", "x"]);
  assert.deepEqual(names(store.list("/things", "a")), ["y", "z"]);
  assert.deepEqual(names(store.listAt("/things", undefined, revisions[1] ?? 0)), ["z", "x"]);
  assert.deepEqual(names(store.listAt("/things", undefined, store.revision)), ["y", "z", "x"]);
});

test("any past that is remembered can be listed again, and the changes lead from it to today", () => {
  const write = fc.record({
    name: fc.constantFrom("a", "b", "c", "d"),
    value: fc.option(fc.integer({ min: 0, max: 9 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
      const store = new Store(":memory:");
      const heard: StoredChange[] = [];
      store.onChange((change) => heard.push(change));
      const past = new Map([[store.revision, store.list("/things")]]);
      for (const { name, value } of writes) {
        if (value === undefined) store.remove(key(name));
        else store.put(key(name), { name, value });
        past.set(store.revision, store.list("/things"));
      }
      for (const [revision, objects] of past) {
        assert.deepEqual(store.listAt("/things", undefined, revision), objects);
        const since = store.history.since("/things", revision);
        assert.deepEqual(
          since,
          heard.filter((change) => change.revision > revision),
        );
      }
      store.close();
    }),
    { numRuns: 50 },
  );
});

test("what cannot be a store, or is in use, is one sentence with a cure", async (t) => {
  const folder = await tempFolder(t);
  const used = join(folder, "used.db");
  const holder = new Store(used);
  const garbage = join(folder, "garbage.db");
  writeFileSync(garbage, "this is no database, whatever its name may say".repeat(100));
  for (const path of [used, garbage, join(folder, "no", "such", "folder.db")]) {
    assert.throws(() => new Store(path), UserError, path);
  }
  holder.close();
});
