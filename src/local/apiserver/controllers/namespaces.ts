import { fromTimestamp, toTimestamp } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import { type JsonObject, jsonEqual } from "#base/json.ts";
import { type HandlerResult, WorkQueue } from "#kube/workqueue.ts";
import { numberAt, objectAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { ApiError } from "../registry/api-error.ts";
import type { Change, ObjectApi } from "../registry/object-api.ts";
import { FOREGROUND, finalizersOf, isDeleting, ORPHAN } from "./collection-plan.ts";
import { BACKOFF_MAX_MS, type ControllerDeps, ignoreAbsence, nameOf, turn } from "./controller.ts";
import { terminationConditions } from "./namespace-conditions.ts";

export interface NamespaceDeps extends ControllerDeps {
  /** PEM of the authority that pods have to trust; undefined: namespaces are given nothing. */
  readonly ca: string | undefined;
  /**
   * What PUT `namespaces/<name>/finalize` does: takes `kubernetes` out of `spec.finalizers`, whereupon
   * the namespace goes unless other finalizers hold it.
   */
  readonly finalizeNamespace: (name: string) => void;
}

const NAMESPACE_FINALIZER = "kubernetes";
const ROOT_CA_NAME = "kube-root-ca.crt";
const ROOT_CA_ANNOTATION = "kubernetes.io/description";
const ROOT_CA_DESCRIPTION =
  "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
  "No other usage is guaranteed across distributions of Kubernetes clusters.";
const DEFAULT_ACCOUNT = "default";
/** How long finalizers may be expected to take; only a second look, changes are heard of at once. */
const FINALIZERS_TAKE_S = 15;

/**
 * Gives every namespace its default ServiceAccount and the authority's certificate, and empties
 * namespaces that are being deleted, until `signal` is aborted. Knows nothing from before.
 */
export async function runNamespaceController(
  deps: NamespaceDeps,
  signal: AbortSignal,
): Promise<void> {
  const queue = new WorkQueue({ clock: deps.clock, backoffMaxMs: BACKOFF_MAX_MS });
  const controller = new NamespaceController(deps);
  const addAll = () => {
    for (const namespace of controller.all()) queue.add(nameOf(namespace).name);
  };
  const unsubscribe = deps.api.onChange((change) => {
    // A kind that is new may have content of namespaces that are being deleted.
    if (change.kind.kind === "CustomResourceDefinition") addAll();
    const name = controller.concerned(change);
    if (name !== undefined) queue.add(name);
  });
  addAll();
  await queue.run(
    1,
    async (name) => {
      await turn();
      return controller.handle(name);
    },
    (namespace, error) => {
      deps.log.warn("The namespace will be looked at again", {
        namespace,
        error: messageOf(error),
      });
    },
    signal,
  );
  unsubscribe();
}

class NamespaceController {
  readonly #deps: NamespaceDeps;
  readonly #namespaces: Kind;
  readonly #accounts: Kind;
  readonly #configMaps: Kind;

  constructor(deps: NamespaceDeps) {
    this.#deps = deps;
    const builtin = (name: string): Kind => {
      const kind = deps.api.kindNamed("v1", name);
      if (kind === undefined) throw new Error(`bug: ${name} is not served`);
      return kind;
    };
    this.#namespaces = builtin("Namespace");
    this.#accounts = builtin("ServiceAccount");
    this.#configMaps = builtin("ConfigMap");
  }

  all(): readonly JsonObject[] {
    return this.#deps.api.list(this.#namespaces);
  }

  /** The namespace that has to be looked at after a change. */
  concerned({ kind, before, after }: Change): string | undefined {
    const { namespace, name } = nameOf(after ?? before ?? {});
    if (kind.group === "" && kind.kind === "Namespace")
      return after === undefined ? undefined : name;
    if (namespace === "") return undefined;
    const isOurs =
      (kind.kind === "ServiceAccount" && name === DEFAULT_ACCOUNT) ||
      (kind.kind === "ConfigMap" && name === ROOT_CA_NAME);
    const found = this.#get(namespace);
    const isTerminating = found !== undefined && isDeleting(found);
    return isOurs || isTerminating ? namespace : undefined;
  }

  handle(name: string): HandlerResult | undefined {
    const namespace = this.#get(name);
    if (namespace === undefined) return undefined;
    if (isDeleting(namespace)) return ignoreAbsence(() => this.#terminate(namespace));
    this.#provide(name);
    return undefined;
  }

  #get(name: string): JsonObject | undefined {
    return this.#deps.api.get(this.#namespaces, { namespace: "", name });
  }

  /** What every namespace has. */
  #provide(namespace: string): void {
    const { api, ca } = this.#deps;
    if (ca === undefined) return;
    const account = { namespace, name: DEFAULT_ACCOUNT };
    if (api.get(this.#accounts, account) === undefined) {
      createIfPossible(api, this.#accounts, { metadata: account });
    }
    const name = { namespace, name: ROOT_CA_NAME };
    const data = { "ca.crt": ca };
    const annotations = { [ROOT_CA_ANNOTATION]: ROOT_CA_DESCRIPTION };
    const held = api.get(this.#configMaps, name);
    if (held === undefined) {
      createIfPossible(api, this.#configMaps, { metadata: { ...name, annotations }, data });
      return;
    }
    const description = objectAt(objectAt(held, "metadata"), "annotations")[ROOT_CA_ANNOTATION];
    const isGood = jsonEqual(held["data"], data) && description !== undefined;
    if (!isDeleting(held) && !isGood) {
      // Merged, other keys would stay.
      const others = Object.keys(objectAt(held, "data")).map((key): [string, null] => [key, null]);
      api.patch(this.#configMaps, name, {
        metadata: { annotations },
        data: { ...Object.fromEntries(others), ...data },
      });
    }
  }

  #terminate(namespace: JsonObject): HandlerResult | undefined {
    const { api, clock } = this.#deps;
    const { name } = nameOf(namespace);
    if (!stringsAt(objectAt(namespace, "spec"), "finalizers").includes(NAMESPACE_FINALIZER)) {
      return undefined;
    }
    const deletion = new ContentDeletion(this.#deps, namespace);
    deletion.run();
    const status = objectAt(namespace, "status");
    const conditions = terminationConditions(status, deletion, toTimestamp(clock.now()));
    const wanted = { ...status, phase: "Terminating", conditions };
    if (!jsonEqual(status, wanted)) {
      api.patch(this.#namespaces, { namespace: "", name }, { status: wanted }, "status");
    }
    if (deletion.errors.length > 0) throw new Error(deletion.errors.join(", "));
    if (deletion.estimateS > 0) {
      return { requeueAfterMs: (Math.floor(deletion.estimateS / 2) + 1) * 1000 };
    }
    this.#deps.finalizeNamespace(name);
    return undefined;
  }
}

/** One pass of deleting everything in a namespace. */
class ContentDeletion {
  readonly resources = new Map<string, number>();
  readonly finalizers = new Map<string, number>();
  readonly errors: string[] = [];
  /** When it makes sense to look again; 0 when everything is gone. */
  estimateS = 0;
  readonly #deps: ControllerDeps;
  readonly #name: string;
  readonly #deletedAtMs: number;

  constructor(deps: ControllerDeps, namespace: JsonObject) {
    this.#deps = deps;
    this.#name = nameOf(namespace).name;
    const deletedAt = stringAt(objectAt(namespace, "metadata"), "deletionTimestamp");
    this.#deletedAtMs = fromTimestamp(deletedAt) ?? 0;
  }

  run(): void {
    const kinds = this.#deps.api.kinds().filter((kind) => kind.namespaced);
    const isPod = (kind: Kind) => kind.group === "" && kind.kind === "Pod";
    for (const kind of kinds.filter(isPod)) this.#deleteAll(kind, this.#graceS(kind));
    // Pods may need until their end what else the namespace holds.
    if (this.resources.size > 0) return;
    for (const kind of kinds) if (!isPod(kind)) this.#deleteAll(kind, 0);
  }

  #deleteAll(kind: Kind, graceS: number): void {
    const { api } = this.#deps;
    const errors: string[] = [];
    for (const object of api.list(kind, this.#name)) {
      const policies = finalizersOf(object).filter((name) => [FOREGROUND, ORPHAN].includes(name));
      if (isDeleting(object) && policies.length === 0) continue;
      try {
        // Nothing is left to dependents: they go as well.
        const request = { propagationPolicy: "Background" } as const;
        ignoreAbsence(() => api.delete(kind, nameOf(object), request));
      } catch (error) {
        errors.push(messageOf(error));
      }
    }
    const left = api.list(kind, this.#name);
    if (left.length > 0) {
      const held = left.flatMap(finalizersOf);
      this.resources.set(`${kind.plural}.${kind.group}`, left.length);
      for (const finalizer of held) {
        this.finalizers.set(finalizer, (this.finalizers.get(finalizer) ?? 0) + 1);
      }
      const estimateS = graceS > 0 ? graceS : held.length > 0 ? FINALIZERS_TAKE_S : 0;
      this.estimateS = Math.max(this.estimateS, estimateS);
      if (estimateS === 0 && errors.length === 0) {
        const what = `${kind.group}/${kind.version}, Resource=${kind.plural}`;
        errors.push(`unexpected items still remain in namespace: ${this.#name} for gvr: ${what}`);
      }
    }
    this.errors.push(...errors);
  }

  /** The longest grace that a pod still has since the namespace was deleted; 0 when it is over. */
  #graceS(pods: Kind): number {
    const graces = this.#deps.api
      .list(pods, this.#name)
      .filter(
        (pod) => !["Succeeded", "Failed"].includes(stringAt(objectAt(pod, "status"), "phase")),
      )
      .map((pod) => numberAt(objectAt(pod, "spec"), "terminationGracePeriodSeconds"));
    const graceS = Math.max(0, ...graces);
    return this.#deps.clock.now() - this.#deletedAtMs < graceS * 1000 ? graceS : 0;
  }
}

/** Another was faster, or the namespace is gone meanwhile: both are fine. */
function createIfPossible(api: ObjectApi, kind: Kind, object: JsonObject): void {
  try {
    ignoreAbsence(() => api.create(kind, object));
  } catch (error) {
    const isThere = error instanceof ApiError && error.reason === "AlreadyExists";
    if (!isThere) throw error;
  }
}
