/**
 * How namespaces go. The real stack has no namespace controller, so that there a namespace that was
 * deleted stays for ever; what the API itself does is the same in both.
 */
import assert from "node:assert/strict";
import { it } from "node:test";
import { itWithKubectl } from "#test/support/programs.ts";
import { adapter, configMap, GROUP, pod } from "./objects.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";

export function namespaceTests(target: Target): void {
  const path = (name: string) => `/api/v1/namespaces/${name}`;

  it("a delete marks it and says so", async () => {
    const name = await target.namespace();
    // Something has to hold it, or it may be gone at once.
    await target.create(
      `${path(name)}/configmaps`,
      configMap("held", {}, { finalizers: ["example.com/keep"] }),
    );
    const deleted = (await target.delete(path(name))).expect(200);
    assert.equal(deleted.at("kind"), "Namespace");
    assert.equal(deleted.at("status.phase"), "Terminating");
    assert.deepEqual(deleted.at("spec.finalizers"), ["kubernetes"]);
    assert.match(deleted.textAt("metadata.deletionTimestamp"), /^\d{4}-/);
    assert.equal(deleted.at("metadata.deletionGracePeriodSeconds"), undefined);
    await release(name);
  });

  it("nothing can be created in one that is going", async () => {
    const name = await target.namespace();
    await target.create(
      `${path(name)}/configmaps`,
      configMap("held", {}, { finalizers: ["example.com/keep"] }),
    );
    await target.delete(path(name));
    const because = `because it is being terminated`;
    const cause = {
      reason: "NamespaceTerminating",
      message: `namespace ${name} is being terminated`,
      field: "metadata.namespace",
    };
    (await target.post(`${path(name)}/configmaps`, configMap("one"))).refused({
      code: 403,
      reason: "Forbidden",
      message: `configmaps "one" is forbidden: unable to create new content in namespace ${name} ${because}`,
      details: { name: "one", kind: "configmaps", causes: [cause] },
    });
    (await target.post(`${GROUP}/namespaces/${name}/modeladapters`, adapter("one"))).refused({
      code: 403,
      reason: "Forbidden",
      message: `modeladapters.model.aibrix.ai "one" is forbidden: unable to create new content in namespace ${name} ${because}`,
      details: { name: "one", group: "model.aibrix.ai", kind: "modeladapters", causes: [cause] },
    });
    await release(name);
  });

  it("the ones that have to be there cannot be deleted", async () => {
    for (const name of ["default", "kube-system", "kube-public"]) {
      (await target.delete(path(name))).refused({
        code: 403,
        reason: "Forbidden",
        message: `namespaces "${name}" is forbidden: this namespace may not be deleted`,
        details: { name, kind: "namespaces" },
      });
    }
  });

  it("finalize takes the finalizers away", async () => {
    const name = await target.namespace();
    const found = await target.get(path(name));
    const answer = await target.put(`${path(name)}/finalize`, {
      ...found.body,
      spec: { finalizers: [] },
    });
    assert.deepEqual(answer.expect(200).at("spec"), {});
    (await target.delete(path(name))).expect(200);
    // The first one marked it; now that nobody holds it, the second one deletes it.
    await target.delete(path(name));
    (await target.get(path(name))).expect(404);
  });

  if (target.isEmbedded) {
    it("its content goes, then it goes", async () => {
      const name = await target.namespace();
      await target.create(`${path(name)}/configmaps`, configMap("one"));
      await target.create(`${path(name)}/pods`, pod("one"));
      await target.create(`${GROUP}/namespaces/${name}/modeladapters`, adapter("one"));
      await using watch = await target.watch(
        `/api/v1/namespaces?fieldSelector=metadata.name%3D${name}`,
      );
      await watch.take(1);
      (await target.delete(path(name))).expect(200);
      for (let event = await watch.next(); event.type !== "DELETED"; event = await watch.next())
        assert.equal(event.type, "MODIFIED");
      (await target.get(path(name))).expect(404);
      assert.deepEqual((await target.get(`${path(name)}/configmaps`)).names, []);
      assert.deepEqual((await target.get(`${GROUP}/namespaces/${name}/modeladapters`)).names, []);
    });

    it("what has a finalizer holds it", async () => {
      const name = await target.namespace();
      const held = configMap("held", {}, { finalizers: ["example.com/keep"] });
      await target.create(`${path(name)}/configmaps`, held);
      await target.delete(path(name));
      await soon(
        "the object is told to go",
        async () =>
          (await target.get(`${path(name)}/configmaps/held`)).at("metadata.deletionTimestamp") !==
          undefined,
      );
      (await target.get(path(name))).expect(200);
      await release(name);
      await soon(
        "the namespace is gone",
        async () => (await target.get(path(name))).status === 404,
      );
    });

    itWithKubectl("kubectl delete namespace waits for it", async () => {
      const name = await target.namespace();
      const said = await target.kubectl(["delete", "namespace", name]);
      assert.deepEqual(said, { code: 0, stdout: `namespace "${name}" deleted\n`, stderr: "" });
      (await target.get(path(name))).expect(404);
    });
  }

  async function release(name: string): Promise<void> {
    const patch = { metadata: { finalizers: null } };
    await target.patch(`${path(name)}/configmaps/held`, "merge", patch);
  }
}
