import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { KubeObject } from "#api/kubernetes.ts";
import { Store } from "./store.ts";

const object = (name: string, version: number): KubeObject => ({
  metadata: { name, namespace: "default", resourceVersion: String(version) },
});

test("our own write is read back at once and older events do not undo it", () => {
  const store = new Store<KubeObject>();
  const heard: (string | undefined)[] = [];
  store.onChange((_before, after) => heard.push(after?.metadata.resourceVersion));
  store.replace([object("a", 8)], "9");
  store.written(object("a", 12));
  assert.equal(store.get("default/a")?.metadata.resourceVersion, "12");
  store.upsert(object("a", 10));
  store.remove(object("a", 11));
  store.upsert(object("a", 12));
  assert.equal(store.get("default/a")?.metadata.resourceVersion, "12");
  store.upsert(object("a", 100));
  store.remove(object("a", 101));
  assert.equal(store.get("default/a"), undefined);
  assert.deepEqual(heard, ["8", "12", "100", undefined], "each change is heard once");
});

test("a list that was taken before our write does not take it back, a later one does", () => {
  const store = new Store<KubeObject>();
  store.written(object("a", 12));
  store.replace([], "11");
  assert.equal(store.size, 1);
  store.replace([], "13");
  assert.equal(store.size, 0);
});

test("the answer to a write that comes after the watch has shown the object's end does not bring it back", () => {
  const store = new Store<KubeObject>();
  store.replace([], "10");
  store.upsert(object("a", 11));
  store.remove(object("a", 12));
  store.written(object("a", 11));
  assert.equal(store.size, 0);
  store.written(object("a", 13));
  assert.equal(store.size, 1);
});

test("an index follows its objects", () => {
  const store = new Store<KubeObject>({ label: (o) => Object.values(o.metadata.labels ?? {}) });
  const labelled = (version: number, ...values: string[]) => ({
    metadata: {
      ...object("a", version).metadata,
      labels: Object.fromEntries(values.map((value, i) => [`l${i}`, value])),
    },
  });
  store.upsert(labelled(1, "x", "y"));
  store.upsert(labelled(2, "y", "z"));
  const names = (value: string) => store.by("label", value).map((o) => o.metadata.name);
  assert.deepEqual([names("x"), names("y"), names("z")], [[], ["a"], ["a"]]);
  store.remove(labelled(3));
  assert.deepEqual([names("y"), names("z")], [[], []]);
});

test("property: events in order and own writes at any time before end in the server's state", () => {
  const steps = fc.array(
    fc.record({
      name: fc.constantFrom("a", "b", "c"),
      kind: fc.constantFrom("set", "own", "delete"),
    }),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(steps, fc.infiniteStream(fc.nat(3)), (script, lags) => {
      const store = new Store<KubeObject>();
      const server = new Map<string, KubeObject>();
      const events: (() => void)[] = [];
      const deliver = (count: number) => {
        for (const event of events.splice(0, count)) event();
      };
      let version = 1000;
      store.replace([], String(version));
      for (const { name, kind } of script) {
        const next = object(name, ++version);
        if (kind === "delete") {
          if (!server.delete(name)) continue;
          events.push(() => store.remove(next));
        } else {
          server.set(name, next);
          events.push(() => store.upsert(next));
          if (kind === "own") {
            store.written(next);
            assert.equal(store.get(`default/${name}`), next, "own writes are read back");
          }
        }
        deliver(lags.next().value ?? 0);
      }
      deliver(events.length);
      const state = (list: Iterable<KubeObject>) =>
        [...list].map((o) => `${o.metadata.name}@${o.metadata.resourceVersion}`).sort();
      assert.deepEqual(state(store.list()), state(server.values()));
    }),
  );
});
