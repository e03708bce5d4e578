import { type Clock, toTimestamp } from "#base/clock.ts";
import type { JsonObject } from "#base/json.ts";
import { allocateService } from "../builtins/services.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import { Catalog, CRD_RESOURCE, resourceOf } from "../kinds/catalog.ts";
import type { Kind } from "../kinds/kind.ts";
import { prune } from "../schema/structural.ts";
import type { Store } from "../storage/store.ts";
import type { Admission, AdmissionRequest } from "./admission.ts";
import {
  ApiError,
  alreadyExists,
  conflict,
  forbidden,
  invalidObject,
  methodNotSupported,
  modifiedSince,
  notFound,
} from "./api-error.ts";
import { admitted, DecodingError, defaulted } from "./decode.ts";
import {
  completeCreation,
  completeUpdate,
  type DraftContext,
  draftCreation,
  draftUpdate,
  isNoChange,
} from "./drafts.ts";
import { isDeleting, metadataOf } from "./meta.ts";
import type { DeleteRequest, ObjectName } from "./object-api.ts";
import { keyOf, Objects, objectName } from "./objects.ts";
import type { WriteOptions } from "./options.ts";
import { applied, isApplyPatch, type Patch, patched, unreadableResult } from "./patches.ts";
import { isFinallyGone, planRemoval, type Removal } from "./removal.ts";

export interface RegistryOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** For names that the server generates: `length` characters out of `alphabet`. */
  readonly randomText: (length: number, alphabet: string) => string;
  readonly newUid: () => string;
}

/** What came out of a write. */
export interface Written {
  readonly object: JsonObject;
  readonly isCreated: boolean;
}

