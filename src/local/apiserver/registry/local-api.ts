import type { JsonObject } from "#base/json.ts";
import { applyMergePatch } from "#base/merge-patch.ts";
import { stringAt } from "../json-access.ts";
import { resourceOf } from "../kinds/catalog.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import { admitted } from "./decode.ts";
import { asObject, metadataOf } from "./meta.ts";
import type { Change, DeleteRequest, ObjectApi, ObjectName, User } from "./object-api.ts";
import type { WriteOptions } from "./options.ts";
import type { Registry } from "./registry.ts";

/** The server's own controllers and what it makes by itself. */
const SYSTEM: User = { name: "system:apiserver", groups: ["system:masters"] };

/**
 * The objects as the server's own controllers see and change them.
 * @param manager the name under which changes are booked in `metadata.managedFields`.
 */
export function localApi(registry: Registry, manager: string): ObjectApi {
  const { catalog, store } = registry;
  const options: WriteOptions = {
    user: SYSTEM,
    fieldManager: manager,
    fieldValidation: "Ignore",
    dryRun: false,
    force: true,
    given: {},
    warn: () => {},
  };
  return {
    kinds: () => catalog.storedKinds(),
    kindNamed: (apiVersion, kind) => catalog.named(apiVersion, kind),
    get: (kind: Kind, name: ObjectName) => registry.read(kind, name),
    list: (kind: Kind, namespace?: string) =>
      store.list(resourceOf(kind), namespace).map((object) => registry.shownAs(kind, object)),
    onChange: (listener: (change: Change) => void) =>
      store.onChange(({ key, before, after }) => {
        const kind = catalog.ofResource(key.resource);
        if (kind !== undefined) listener({ kind, before, after });
      }),
    create: (kind: Kind, object: JsonObject) => {
      const namespace = stringAt(metadataOf(object), "namespace");
      const named = { apiVersion: groupVersionOf(kind), kind: kind.kind, ...object };
      return registry.createNow(kind, namespace, admitted(kind, named, options), options);
    },
    patch: (kind: Kind, name: ObjectName, patch: JsonObject, subresource?: "status") =>
      registry.rewriteNow(
        kind,
        name,
        subresource ?? "",
        (current) => admitted(kind, asObject(applyMergePatch(current, patch)), options),
        options,
      ),
    delete: (kind: Kind, name: ObjectName, request: DeleteRequest) =>
      void registry.deleteNow(kind, name, request),
  };
}
