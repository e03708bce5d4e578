import { isObject, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { builtinKinds } from "./builtin-kinds.ts";
import { kindsOfCrd } from "./crd-kinds.ts";
import type { Kind } from "./kind.ts";

/** The key under which CustomResourceDefinitions are stored. */
export const CRD_RESOURCE = "apiextensions.k8s.io/customresourcedefinitions";
const EVENTS = "/events";

interface Served {
  readonly kind: Kind;
  /** The version in which objects of this kind are stored. */
  readonly stored: Kind;
}

/** Where objects of a kind are stored: the same place for all its versions. */
export function resourceOf(kind: Pick<Kind, "group" | "plural">): string {
  // One Event, two ways to look at it.
  if (kind.group === "events.k8s.io" && kind.plural === "events") return EVENTS;
  return `${kind.group}/${kind.plural}`;
}

/** The kinds that are served: the built-in ones and those of the CustomResourceDefinitions. */
export class Catalog {
  #served: readonly Served[] = [];
  #byPath = new Map<string, Served>();

  constructor() {
    this.update([]);
  }

  /** Serves what these CustomResourceDefinitions establish, and nothing of others. */
  update(crds: readonly JsonObject[]): void {
    const builtin = builtinKinds();
    const coreEvent = builtin.find((kind) => kind.group === "" && kind.plural === "events");
    const served: Served[] = builtin.map((kind) => ({
      kind,
      stored: resourceOf(kind) === EVENTS ? (coreEvent ?? kind) : kind,
    }));
    for (const crd of crds.filter(isEstablished)) served.push(...servedBy(crd));
    this.#served = served;
    this.#byPath = new Map(served.map((entry) => [pathOf(entry.kind), entry]));
  }

  /** All kinds in all their versions. */
  kinds(): readonly Kind[] {
    return this.#served.map(({ kind }) => kind);
  }

  /** Each kind once, in the version that is stored. */
  storedKinds(): Kind[] {
    return this.#served.filter(({ kind, stored }) => kind === stored).map(({ kind }) => kind);
  }

  find(group: string, version: string, plural: string): Kind | undefined {
    return this.#byPath.get(pathOf({ group, version, plural }))?.kind;
  }

  /** The kind that an object's `apiVersion` and `kind` name. */
  named(apiVersion: string, name: string): Kind | undefined {
    const { group, version } = groupVersion(apiVersion);
    return this.#served.find(
      ({ kind }) => kind.kind === name && kind.group === group && kind.version === version,
    )?.kind;
  }

  /** The same kind in the version that is stored. */
  storedAs(kind: Kind): Kind {
    return this.#byPath.get(pathOf(kind))?.stored ?? kind;
  }

  /** The stored kind of a resource; undefined when it is not served any more. */
  ofResource(resource: string): Kind | undefined {
    return this.#served.find(({ kind, stored }) => kind === stored && resourceOf(kind) === resource)
      ?.kind;
  }
}

const pathOf = ({ group, version, plural }: Pick<Kind, "group" | "version" | "plural">) =>
  `${group}/${version}/${plural}`;

/** Splits `apps/v1` and `v1`. */
export function groupVersion(apiVersion: string): { group: string; version: string } {
  const slash = apiVersion.lastIndexOf("/");
  return { group: apiVersion.slice(0, Math.max(0, slash)), version: apiVersion.slice(slash + 1) };
}

/** Whether a CustomResourceDefinition was accepted, so that its kinds are served. */
function isEstablished(crd: JsonObject): boolean {
  return objectsAt(objectAt(crd, "status"), "conditions").some(
    (condition) => condition["type"] === "Established" && condition["status"] === "True",
  );
}

function servedBy(crd: JsonObject): Served[] {
  const kinds = kindsOfCrd(crd);
  const versions = objectsAt(objectAt(crd, "spec"), "versions");
  const storage = versions.find((version) => version["storage"] === true);
  // A version may be stored and not served; its objects still need a kind.
  const stored =
    kinds.find((kind) => kind.version === stringAt(storage, "name")) ??
    storageOnly(crd) ??
    kinds[0];
  return stored === undefined ? [] : kinds.map((kind) => ({ kind, stored }));
}

function storageOnly(crd: JsonObject): Kind | undefined {
  const spec = objectAt(crd, "spec");
  const versions = objectsAt(spec, "versions").map((version) => ({ ...version, served: true }));
  const storage = versions.filter((version) => isObject(version) && "storage" in version);
  const only = storage.filter((version) => (version as JsonObject)["storage"] === true);
  return kindsOfCrd({ ...crd, spec: { ...spec, versions: only } })[0];
}
