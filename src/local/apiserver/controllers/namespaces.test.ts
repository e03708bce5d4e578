import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import type { JsonObject } from "#base/json.ts";
import { eventually } from "#test/support/eventually.ts";
import { ManualClock } from "#test/support/manual-clock.ts";
import { MemoryObjects } from "#test/support/memory-objects.ts";
import { silentLog as log } from "#test/support/silent-log.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { badRequest } from "../registry/api-error.ts";
import { terminationConditions } from "./namespace-conditions.ts";
import { runNamespaceController } from "./namespaces.ts";

class World {
  readonly clock = new ManualClock();
  readonly api = new MemoryObjects(this.clock);
  readonly namespaces = this.api.kind("Namespace");
  readonly pods = this.api.kind("Pod");
  readonly configMaps = this.api.kind("ConfigMap");
  readonly #life = new AbortController();
  #run: Promise<void> = Promise.resolve();

  start(ca = "PEM"): void {
    const finalizeNamespace = (name: string) => this.api.finalizeNamespace(name);
    const deps = { api: this.api, clock: this.clock, log, ca, finalizeNamespace };
    this.#run = runNamespaceController(deps, this.#life.signal);
  }

  async stop(): Promise<void> {
    this.#life.abort();
    await this.#run;
  }

  make(kind: string, name: string, more: JsonObject = {}, finalizers: string[] = []): void {
    const metadata = { namespace: "team", name, ...(finalizers[0] ? { finalizers } : {}) };
    this.api.create(this.api.kind(kind), { metadata, ...more });
  }

  namespace(): JsonObject | undefined {
    return this.api.get(this.namespaces, { namespace: "", name: "team" });
  }

  /** `status reason message` of a condition of the namespace. */
  condition(type: string): string {
    const conditions = objectsAt(objectAt(this.namespace(), "status"), "conditions");
    const found = conditions.find((condition) => condition["type"] === type);
    return [found?.["status"], found?.["reason"], found?.["message"]].join(" ");
  }

  /** The plurals of what was deleted, in order. */
  deletions(): string[] {
    return this.api.writes
      .filter((write) => write.startsWith("delete ") && !write.includes("namespaces"))
      .map((write) => write.split(" ")[1] ?? "");
  }

  deleteNamespace(): void {
    this.api.delete(this.namespaces, { namespace: "", name: "team" }, {});
  }

  gone(): Promise<unknown> {
    return eventually("the namespace has gone", () => this.namespace() === undefined);
  }
}

async function world(t: TestContext): Promise<World> {
  const here = new World();
  t.after(() => here.stop());
  here.api.create(here.namespaces, { metadata: { name: "team" } });
  here.start();
  await eventually("it is furnished", () => here.api.list(here.configMaps, "team").length === 1);
  return here;
}