const OPTIONS_KINDS = { CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions" };

/** How often a write without a version of its own is put on top of a newer one before it is a conflict. */
const RETRIES_MAX = 5;
const NAME_SUFFIX_LENGTH = 5;
/** No vowels, no digits that look like letters: the names never spell anything. */
const NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789";
/** Kinds that PUT may create. */
const CREATED_BY_UPDATE = new Set([
  "services",
  "events",
  "leases",
  "roles",
  "rolebindings",
  "clusterroles",
  "clusterrolebindings",
]);

/**
 * Reads and writes objects by the rules of the Kubernetes API. What a write does is decided by the pure
 * functions of drafts.ts and removal.ts from the newest state; between that look and the store's write
 * nothing can come, since only admission webhooks are waited for, and after them the state is looked at again.
 */
export class Registry {
  readonly #options: RegistryOptions;
  readonly catalog = new Catalog();
  readonly #objects: Objects;
  #admission: Admission | undefined;

  constructor(options: RegistryOptions) {
    this.#options = options;
    const { store } = options;
    this.#objects = new Objects(store, this.catalog);
    this.catalog.update(store.list(CRD_RESOURCE));
    store.onChange(({ key }) => {
      if (key.resource === CRD_RESOURCE) this.catalog.update(store.list(CRD_RESOURCE));
    });
  }

  get store(): Store {
    return this.#options.store;
  }

  /** From now on clients' writes go through these webhooks. */
  useAdmission(admission: Admission): void {
    this.#admission = admission;
  }

  /** The object in the version of `kind`. */
  read(kind: Kind, name: ObjectName): JsonObject | undefined {
    return this.#objects.read(kind, name);
  }

  /** @throws ApiError (404) */
  get(kind: Kind, name: ObjectName): JsonObject {
    return this.#objects.get(kind, name);
  }

  /** A stored object in the version of `kind`. */
  shownAs(kind: Kind, object: JsonObject): JsonObject {
    return this.#objects.shownAs(kind, object);
  }

  /** @param object as `decode` returns it. */
  async create(
    kind: Kind,
    namespace: string,
    object: JsonObject,
    options: WriteOptions,
  ): Promise<JsonObject> {
    const context = this.#context(kind, options);
    const draft = this.#draftCreation(context, namespace, object);
    return await this.#admitCreation(context, namespace, draft, options);
  }

  /** Creates without asking webhooks, at once. */
  createNow(kind: Kind, namespace: string, object: JsonObject, options: WriteOptions): JsonObject {
    const context = this.#context(kind, options);
    const draft = this.#draftCreation(context, namespace, object);
    return this.#commitCreation(kind, this.#completeCreation(context, draft), options.dryRun);
  }

  /** PUT: replaces the object; of some kinds it creates what is not there. */
  async update(
    kind: Kind,
    name: ObjectName,
    subresource: string,
    object: JsonObject,
    options: WriteOptions,
  ): Promise<Written> {
    const isNew = this.read(kind, name) === undefined;
    if (isNew && subresource === "" && CREATED_BY_UPDATE.has(kind.plural)) {
      const created = await this.create(kind, name.namespace, object, options);
      return { object: created, isCreated: true };
    }
    const change = (current: JsonObject) => {
      requireSameUid(kind, current, object);
      return object;
    };
    const written = await this.rewrite(kind, name, subresource, change, options);
    return { object: written, isCreated: false };
  }

  /** PATCH, of any type; apply creates what is not there. */
  async patch(
    kind: Kind,
    name: ObjectName,
    subresource: string,
    patch: Patch,
    options: WriteOptions,
  ): Promise<Written> {
    const now = toTimestamp(this.#options.clock.now());
    const decoding = { fieldValidation: options.fieldValidation, warn: options.warn };
    if (!isApplyPatch(patch)) {
      const change = (current: JsonObject) => {
        const result = patched(kind, current, patch);
        try {
          return admitted(kind, result, decoding);
        } catch (error) {
          if (!(error instanceof DecodingError)) throw error;
          throw unreadableResult(patch, result, error.message);
        }
      };
      const object = await this.rewrite(kind, name, subresource, change, options);
      return { object, isCreated: false };
    }
    const apply = (live: JsonObject | undefined) =>
      admitted(kind, applied(kind, live, patch, { subresource, options, now }), decoding);
    if (this.read(kind, name) !== undefined) {
      const object = await this.rewrite(kind, name, subresource, apply, options, true);
      return { object, isCreated: false };
    }
    if (subresource !== "") throw notFound(kind, name.name);
    const context = { ...this.#context(kind, options), isApply: true };
    const draft = this.#draftCreation(context, name.namespace, apply(undefined));
    requireName(draft, name);
    const object = await this.#admitCreation(context, name.namespace, draft, options);
    return { object, isCreated: true };
  }

  /** Changes an object without asking webhooks, at once. `change` gets the newest version. */
  rewriteNow(
    kind: Kind,
    name: ObjectName,
    subresource: string,
    change: (current: JsonObject) => JsonObject,
    options: WriteOptions,
  ): JsonObject {
    const before = this.get(kind, name);
    const context = this.#context(kind, options);
    const draft = draftUpdate(context, before, change(before), subresource);
    const after = this.#completeUpdate(context, before, draft, subresource);
    return this.#commitUpdate(kind, name, before, after, options.dryRun);
  }

  /** DELETE of one object. */
  async delete(
    kind: Kind,
    name: ObjectName,
    request: DeleteRequest,
    options: WriteOptions,
  ): Promise<Removal> {
    const object = this.get(kind, name);
    await this.#validate({
      ...this.#question("DELETE", kind, name, options),
      oldObject: object,
    });
    return this.deleteNow(kind, name, request, options.dryRun);
  }

  /** Deletes without asking webhooks, at once. */
  deleteNow(kind: Kind, name: ObjectName, request: DeleteRequest, dryRun = false): Removal {
    const object = this.get(kind, name);
    const removal = planRemoval(kind, object, request, this.#options.clock.now());
    if (dryRun || removal.step === "wait") return removal;
    const key = keyOf(kind, name);
    if (removal.step === "remove") {
      // A pod without grace is marked like any other; watchers see both.
      if (removal.object !== object)
        this.store.put(key, this.#objects.asStored(kind, removal.object));
      this.store.remove(key);
      return removal;
    }
    if (isNoChange(object, removal.object)) return { step: "wait", object };
    const stored = this.store.put(key, this.#objects.asStored(kind, removal.object));
    return { step: "mark", object: this.shownAs(kind, stored) };
  }

  /** Takes what keeps a namespace off its spec; one that is being deleted goes with it. */
  finalizeNamespace(kind: Kind, name: string, finalizers: readonly string[]): JsonObject {
    const target = { namespace: "", name };
    const namespace = this.get(kind, target);
    const { finalizers: _, ...others } = objectAt(namespace, "spec");
    const spec = finalizers.length === 0 ? others : { ...others, finalizers: [...finalizers] };
    return this.#commitUpdate(kind, target, namespace, { ...namespace, spec }, false);
  }

  #context(kind: Kind, options: WriteOptions): DraftContext {
    return { kind, options, nowMs: this.#options.clock.now(), isApply: false };
  }

  #draftCreation(context: DraftContext, namespace: string, object: JsonObject): JsonObject {
    const { kind } = context;
    const { randomText, newUid } = this.#options;
    const uid = newUid();
    for (let attempt = 1; ; attempt++) {
      const suffix = randomText(NAME_SUFFIX_LENGTH, NAME_ALPHABET);
      const draft = draftCreation(context, object, { namespace, uid, suffix });
      const isGenerated = metadataOf(object)["name"] !== metadataOf(draft)["name"];
      const isTaken = isGenerated && this.read(kind, objectName(draft)) !== undefined;
      if (!isTaken || attempt === RETRIES_MAX) {
        this.#requireNamespace(kind, namespace, stringAt(metadataOf(draft), "name"));
        return draft;
      }
    }
  }

  #requireNamespace(kind: Kind, namespace: string, name: string): void {
    if (!kind.namespaced) return;
    const namespaces = this.catalog.find("", "v1", "namespaces");
    if (namespaces === undefined) return;
    const found = this.get(namespaces, { namespace: "", name: namespace });
    if (!isDeleting(found)) return;
    const cause = {
      reason: "NamespaceTerminating",
      message: `namespace ${namespace} is being terminated`,
      field: "metadata.namespace",
    };
    throw forbidden(
      kind,
      name,
      `unable to create new content in namespace ${namespace} because it is being terminated`,
      [cause],
    );
  }

  async #admitCreation(
    context: DraftContext,
    namespace: string,
    draft: JsonObject,
    options: WriteOptions,
  ): Promise<JsonObject> {
    const { kind } = context;
    this.#requireCreatable(kind);
    const name = { namespace, name: stringAt(metadataOf(draft), "name") };
    const question = this.#question("CREATE", kind, name, options);
    const admittedDraft = await this.#mutate({ ...question, object: draft }, draft, options);
    const object = this.#completeCreation(context, admittedDraft);
    await this.#validate({ ...question, object });
    return this.#commitCreation(kind, object, options.dryRun);
  }

  /** A kind whose definition is going away takes nothing new. */
  #requireCreatable(kind: Kind): void {
    if (!kind.custom) return;
    const crds = this.store.list(CRD_RESOURCE);
    const crd = crds.find(
      (candidate) => stringAt(metadataOf(candidate), "name") === `${kind.plural}.${kind.group}`,
    );
    if (crd === undefined || !isDeleting(crd)) return;
    throw new ApiError(
      405,
      "MethodNotAllowed",
      `create not allowed while custom resource definition is terminating`,
      methodNotSupported().details,
    );
  }

  #completeCreation(context: DraftContext, draft: JsonObject): JsonObject {
    return completeCreation(context, draft, (object) =>
      this.#allocated(context.kind, object, undefined),
    );
  }

  #completeUpdate(
    context: DraftContext,
    before: JsonObject,
    draft: JsonObject,
    subresource: string,
  ): JsonObject {
    return completeUpdate(context, before, draft, subresource, (object) =>
      this.#allocated(context.kind, object, before),
    );
  }

  /** Services get their addresses and ports from what others have left. */
  #allocated(kind: Kind, service: JsonObject, before: JsonObject | undefined): JsonObject {
    if (kind.group !== "" || kind.kind !== "Service") return service;
    const { uid } = metadataOf(service);
    const others = this.store
      .list(resourceOf(kind))
      .filter((other) => metadataOf(other)["uid"] !== uid)
      .map((other) => objectAt(other, "spec"));
    const allocation = allocateService(service, before, {
      clusterIps: new Set(
        others.flatMap((spec) => [stringAt(spec, "clusterIP"), ...stringsAt(spec, "clusterIPs")]),
      ),
      nodePorts: new Set(
        others.flatMap((spec) =>
          objectsAt(spec, "ports")
            .map((port) => port["nodePort"])
            .filter((port) => typeof port === "number"),
        ),
      ),
    });
    if ("service" in allocation) return allocation.service;
    throw invalidObject(kind, stringAt(metadataOf(service), "name"), allocation.errors);
  }

  #commitCreation(kind: Kind, object: JsonObject, dryRun: boolean): JsonObject {
    const name = objectName(object);
    const existing = this.read(kind, name);
    if (existing !== undefined) throw alreadyExists(kind, name.name, isDeleting(existing));
    // While webhooks were asked, the namespace may have gone.
    this.#requireNamespace(kind, name.namespace, name.name);
    if (dryRun) return object;
    const stored = this.store.put(keyOf(kind, name), this.#objects.asStored(kind, object));
    return this.shownAs(kind, stored);
  }

  /** Changes an object on top of its newest version; `change` is called again when another write came between. */
  async rewrite(
    kind: Kind,
    name: ObjectName,
    subresource: string,
    change: (current: JsonObject) => JsonObject,
    options: WriteOptions,
    isApply = false,
  ): Promise<JsonObject> {
    const question = {
      ...this.#question("UPDATE", kind, name, options),
      subresource,
    };
    for (let attempt = 1; ; attempt++) {
      const before = this.get(kind, name);
      const context = { ...this.#context(kind, options), isApply };
      const wanted = change(before);
      const draft = draftUpdate(context, before, wanted, subresource);
      const asked = { ...question, oldObject: before };
      const mutated = await this.#mutate({ ...asked, object: draft }, draft, options);
      const after = this.#completeUpdate(context, before, mutated, subresource);
      await this.#validate({ ...asked, object: after });
      const current = this.store.get(keyOf(kind, name));
      const isNewest =
        metadataOf(current)["resourceVersion"] === metadataOf(before)["resourceVersion"];
      if (isNewest) return this.#commitUpdate(kind, name, before, after, options.dryRun);
      if (attempt === RETRIES_MAX) throw modifiedSince(kind, name.name);
    }
  }

  #commitUpdate(
    kind: Kind,
    name: ObjectName,
    before: JsonObject,
    after: JsonObject,
    dryRun: boolean,
  ): JsonObject {
    if (isNoChange(before, after)) return before;
    if (dryRun) return after;
    const key = keyOf(kind, name);
    if (isFinallyGone(kind, after)) {
      this.store.remove(key);
      return after;
    }
    return this.shownAs(kind, this.store.put(key, this.#objects.asStored(kind, after)));
  }

  #question(
    operation: "CREATE" | "UPDATE" | "DELETE",
    kind: Kind,
    { namespace, name }: ObjectName,
    { user, dryRun, warn, given }: WriteOptions,
  ) {
    const options = { kind: OPTIONS_KINDS[operation], apiVersion: "meta.k8s.io/v1", ...given };
    const nothing = { object: undefined, oldObject: undefined };
    return {
      operation,
      kind,
      namespace,
      name,
      user,
      dryRun,
      warn,
      options,
      subresource: "",
      ...nothing,
    };
  }

  async #mutate(
    request: AdmissionRequest,
    object: JsonObject,
    options: WriteOptions,
  ): Promise<JsonObject> {
    if (this.#admission === undefined) return object;
    const answer = await this.#admission.mutate(request);
    for (const warning of answer.warnings) options.warn(warning);
    if (answer.object === undefined || answer.object === object) return object;
    return defaulted(request.kind, prune(request.kind.schema, answer.object).object);
  }

  async #validate(request: AdmissionRequest & { warn: WriteOptions["warn"] }): Promise<void> {
    const answer = await this.#admission?.validate(request);
    for (const warning of answer?.warnings ?? []) request.warn(warning);
  }
}

function requireName(draft: JsonObject, { name }: ObjectName): void {
  const own = stringAt(metadataOf(draft), "name");
  if (own === name) return;
  throw new ApiError(
    400,
    "BadRequest",
    `the name of the object (${own}) does not match the name on the URL (${name})`,
  );
}

/** An object that was deleted and made anew is another one, whatever its name. */
function requireSameUid(kind: Kind, current: JsonObject, given: JsonObject): void {
  const uid = stringAt(metadataOf(given), "uid");
  const held = stringAt(metadataOf(current), "uid");
  if (uid === "" || uid === held) return;
  const { namespace, name } = objectName(current);
  const path = [resourceOf(kind).replace(/^\//, ""), namespace, name].filter((part) => part !== "");
  throw conflict(
    kind,
    name,
    `StorageError: invalid object, Code: 4, Key: /registry/${path.join("/")}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${uid}, UID in object meta: ${held}`,
  );
}
