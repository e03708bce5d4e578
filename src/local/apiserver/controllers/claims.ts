import { messageOf } from "#base/errors.ts";
import type { JsonObject } from "#base/json.ts";
import { WorkQueue } from "#kube/workqueue.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { finalizersOf, isDeleting } from "./collection-plan.ts";
import { BACKOFF_MAX_MS, type ControllerDeps, ignoreAbsence, nameOf, turn } from "./controller.ts";

/** Every claim gets it when it is created. */
const IN_USE = "kubernetes.io/pvc-protection";

/**
 * Lets PersistentVolumeClaims that are being deleted go once no pod uses them, until `signal` is
 * aborted. Knows nothing from before.
 */
export async function runClaimProtection(deps: ControllerDeps, signal: AbortSignal): Promise<void> {
  const { api, clock, log } = deps;
  const claims = api.kindNamed("v1", "PersistentVolumeClaim");
  const pods = api.kindNamed("v1", "Pod");
  if (claims === undefined || pods === undefined) throw new Error("bug: claims are not served");
  const queue = new WorkQueue({ clock, backoffMaxMs: BACKOFF_MAX_MS });
  const add = (namespace: string, name: string) => queue.add(`${namespace}/${name}`);
  const unsubscribe = api.onChange(({ kind, before, after }) => {
    if (kind === claims && after !== undefined) add(nameOf(after).namespace, nameOf(after).name);
    // A pod that ends gives its claims back.
    else if (kind === pods && before !== undefined) {
      for (const name of claimsOf(before)) add(nameOf(before).namespace, name);
    }
  });
  for (const claim of api.list(claims)) add(nameOf(claim).namespace, nameOf(claim).name);
  await queue.run(
    1,
    async (key) => {
      await turn();
      const [namespace = "", name = ""] = key.split("/");
      const claim = api.get(claims, { namespace, name });
      if (claim === undefined || !isDeleting(claim)) return undefined;
      const held = finalizersOf(claim);
      const isUsed = api.list(pods, namespace).some((pod) => claimsOf(pod).includes(name));
      if (isUsed || !held.includes(IN_USE)) return undefined;
      const finalizers = held.filter((finalizer) => finalizer !== IN_USE);
      const { resourceVersion = "" } = objectAt(claim, "metadata");
      const metadata = { resourceVersion, finalizers };
      ignoreAbsence(() => api.patch(claims, { namespace, name }, { metadata }));
      return undefined;
    },
    (claim, error) => {
      log.warn("The claim will be looked at again", { claim, error: messageOf(error) });
    },
    signal,
  );
  unsubscribe();
}

/** The claims that a pod uses; one that is over uses none. */
function claimsOf(pod: JsonObject): string[] {
  const phase = stringAt(objectAt(pod, "status"), "phase");
  if (phase === "Succeeded" || phase === "Failed") return [];
  return objectsAt(objectAt(pod, "spec"), "volumes")
    .map((volume) => stringAt(objectAt(volume, "persistentVolumeClaim"), "claimName"))
    .filter((name) => name !== "");
}
