import { toTimestamp } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import { type JsonObject, jsonEqual } from "#base/json.ts";
import { type HandlerResult, WorkQueue } from "#kube/workqueue.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { establishedStatus } from "../kinds/crd-kinds.ts";
import type { Kind } from "../kinds/kind.ts";
import { CLEANUP_FINALIZER } from "../registry/removal.ts";
import { finalizersOf, isDeleting } from "./collection-plan.ts";
import { BACKOFF_MAX_MS, type ControllerDeps, ignoreAbsence, nameOf, turn } from "./controller.ts";

/** Objects that go are heard of; this often they are looked at anyway. */
const LOOK_ANYWAY_MS = 5_000;

/**
 * Says of each CustomResourceDefinition that it is established, and deletes all its objects before it
 * goes, until `signal` is aborted. Knows nothing from before.
 */
export async function runCustomResourceController(
  deps: ControllerDeps,
  signal: AbortSignal,
): Promise<void> {
  const { api } = deps;
  const definitions = api.kindNamed("apiextensions.k8s.io/v1", "CustomResourceDefinition");
  if (definitions === undefined) throw new Error("bug: CustomResourceDefinition is not served");
  const queue = new WorkQueue({ clock: deps.clock, backoffMaxMs: BACKOFF_MAX_MS });
  const unsubscribe = api.onChange(({ kind, before, after }) => {
    if (kind.kind === definitions.kind && kind.group === definitions.group) {
      if (after !== undefined) queue.add(nameOf(after).name);
    } else if (kind.custom && before !== undefined && after === undefined) {
      // Its definition may have waited for this object.
      queue.add(`${kind.plural}.${kind.group}`);
    }
  });
  for (const definition of api.list(definitions)) queue.add(nameOf(definition).name);
  await queue.run(
    1,
    async (name) => {
      await turn();
      const definition = api.get(definitions, { namespace: "", name });
      if (definition === undefined) return undefined;
      return ignoreAbsence(() => reconcile(deps, definitions, definition));
    },
    (name, error) => {
      deps.log.warn("The custom resource will be looked at again", {
        name,
        error: messageOf(error),
      });
    },
    signal,
  );
  unsubscribe();
}

function reconcile(
  deps: ControllerDeps,
  definitions: Kind,
  definition: JsonObject,
): HandlerResult | undefined {
  const { api, clock } = deps;
  const name = nameOf(definition);
  const finalizers = finalizersOf(definition);
  const writeStatus = (status: JsonObject) => {
    if (!jsonEqual(definition["status"], status)) {
      api.patch(definitions, name, { status }, "status");
    }
  };
  if (!isDeleting(definition)) {
    writeStatus(establishedStatus(definition, toTimestamp(clock.now())));
    return undefined;
  }
  if (!finalizers.includes(CLEANUP_FINALIZER)) return undefined;
  const now = toTimestamp(clock.now());
  writeStatus(terminatingStatus(definition, IN_PROGRESS, now));
  if (deleteInstances(deps, definition) > 0) return { requeueAfterMs: LOOK_ANYWAY_MS };
  const latest = api.get(definitions, name);
  if (latest === undefined) return undefined;
  const { resourceVersion = "" } = objectAt(latest, "metadata");
  const others = finalizersOf(latest).filter((finalizer) => finalizer !== CLEANUP_FINALIZER);
  if (others.length > 0) {
    // It stays for others; without them nobody would see the end of our part.
    const status = terminatingStatus(latest, COMPLETED, now);
    api.patch(definitions, name, { status }, "status");
    api.patch(definitions, name, { metadata: { finalizers: others } });
    return undefined;
  }
  api.patch(definitions, name, { metadata: { resourceVersion, finalizers: null } });
  return undefined;
}

/** Deletes the objects of all served versions; tells how many are still there. */
function deleteInstances({ api }: ControllerDeps, definition: JsonObject): number {
  const spec = objectAt(definition, "spec");
  const plural = stringAt(objectAt(spec, "names"), "plural");
  const kinds = api
    .kinds()
    .filter((kind) => kind.custom && kind.plural === plural && kind.group === spec["group"]);
  for (const kind of kinds) {
    for (const object of api.list(kind)) {
      if (!isDeleting(object)) ignoreAbsence(() => api.delete(kind, nameOf(object), {}));
    }
  }
  return kinds.reduce((sum, kind) => sum + api.list(kind).length, 0);
}

const IN_PROGRESS = {
  status: "True",
  reason: "InstanceDeletionInProgress",
  message: "CustomResource deletion is in progress",
};
const COMPLETED = {
  status: "False",
  reason: "InstanceDeletionCompleted",
  message: "removed all instances",
};

/** @param now RFC 3339 */
function terminatingStatus(
  definition: JsonObject,
  said: typeof IN_PROGRESS,
  now: string,
): JsonObject {
  const status = objectAt(definition, "status");
  const conditions = objectsAt(status, "conditions");
  const old = conditions.find((condition) => condition["type"] === "Terminating");
  const isSame = old?.["status"] === said.status && old["reason"] === said.reason;
  if (isSame) return status;
  const hasTurned = old?.["status"] !== said.status;
  const condition: JsonObject = {
    type: "Terminating",
    status: said.status,
    lastTransitionTime: (hasTurned ? undefined : old?.["lastTransitionTime"]) ?? now,
    reason: said.reason,
    message: said.message,
  };
  return { ...status, conditions: [...conditions.filter((one) => one !== old), condition] };
}
