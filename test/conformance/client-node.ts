/** The official JavaScript client, which many a script of our users is written with. */
import assert from "node:assert/strict";
import { it } from "node:test";
import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  KubeConfig,
  KubernetesObjectApi,
  makeInformer,
  PatchStrategy,
  setHeaderOptions,
  Watch,
} from "@kubernetes/client-node";
import { adapter, configMap } from "./objects.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";

const GROUP = "model.aibrix.ai";

export function clientNodeTests(target: Target): void {
  const config = () => {
    const loaded = new KubeConfig();
    loaded.loadFromFile(target.kubeconfig);
    return loaded;
  };

  it("typed: create, read, list, patch, replace, delete", async () => {
    const api = config().makeApiClient(CoreV1Api);
    const namespace = await target.namespace();
    const made = await api.createNamespacedConfigMap({ namespace, body: configMapBody("one") });
    assert.ok(made.metadata?.creationTimestamp instanceof Date);
    const read = await api.readNamespacedConfigMap({ namespace, name: "one" });
    assert.deepEqual(read.data, { a: "1" });
    const list = await api.listNamespacedConfigMap({ namespace, labelSelector: "!none" });
    assert.deepEqual(
      list.items.map((item) => item.metadata?.name),
      ["one"],
    );
    const patched = await api.patchNamespacedConfigMap(
      { namespace, name: "one", body: { data: { b: "2" } } },
      setHeaderOptions("Content-Type", PatchStrategy.MergePatch),
    );
    assert.deepEqual(patched.data, { a: "1", b: "2" });
    const replaced = await api.replaceNamespacedConfigMap({
      namespace,
      name: "one",
      body: { ...patched, data: { c: "3" } },
    });
    assert.deepEqual(replaced.data, { c: "3" });
    const deleted = await api.deleteNamespacedConfigMap({ namespace, name: "one" });
    assert.equal(deleted.status, "Success");
  });

  it("errors carry the Status", async () => {
    const api = config().makeApiClient(CoreV1Api);
    const namespace = await target.namespace();
    await assert.rejects(api.readNamespacedPod({ namespace, name: "none" }), (error) => {
      assert.ok(error instanceof ApiException);
      assert.equal(error.code, 404);
      assert.match(String(error.body), /pods \\?"none\\?" not found/);
      return true;
    });
  });

  it("custom objects", async () => {
    const api = config().makeApiClient(CustomObjectsApi);
    const namespace = await target.namespace();
    const where = { group: GROUP, version: "v1alpha1", namespace, plural: "modeladapters" };
    await api.createNamespacedCustomObject({ ...where, body: adapter("one") });
    const list = await api.listNamespacedCustomObject(where);
    assert.equal(list.items.length, 1);
    const status = await api.patchNamespacedCustomObjectStatus(
      { ...where, name: "one", body: { status: { phase: "Running" } } },
      setHeaderOptions("Content-Type", PatchStrategy.MergePatch),
    );
    assert.equal(status.status.phase, "Running");
    await api.deleteNamespacedCustomObject({ ...where, name: "one" });
  });

  it("any object, found through discovery", async () => {
    const api = KubernetesObjectApi.makeApiClient(config());
    const namespace = await target.namespace();
    const body = adapter("one", {}, { namespace });
    const made = await api.create(body);
    assert.equal(made.metadata["name"], "one");
    const applied = await api.patch(
      { ...body, spec: { ...body.spec, replicas: 1 } },
      undefined,
      undefined,
      "me",
      true,
      PatchStrategy.ServerSideApply,
    );
    assert.equal(Object(applied).spec.replicas, 1);
    await api.delete(body);
  });

  it("watch", async () => {
    const namespace = await target.namespace();
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const seen: string[] = [];
    const controller = await new Watch(config()).watch(
      path,
      {},
      (type, object) => seen.push(`${type} ${object.metadata.name}`),
      () => {},
    );
    await target.create(path, configMap("one"));
    await target.delete(`${path}/one`);
    await soon("both events", async () => seen.length === 2);
    controller.abort();
    assert.deepEqual(seen, ["ADDED one", "DELETED one"]);
  });

  it("informer", async () => {
    const kubeconfig = config();
    const api = kubeconfig.makeApiClient(CoreV1Api);
    const namespace = await target.namespace();
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    await target.create(path, configMap("one"));
    const informer = makeInformer(kubeconfig, path, () =>
      api.listNamespacedConfigMap({ namespace }),
    );
    const seen: string[] = [];
    for (const verb of ["add", "update", "delete"] as const)
      informer.on(verb, (object) => seen.push(`${verb} ${object.metadata?.name}`));
    informer.on("error", (error) => seen.push(`error ${error}`));
    await informer.start();
    await target.create(path, configMap("two"));
    await target.patch(`${path}/one`, "merge", { data: { b: "2" } });
    await target.delete(`${path}/two`);
    await soon("all events", async () => seen.length >= 4);
    await informer.stop();
    assert.deepEqual(seen, ["add one", "add two", "update one", "delete two"]);
    assert.equal(informer.get("one", namespace)?.data?.["b"], "2");
  });
}

function configMapBody(name: string) {
  return { metadata: { name }, data: { a: "1" } };
}
