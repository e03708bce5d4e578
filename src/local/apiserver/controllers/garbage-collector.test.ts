import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { isObject, type JsonObject } from "#base/json.ts";
import { seededRandom } from "#test/sim/random.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { MemoryObjects } from "#test/support/memory-objects.ts";
import { silentLog as log } from "#test/support/silent-log.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import type { ObjectApi } from "../registry/object-api.ts";
import { turn } from "./controller.ts";
import { runGarbageCollector } from "./garbage-collector.ts";

type Policy = "Orphan" | "Background" | "Foreground";

const metadataOf = (object: JsonObject | undefined) => objectAt(object, "metadata");
const uidOf = (object: JsonObject | undefined) => stringAt(metadataOf(object), "uid");
const ownersOf = (object: JsonObject) => objectsAt(metadataOf(object), "ownerReferences");

/** ConfigMaps stand for namespaced objects, ClusterRoles for the others. */
class World {
  readonly clock = new ManualClock();
  readonly api = new MemoryObjects(this.clock);
  readonly configMap = this.api.kind("ConfigMap");
  readonly clusterRole = this.api.kind("ClusterRole");
  #life = new AbortController();
  #run: Promise<void> = Promise.resolve();

  constructor() {
    for (const name of ["a", "b"]) {
      this.api.create(this.api.kind("Namespace"), { metadata: { name } });
    }
  }

  kindOf(namespace: string): Kind {
    return namespace === "" ? this.clusterRole : this.configMap;
  }

  start(api: ObjectApi = this.api): void {
    this.#life = new AbortController();
    this.#run = runGarbageCollector({ api, clock: this.clock, log }, this.#life.signal);
  }

  async stop(): Promise<void> {
    this.#life.abort();
    await this.#run;
  }

  /** Until nothing is written any more. */
  async settle(): Promise<void> {
    for (let idle = 0, seen = -1; idle < 4; idle++) {
      if (this.api.writes.length !== seen) idle = 0;
      seen = this.api.writes.length;
      await turn();
    }
  }

  /** `namespace/name`, or just a name for a cluster-scoped object. */
  make(path: string, owners: JsonObject[] = [], finalizers: string[] = []): JsonObject {
    const name = nameOf(path);
    return this.api.create(this.kindOf(name.namespace), {
      metadata: {
        ...(name.namespace === "" ? {} : { namespace: name.namespace }),
        name: name.name,
        ...(owners.length === 0 ? {} : { ownerReferences: owners }),
        ...(finalizers.length === 0 ? {} : { finalizers }),
      },
    });
  }

  find(path: string): JsonObject | undefined {
    const name = nameOf(path);
    return this.api.get(this.kindOf(name.namespace), name);
  }

  delete(path: string, propagationPolicy: Policy): void {
    const name = nameOf(path);
    this.api.delete(this.kindOf(name.namespace), name, { propagationPolicy });
  }

  setFinalizers(path: string, finalizers: string[]): void {
    const name = nameOf(path);
    this.api.patch(this.kindOf(name.namespace), name, { metadata: { finalizers } });
  }

  all(): JsonObject[] {
    return [...this.api.list(this.clusterRole), ...this.api.list(this.configMap)];
  }

  /** What is left, with the owners that each refers to. */
  left(): string[] {
    return this.all().map((object) => {
      const owners = ownersOf(object).map((owner) => stringAt(owner, "name"));
      return [pathOf(object), ...owners].join(" ");
    });
  }
}

function nameOf(path: string) {
  const [first = "", second] = path.split("/");
  return second === undefined ? { namespace: "", name: first } : { namespace: first, name: second };
}

function pathOf(object: JsonObject): string {
  const { namespace, name } = metadataOf(object);
  return namespace === undefined ? String(name) : `${namespace}/${name}`;
}

function ownerOf(object: JsonObject | undefined, more: JsonObject = {}): JsonObject {
  assert.ok(object !== undefined);
  return {
    apiVersion: stringAt(object, "apiVersion"),
    kind: stringAt(object, "kind"),
    name: stringAt(metadataOf(object), "name"),
    uid: uidOf(object),
    ...more,
  };
}

const BLOCKS = { blockOwnerDeletion: true };

function world(t: TestContext): World {
  const made = new World();
  made.start();
  t.after(() => made.stop());
  return made;
}

