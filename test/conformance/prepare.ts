import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { isObject, type JsonObject } from "#base/json.ts";
import { at } from "./answer.ts";
import { soon } from "./soon.ts";
import type { Target } from "./target.ts";

const CRD_FILE = join(import.meta.dirname, "../../deploy/crd/model.aibrix.ai_modeladapters.yaml");
const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/** What every test may rely on: the definition of ModelAdapters, and the namespace default. */
export async function prepare(target: Target): Promise<void> {
  const definition: unknown = parse(readFileSync(CRD_FILE, "utf8"));
  assert.ok(isObject(definition));
  const answer = await target.post(DEFINITIONS, definition);
  if (answer.status !== 409) answer.expect(201);
  await established(target, definition);
}

/** Creates a definition and waits until its objects are served. */
export async function define(target: Target, definition: JsonObject): Promise<void> {
  await target.create(DEFINITIONS, definition);
  await established(target, definition);
}

/** Waits until all served versions of a definition answer, which is a moment after `Established`. */
export async function established(target: Target, definition: JsonObject): Promise<void> {
  const path = `${DEFINITIONS}/${at(definition, "metadata.name")}`;
  await soon(`${path} is established`, async () => {
    const conditions = (await target.get(path)).at("status.conditions");
    return (
      Array.isArray(conditions) &&
      conditions.some((one) => at(one, "type") === "Established" && at(one, "status") === "True")
    );
  });
  const list = `/apis/${at(definition, "spec.group")}/${at(definition, "spec.versions.0.name")}/${at(definition, "spec.names.plural")}`;
  await soon(`${list} is served`, async () => (await target.get(list)).status === 200);
}
