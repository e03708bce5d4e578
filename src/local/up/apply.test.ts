import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "#api/kubernetes.ts";
import { MODEL_ADAPTERS } from "#kube/client.ts";
import { systemClock as clock } from "#telemetry/system-clock.ts";
import { MemoryKube } from "#test/support/memory-kube.ts";
import { applyShipped, decideApply, marked, SHIPPED_ANNOTATION } from "./apply.ts";

const adapter = (artifactURL: string): KubeObject & { spec: object } => ({
  apiVersion: "model.aibrix.ai/v1alpha1",
  kind: "ModelAdapter",
  metadata: { name: "sql", namespace: "default" },
  spec: { podSelector: {}, artifactURL },
});

test("what is there is left alone until what we ship has changed", () => {
  const [one, two] = [marked(adapter("/1")), marked(adapter("/2"))];
  assert.equal(decideApply(one, undefined), "create");
  assert.equal(decideApply(one, { ...one, spec: "edited" } as KubeObject), "keep");
  assert.equal(decideApply(two, one), "update");
  assert.equal(decideApply(two, adapter("/by the user")), "keep");
  assert.notEqual(
    one.metadata.annotations?.[SHIPPED_ANNOTATION],
    two.metadata.annotations?.[SHIPPED_ANNOTATION],
  );
});

test("an edit survives the next start, a new shipped text replaces it", async () => {
  const kube = new MemoryKube();
  const name = { namespace: "default", name: "sql" };
  const apply = async (url: string) => {
    const signal = new AbortController().signal;
    const [applied] = await applyShipped(kube, [adapter(url)], { clock, signal });
    const { spec } = await kube.get(MODEL_ADAPTERS, name);
    return [applied?.decision, spec.artifactURL];
  };
  assert.deepEqual(await apply("/1"), ["create", "/1"]);
  await kube.patch(MODEL_ADAPTERS, name, "merge", { spec: { artifactURL: "/edited" } });
  assert.deepEqual(await apply("/1"), ["keep", "/edited"]);
  assert.deepEqual(await apply("/2"), ["update", "/2"]);
});