describe("garbage collector", () => {
  it("deletes in the background what nobody owns any more, down all generations", async (t) => {
    const here = world(t);
    const owner = here.make("a/owner");
    const other = here.make("other");
    const child = here.make("a/child", [ownerOf(owner)]);
    here.make("a/grandchild", [ownerOf(child)]);
    here.make("a/shared", [ownerOf(owner), ownerOf(other)]);
    await here.settle();
    assert.equal(here.all().length, 5);
    here.delete("a/owner", "Background");
    await here.settle();
    assert.deepEqual(here.left(), ["other", "a/shared other"], "the dangling reference goes");
    here.delete("other", "Background");
    await here.settle();
    assert.deepEqual(here.left(), []);
  });

  it("takes an owner with another uid, or in another namespace, for absent", async (t) => {
    const here = world(t);
    const owner = here.make("a/owner");
    const role = here.make("role");
    here.make("a/impostor", [ownerOf(owner, { uid: "another" })]);
    here.make("b/abroad", [ownerOf(owner)]);
    here.make("b/below-cluster", [ownerOf(role)]);
    here.make("b/half-abroad", [ownerOf(owner), ownerOf(role)]);
    await here.settle();
    assert.deepEqual(here.left(), [
      "role",
      "a/owner",
      "b/below-cluster role",
      "b/half-abroad role",
    ]);
  });

  it("leaves alone what may have an owner of a kind that it does not know", async (t) => {
    const here = world(t);
    const owner = { apiVersion: "x.org/v1", kind: "Thing", name: "t", uid: "1" };
    here.make("a/child", [owner, ownerOf(here.find("a/none") ?? here.make("a/gone"))]);
    here.delete("a/gone", "Background");
    const namespaced = here.make("a/namespaced");
    here.make("cluster-child", [ownerOf(namespaced, { uid: "other" })]);
    await here.settle();
    assert.deepEqual(here.left(), ["cluster-child namespaced", "a/child t gone", "a/namespaced"]);
    here.api.create(here.api.kind("CustomResourceDefinition"), thingDefinition);
    await here.settle();
    assert.deepEqual(here.left(), ["cluster-child namespaced", "a/namespaced"]);
  });

  it("deletes dependents first in the foreground", async (t) => {
    const here = world(t);
    const owner = here.make("a/owner");
    const child = here.make("a/child", [ownerOf(owner, BLOCKS)]);
    here.make("a/grandchild", [ownerOf(child, BLOCKS)], ["test/hold"]);
    here.make("a/free", [ownerOf(owner)], ["test/hold"]);
    here.delete("a/owner", "Foreground");
    await here.settle();
    assert.deepEqual(
      here.all().map((one) => [pathOf(one), stringsAt(metadataOf(one), "finalizers").join()]),
      [
        ["a/child", "foregroundDeletion"],
        ["a/free", "test/hold"],
        ["a/grandchild", "test/hold"],
        ["a/owner", "foregroundDeletion"],
      ],
    );
    here.setFinalizers("a/grandchild", []);
    await here.settle();
    assert.deepEqual(here.left(), ["a/free owner"], "what does not block is not waited for");
    here.setFinalizers("a/free", []);
    await here.settle();
    assert.deepEqual(here.left(), []);
  });

  it("keeps what has another owner when the first goes in the foreground", async (t) => {
    const here = world(t);
    const owner = here.make("a/owner");
    const other = here.make("a/other");
    here.make("a/child", [ownerOf(owner, BLOCKS), ownerOf(other, BLOCKS)]);
    here.delete("a/owner", "Foreground");
    await here.settle();
    assert.deepEqual(here.left(), ["a/child other", "a/other"]);
  });

  it("breaks circles in the foreground", async (t) => {
    const here = world(t);
    const first = here.make("a/first");
    const second = here.make("a/second", [ownerOf(first, BLOCKS)]);
    const third = here.make("a/third", [ownerOf(second, BLOCKS)]);
    here.api.patch(here.configMap, nameOf("a/first"), {
      metadata: { ownerReferences: [ownerOf(third, BLOCKS), ownerOf(first, BLOCKS)] },
    });
    await here.settle();
    assert.equal(here.all().length, 3);
    here.delete("a/first", "Foreground");
    await here.settle();
    assert.deepEqual(here.left(), []);
  });

  it("cuts dependents loose before an owner goes with orphans", async (t) => {
    const here = world(t);
    const owner = here.make("a/owner", [], ["test/hold"]);
    const other = here.make("a/other");
    here.make("a/child", [ownerOf(owner, BLOCKS)]);
    here.make("a/shared", [ownerOf(owner), ownerOf(other)]);
    here.delete("a/owner", "Orphan");
    await here.settle();
    const left = ["a/child", "a/other", "a/owner", "a/shared other"];
    assert.deepEqual(here.left(), left);
    here.setFinalizers("a/owner", []);
    await here.settle();
    assert.deepEqual(here.left(), ["a/child", "a/other", "a/shared other"]);
  });

  it("honours the finalizers that say how an object wants to be deleted", async (t) => {
    const here = world(t);
    const owner = here.make("a/owner");
    const keeper = here.make("a/keeper", [ownerOf(owner)], ["orphan"]);
    here.make("a/kept", [ownerOf(keeper)]);
    here.delete("a/owner", "Background");
    await here.settle();
    assert.deepEqual(here.left(), ["a/kept"]);
  });

  it("deletes dependents in the foreground, too, although their owner need not wait for them", async (t) => {
    const here = world(t);
    const owner = here.make("a/owner");
    const child = here.make("a/child", [ownerOf(owner)], ["orphan"]);
    here.make("a/grandchild", [ownerOf(child)]);
    await here.settle();
    here.delete("a/owner", "Foreground");
    await here.settle();
    assert.deepEqual(here.left(), [], "the child's own wish counts only in the background");
  });

  it("does not collect events", async (t) => {
    const here = world(t);
    const event = here.api.kind("Event");
    const owner = { apiVersion: "v1", kind: "ConfigMap", name: "none", uid: "1" };
    const metadata = { namespace: "a", name: "e", ownerReferences: [owner] };
    here.api.create(event, { metadata });
    await here.settle();
    assert.equal(here.api.list(event).length, 1);
  });
});

