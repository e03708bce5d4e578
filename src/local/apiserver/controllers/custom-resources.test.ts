import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import type { JsonObject } from "#base/json.ts";
import { eventually } from "#test/support/eventually.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { MemoryObjects } from "#test/support/memory-objects.ts";
import { silentLog as log } from "#test/support/silent-log.ts";
import { objectAt, objectsAt, stringsAt } from "../json-access.ts";
import { CLEANUP_FINALIZER } from "../registry/removal.ts";
import { runCustomResourceController } from "./custom-resources.ts";

const NAME = { namespace: "", name: "things.x.org" };

class World {
  readonly clock = new ManualClock();
  readonly api = new MemoryObjects(this.clock);
  readonly definitions = this.api.kind("CustomResourceDefinition");
  readonly #life = new AbortController();
  #run: Promise<void> = Promise.resolve();

  constructor(t: TestContext) {
    t.after(() => this.stop());
    for (const name of ["a", "b"]) {
      this.api.create(this.api.kind("Namespace"), { metadata: { name } });
    }
  }

  start(): void {
    const deps = { api: this.api, clock: this.clock, log };
    this.#run = runCustomResourceController(deps, this.#life.signal);
  }

  async stop(): Promise<void> {
    this.#life.abort();
    await this.#run;
  }

  define(finalizers: string[] = []): void {
    this.api.create(this.definitions, {
      metadata: { name: NAME.name, ...(finalizers.length === 0 ? {} : { finalizers }) },
      spec: {
        group: "x.org",
        scope: "Namespaced",
        names: { plural: "things", kind: "Thing" },
        versions: [{ name: "v1", served: true, storage: true }],
      },
    });
  }

  make(namespace: string, finalizers: string[] = []): void {
    const metadata = { namespace, name: "t", ...(finalizers.length === 0 ? {} : { finalizers }) };
    this.api.create(this.api.kind("Thing"), { metadata });
  }

  definition(): JsonObject | undefined {
    return this.api.get(this.definitions, NAME);
  }

  condition(type: string): string {
    const conditions = objectsAt(objectAt(this.definition(), "status"), "conditions");
    const found = conditions.find((condition) => condition["type"] === type);
    return [found?.["status"], found?.["reason"]].join(" ");
  }

  finalizers(): string[] {
    return stringsAt(objectAt(this.definition(), "metadata"), "finalizers");
  }
}

describe("custom resources", () => {
  it("are established once they are defined", async (t) => {
    const here = new World(t);
    here.start();
    here.define(["x.org/hold"]);
    await eventually("established", () => here.condition("Established").startsWith("True"));
    assert.equal(here.condition("NamesAccepted"), "True NoConflicts");
    assert.deepEqual(here.finalizers(), ["x.org/hold"]);
    const writes = here.api.writes.length;
    await here.clock.advance(60_000);
    assert.equal(here.api.writes.length, writes, "and that is all");
  });

  it("go after all their objects", async (t) => {
    const here = new World(t);
    here.start();
    // As the deletion leaves it.
    here.define([CLEANUP_FINALIZER]);
    await eventually("established", () => here.condition("Established").startsWith("True"));
    here.make("a");
    here.make("b", ["x.org/hold"]);
    const thing = here.api.kind("Thing");
    here.api.delete(here.definitions, NAME, {});
    await eventually("one is left", () => here.api.list(thing).length === 1);
    assert.equal(here.condition("Terminating"), "True InstanceDeletionInProgress");
    await here.clock.advance(60_000);
    assert.deepEqual(here.finalizers(), [CLEANUP_FINALIZER], "as long as it takes");
    const metadata = { finalizers: null };
    here.api.patch(thing, { namespace: "b", name: "t" }, { metadata });
    await eventually("it has gone", () => here.definition() === undefined);
  });

  it("go also when the controller starts in the middle of it", async (t) => {
    const here = new World(t);
    here.define([CLEANUP_FINALIZER, "x.org/hold"]);
    here.make("a");
    here.api.delete(here.definitions, NAME, {});
    here.start();
    await eventually("our part is done", () => here.finalizers().join() === "x.org/hold");
    assert.equal(here.condition("Terminating"), "False InstanceDeletionCompleted");
    assert.equal(here.api.list(here.api.kind("Thing")).length, 0);
  });
});