describe("namespaces", () => {
  it("have a default account and the authority's certificate, again when they were taken away", async (t) => {
    const here = await world(t);
    const accounts = here.api.kind("ServiceAccount");
    const account = { namespace: "team", name: "default" };
    const certificate = { namespace: "team", name: "kube-root-ca.crt" };
    const held = here.api.get(here.configMaps, certificate);
    assert.deepEqual(held?.["data"], { "ca.crt": "PEM" });
    assert.ok(here.api.get(accounts, account));
    here.api.delete(accounts, account, {});
    await eventually("the account is back", () => here.api.get(accounts, account));
    here.api.patch(here.configMaps, certificate, { data: { "ca.crt": "forged", more: "x" } });
    await eventually("the certificate is right again", () => {
      const data = objectAt(here.api.get(here.configMaps, certificate), "data");
      return data["ca.crt"] === "PEM" && data["more"] === undefined;
    });
    here.api.create(here.namespaces, { metadata: { name: "second" } });
    await eventually("a new one has both", () => here.api.list(accounts, "second").length === 1);
  });

  it("that are deleted lose all their content, pods first, and go", async (t) => {
    const here = await world(t);
    here.make("Secret", "s");
    here.make("Pod", "p");
    here.make("Deployment", "d");
    here.make("Event", "e");
    here.deleteNamespace();
    await here.gone();
    const left = here.api.kinds().flatMap((kind) => here.api.list(kind, "team"));
    assert.deepEqual(left, []);
    assert.equal(here.deletions()[0], "pods");
  });

  it("wait for pods that take their time, and for finalizers, and say so", async (t) => {
    const here = await world(t);
    here.make("Pod", "p", { spec: { nodeName: "here", terminationGracePeriodSeconds: 30 } });
    here.make("Secret", "held", {}, ["x.org/hold"]);
    here.make("Deployment", "held", {}, ["x.org/hold"]);
    here.deleteNamespace();
    await eventually("it says that a pod is left", () =>
      here
        .condition("NamespaceContentRemaining")
        .endsWith(
          "SomeResourcesRemain Some resources are remaining: pods. has 1 resource instances",
        ),
    );
    assert.equal(objectAt(here.namespace(), "status")["phase"], "Terminating");
    assert.deepEqual(here.deletions(), ["pods"], "what the pod may need is still there");
    here.api.delete(here.pods, { namespace: "team", name: "p" }, { gracePeriodSeconds: 0 });
    await eventually("it says what is left then", () =>
      here.condition("NamespaceContentRemaining").includes("deployments.apps has 1"),
    );
    assert.equal(
      here.condition("NamespaceContentRemaining"),
      "True SomeResourcesRemain Some resources are remaining: deployments.apps has 1 resource instances, secrets. has 1 resource instances",
    );
    assert.equal(
      here.condition("NamespaceFinalizersRemaining"),
      "True SomeFinalizersRemain Some content in the namespace has finalizers remaining: x.org/hold in 2 resource instances",
    );
    assert.match(here.condition("NamespaceDeletionContentFailure"), /^False ContentDeleted /);
    for (const kind of ["Secret", "Deployment"]) {
      const name = { namespace: "team", name: "held" };
      here.api.patch(here.api.kind(kind), name, { metadata: { finalizers: null } });
    }
    await here.gone();
  });

  it("that are held by finalizers of their own are empty and stay", async (t) => {
    const here = await world(t);
    const name = { namespace: "", name: "team" };
    here.api.patch(here.namespaces, name, { metadata: { finalizers: ["x.org/hold"] } });
    here.deleteNamespace();
    await eventually("it is finalized", () => {
      const { finalizers } = objectAt(here.namespace(), "spec");
      return Array.isArray(finalizers) && finalizers.length === 0;
    });
    assert.equal(here.api.list(here.configMaps, "team").length, 0);
    here.api.patch(here.namespaces, name, { metadata: { finalizers: null } });
    await here.gone();
  });

  it("say what could not be deleted and try again", async (t) => {
    const here = await world(t);
    here.make("Secret", "s");
    let isBroken = true;
    const { api } = here;
    const original = api.delete.bind(api);
    api.delete = (kind, name, request) => {
      if (isBroken && kind.kind === "Secret") throw badRequest("disk full");
      original(kind, name, request);
    };
    here.deleteNamespace();
    await eventually("it tells", () =>
      here.condition("NamespaceDeletionContentFailure").startsWith("True"),
    );
    assert.equal(
      here.condition("NamespaceDeletionContentFailure"),
      "True ContentDeletionFailed Failed to delete all resource types, 1 remaining: disk full",
    );
    isBroken = false;
    await here.clock.advance(5_000);
    await here.gone();
  });

  it("say when a pod outlives its grace", async (t) => {
    const here = await world(t);
    here.make("Pod", "p", { spec: { nodeName: "here", terminationGracePeriodSeconds: 10 } });
    here.deleteNamespace();
    await eventually("it waits", () => here.condition("NamespaceContentRemaining") !== "  ");
    await here.clock.advance(20_000);
    await eventually("it complains", () =>
      here
        .condition("NamespaceDeletionContentFailure")
        .includes("unexpected items still remain in namespace: team for gvr: /v1, Resource=pods"),
    );
    here.api.delete(here.pods, { namespace: "team", name: "p" }, { gracePeriodSeconds: 0 });
    await here.gone();
  });

  it("are emptied of custom objects, and by a controller that starts late", async (t) => {
    const here = new World();
    t.after(() => here.stop());
    here.api.create(here.namespaces, { metadata: { name: "team" } });
    here.api.create(here.api.kind("CustomResourceDefinition"), {
      metadata: { name: "things.x.org" },
      spec: {
        group: "x.org",
        scope: "Namespaced",
        names: { plural: "things", kind: "Thing" },
        versions: [{ name: "v1", served: true, storage: true }],
      },
    });
    here.make("Thing", "t");
    here.deleteNamespace();
    here.start();
    await here.gone();
    assert.deepEqual(here.deletions(), ["things"]);
  });
});

describe("conditions of a namespace that is being deleted", () => {
  it("keep their time until they turn, and leave those of others", () => {
    const content = (left: number) => ({
      resources: new Map(left === 0 ? [] : [["pods.", left]]),
      finalizers: new Map<string, number>(),
      errors: [],
    });
    const other = { type: "Other", status: "True" };
    const first = terminationConditions({ conditions: [other] }, content(2), "t1");
    const second = terminationConditions({ conditions: first }, content(1), "t2");
    const third = terminationConditions({ conditions: second }, content(0), "t3");
    const times = (conditions: JsonObject[]) =>
      conditions
        .filter(({ type }) => type === "NamespaceContentRemaining")
        .map((one) => `${one["status"]} ${stringAt(one, "lastTransitionTime")}`);
    assert.deepEqual([first, second, third].flatMap(times), ["True t1", "True t1", "False t3"]);
    assert.deepEqual(third[0], other);
    assert.equal(third.length, 6);
  });
});