const thingDefinition: JsonObject = {
  metadata: { name: "things.x.org" },
  spec: {
    group: "x.org",
    scope: "Namespaced",
    names: { plural: "things", kind: "Thing" },
    versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: {} } }],
  },
};

/** Whole numbers below a limit; the seed tells the whole run. */
function randomOf(seed: number): (below: number) => number {
  const random = seededRandom(seed);
  return (below) => Math.floor(random() * below);
}

/** The API as a collector sees it that crashes at its n-th write, just before or just after it. */
function crashing(api: ObjectApi, writes: number, after: boolean, onCrash: () => void): ObjectApi {
  let left = writes;
  let isDead = false;
  const write = <T>(act: () => T): T => {
    if (isDead) throw new Error("crashed");
    left--;
    if (left > 0) return act();
    isDead = true;
    if (after) act();
    onCrash();
    throw new Error("crashed");
  };
  return {
    kinds: () => api.kinds(),
    kindNamed: (apiVersion, kind) => api.kindNamed(apiVersion, kind),
    get: (kind, name) => api.get(kind, name),
    list: (kind, namespace) => api.list(kind, namespace),
    onChange: (listener) => api.onChange((change) => isDead || listener(change)),
    create: (kind, object) => write(() => api.create(kind, object)),
    patch: (...args) => write(() => api.patch(...args)),
    delete: (...args) => write(() => api.delete(...args)),
  };
}

/** A world with random owners whose collector crashes all the time. */
class RandomWorld extends World {
  readonly #random: (below: number) => number;
  /** uid -> uids of its owners, as it was made. */
  readonly owners = new Map<string, string[]>();
  readonly paths = new Map<string, string>();
  crashes = 0;
  #hasCrashed = true;

  constructor(random: (below: number) => number) {
    super();
    this.#random = random;
    const places = ["a", "a", "a", "b", ""];
    const made: JsonObject[] = [];
    for (let index = 0; index < 4 + random(16); index++) {
      const namespace = places[random(places.length)] ?? "";
      const path = namespace === "" ? `o${index}` : `${namespace}/o${index}`;
      made.push(this.make(path, [], random(5) === 0 ? ["test/hold"] : []));
    }
    for (const object of made) {
      this.paths.set(uidOf(object), pathOf(object));
      this.owners.set(uidOf(object), []);
      const { namespace } = metadataOf(object);
      const references = Array.from({ length: random(4) }, () => made[random(made.length)])
        // Anything may own in its own namespace, or from outside all of them.
        .filter((owner) =>
          [namespace, undefined].includes(metadataOf(owner)["namespace"] as string),
        )
        .map((owner) => ownerOf(owner, random(3) > 0 ? BLOCKS : {}))
        .filter((owner) => owner["uid"] !== uidOf(object));
      const distinct = [...new Map(references.map((owner) => [owner["uid"], owner])).values()];
      if (distinct.length === 0) continue;
      this.owners.set(
        uidOf(object),
        distinct.map((owner) => String(owner["uid"])),
      );
      const name = nameOf(pathOf(object));
      this.api.patch(this.kindOf(name.namespace), name, {
        metadata: { ownerReferences: distinct },
      });
    }
  }

