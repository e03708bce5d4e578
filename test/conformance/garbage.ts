/** What goes when its owner goes. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { Answer } from "./answer.ts";
import { adapter, configMap, GROUP } from "./objects.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";

const KEEP = "example.com/keep";

export function garbageTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const ownedBy = (owner: Answer, more = {}) => ({
    ownerReferences: [
      {
        apiVersion: owner.textAt("apiVersion"),
        kind: owner.textAt("kind"),
        name: owner.textAt("metadata.name"),
        uid: owner.uid,
        ...more,
      },
    ],
  });
  const gone = (path: string) =>
    soon(`${path} is gone`, async () => (await target.get(path)).status === 404);

  it("in the background: the owner at once, then what it owns, and what that owns", async () => {
    const path = await maps();
    const owner = await target.create(path, configMap("owner"));
    const child = await target.create(path, configMap("child", {}, ownedBy(owner)));
    await target.create(path, configMap("grandchild", {}, ownedBy(child)));
    await target.create(path, configMap("other"));
    (await target.delete(`${path}/owner`, { propagationPolicy: "Background" })).expect(200);
    (await target.get(`${path}/owner`)).expect(404);
    await gone(`${path}/child`);
    await gone(`${path}/grandchild`);
    assert.deepEqual((await target.get(path)).names, ["other"]);
  });

  it("background is the default", async () => {
    const path = await maps();
    const owner = await target.create(path, configMap("owner"));
    await target.create(path, configMap("child", {}, ownedBy(owner)));
    (await target.delete(`${path}/owner`)).expect(200);
    await gone(`${path}/child`);
  });

  it("what a custom object owns", async () => {
    const namespace = await target.namespace();
    const owner = await target.create(
      `${GROUP}/namespaces/${namespace}/modeladapters`,
      adapter("owner"),
    );
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const how = { controller: true, blockOwnerDeletion: true };
    await target.create(path, configMap("child", {}, ownedBy(owner, how)));
    (await target.delete(`${GROUP}/namespaces/${namespace}/modeladapters/owner`)).expect(200);
    await gone(`${path}/child`);
  });

  it("in the foreground: the owner waits for whom it has to", async () => {
    const path = await maps();
    const owner = await target.create(path, configMap("owner"));
    const blocking = { ...ownedBy(owner, { blockOwnerDeletion: true }), finalizers: [KEEP] };
    await target.create(path, configMap("blocking", {}, blocking));
    await target.create(path, configMap("free", {}, ownedBy(owner)));
    const marked = await target.delete(`${path}/owner`, { propagationPolicy: "Foreground" });
    assert.deepEqual(marked.expect(200).at("metadata.finalizers"), ["foregroundDeletion"]);
    await gone(`${path}/free`);
    await soon(
      "the blocking one is told to go",
      async () =>
        (await target.get(`${path}/blocking`)).at("metadata.deletionTimestamp") !== undefined,
    );
    (await target.get(`${path}/owner`)).expect(200);
    await target.patch(`${path}/blocking`, "merge", { metadata: { finalizers: null } });
    await gone(`${path}/blocking`);
    await gone(`${path}/owner`);
  });

  it("orphans stay, without their owner", async () => {
    const path = await maps();
    const owner = await target.create(path, configMap("owner"));
    await target.create(path, configMap("child", {}, ownedBy(owner)));
    const marked = await target.delete(`${path}/owner`, { propagationPolicy: "Orphan" });
    assert.deepEqual(marked.expect(200).at("metadata.finalizers"), ["orphan"]);
    await gone(`${path}/owner`);
    const child = (await target.get(`${path}/child`)).expect(200);
    assert.equal(child.at("metadata.ownerReferences"), undefined);
  });

  it("whoever has another owner left stays", async () => {
    const path = await maps();
    const one = await target.create(path, configMap("owner-1"));
    const two = await target.create(path, configMap("owner-2"));
    const both = {
      ownerReferences: [...ownedBy(one).ownerReferences, ...ownedBy(two).ownerReferences],
    };
    await target.create(path, configMap("child", {}, both));
    (await target.delete(`${path}/owner-1`)).expect(200);
    await soon("the reference to the owner that went is gone", async () => {
      const left = (await target.get(`${path}/child`)).at("metadata.ownerReferences");
      return Array.isArray(left) && left.length === 1;
    });
    (await target.delete(`${path}/owner-2`)).expect(200);
    await gone(`${path}/child`);
  });

  it("whose owner never was goes", async () => {
    const path = await maps();
    const owner = await target.create(path, configMap("owner"));
    (await target.delete(`${path}/owner`)).expect(200);
    await target.create(path, configMap("child", {}, ownedBy(owner)));
    await gone(`${path}/child`);
  });

  it("an owner of the same name and another uid is not the owner", async () => {
    const path = await maps();
    const owner = await target.create(path, configMap("owner"));
    (await target.delete(`${path}/owner`)).expect(200);
    await target.create(path, configMap("owner"));
    await target.create(path, configMap("child", {}, ownedBy(owner)));
    await gone(`${path}/child`);
  });
}