  /** Makes sure that a collector runs, with its next crash planned. */
  async revive(): Promise<void> {
    if (!this.#hasCrashed) return;
    await this.stop();
    this.#hasCrashed = false;
    const writes = 1 + this.#random(4);
    const isAfter = this.#random(2) === 0;
    this.start(
      crashing(this.api, writes, isAfter, () => {
        this.#hasCrashed = true;
        this.crashes++;
      }),
    );
  }

  async some(turns: number): Promise<void> {
    for (let index = 0; index < turns; index++) {
      await this.revive();
      await turn();
    }
  }

  /** Until nothing happens any more, with everybody else's finalizers gone from what is being deleted. */
  async finish(): Promise<void> {
    for (;;) {
      do {
        await this.revive();
        await this.settle();
      } while (this.#hasCrashed);
      const held = this.all().filter(
        (one) =>
          metadataOf(one)["deletionTimestamp"] !== undefined &&
          stringsAt(metadataOf(one), "finalizers").includes("test/hold"),
      );
      const one = held[this.#random(held.length || 1)];
      if (one === undefined) return;
      const finalizers = stringsAt(metadataOf(one), "finalizers");
      this.setFinalizers(
        pathOf(one),
        finalizers.filter((name) => name !== "test/hold"),
      );
    }
  }

  /** What goes when `deleted` go: they, and in turn what has owners but none that stays. */
  closure(deleted: readonly string[], owners = this.owners): Set<string> {
    const gone = new Set(deleted);
    for (let size = -1; size !== gone.size; ) {
      size = gone.size;
      for (const [uid, its] of owners) {
        if (its.length > 0 && its.every((owner) => gone.has(owner) || !owners.has(owner))) {
          gone.add(uid);
        }
      }
    }
    return gone;
  }

  /** What a deletion makes of a state at rest, by the rules. */
  after(state: Map<string, string[]>, uid: string, policy: Policy): Map<string, string[]> {
    const gone = policy === "Orphan" ? new Set([uid]) : this.closure([uid], state);
    const left = [...state].filter(([one]) => !gone.has(one));
    return new Map(left.map(([one, its]) => [one, its.filter((owner) => !gone.has(owner))]));
  }

  /** uid -> owners' uids of what is left. */
  state(): Map<string, string[]> {
    return new Map(
      this.all().map((one) => [uidOf(one), ownersOf(one).map((owner) => String(owner["uid"]))]),
    );
  }
}

const POLICIES = ["Orphan", "Background", "Foreground"] as const;

describe("garbage collector that crashes all the time", () => {
  it("ends after each deletion with exactly what Kubernetes' rules say", async () => {
    let crashes = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const random = randomOf(seed);
      const here = new RandomWorld(random);
      let expected = new Map(here.owners);
      await here.finish();
      const journal: string[] = [];
      for (let round = 0; round < 3 && expected.size > 0; round++) {
        const uid = [...expected.keys()][random(expected.size)] ?? "";
        const policy = POLICIES[random(3)] ?? "Background";
        journal.push(`${policy} ${here.paths.get(uid)}`);
        expected = here.after(expected, uid, policy);
        here.delete(here.paths.get(uid) ?? "", policy);
        await here.finish();
        assert.deepEqual(sorted(here.state()), sorted(expected), `seed ${seed}: ${journal}`);
      }
      await here.stop();
      crashes += here.crashes;
    }
    assert.ok(crashes > 150, `only ${crashes} crashes`);
  });

  it("comes to rest with nothing lost and nothing left over when deletions overlap", async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = randomOf(10_000 + seed);
      const here = new RandomWorld(random);
      const policies = POLICIES.slice(random(2));
      const deleted: string[] = [];
      for (let round = 0; round < 1 + random(5); round++) {
        const present = here.all();
        const object = present[random(present.length || 1)];
        if (!isObject(object)) break;
        deleted.push(uidOf(object));
        here.delete(pathOf(object), policies[random(policies.length)] ?? "Background");
        await here.some(random(6));
      }
      await here.finish();
      await here.stop();
      const state = here.state();
      const label = `seed ${seed}`;
      for (const object of here.all()) {
        assert.equal(metadataOf(object)["deletionTimestamp"], undefined, `${label}: stuck`);
      }
      for (const [uid, owners] of state) {
        assert.ok(
          owners.every((owner) => state.has(owner)),
          `${label}: dangling in ${uid}`,
        );
      }
      const closure = here.closure(deleted);
      const gone = [...here.owners.keys()].filter((uid) => !state.has(uid));
      assert.ok(
        deleted.every((uid) => gone.includes(uid)),
        `${label}: deleted but there`,
      );
      assert.ok(
        gone.every((uid) => closure.has(uid)),
        `${label}: too much is gone`,
      );
      if (!policies.includes("Orphan")) assert.equal(gone.length, closure.size, label);
    }
  });
});

const sorted = (state: Map<string, string[]>) =>
  [...state].map(([uid, owners]) => [uid, ...[...owners].sort()]).sort();
