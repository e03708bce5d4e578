import { versionOf } from "#api/adapter-version.ts";
import { redactArtifactUrl } from "#api/artifact-url.ts";
import type { ModelAdapter } from "#api/model-adapter.ts";
import { directPath } from "./delivery.ts";

/** What is known of a load: from this path the engine has this version. */
export interface LoadedAs {
  readonly path: string;
  readonly version: string;
}

/**
 * Whether an adapter that an engine lists under the path `root` is the version that the spec wants.
 *
 * Three things can tell: the path itself, when it is what the engine would be given directly; our own record of what was loaded from
 * that path; and, when nothing is on record for the pod, a folder that a sidecar names after the adapter, as AIBrix's
 * do: that one is adopted, unless it is told of another repository.
 */
function isCurrent(
  adapter: ModelAdapter,
  { root, recorded, records }: Omit<Listing, "isMeant">,
): boolean {
  if (root === undefined) return false;
  if (root === directPath(adapter.spec)) return true;
  const wanted = versionOf(adapter.spec);
  const record = records.find((one) => isFrom(one, root));
  if (record !== undefined) return record.version === wanted;
  // A load of ours that nobody knows the end of may have brought any version.
  if (records.length > 0 || recorded || !isNamedAfter(adapter, root)) return false;
  const repo = HUB_SNAPSHOT.exec(root)?.[2];
  return repo === undefined || repo === hubFolder(adapter);
}

/** What is known of a pod that lists the adapter. */
export interface Listing {
  readonly root: string | undefined;
  /** The pod matches the selector and is enabled for adapters. */
  readonly isMeant: boolean;
  readonly recorded: boolean;
  readonly records: readonly LoadedAs[];
}

/** Whose the adapter on an engine is, and which version. */
export function heldBy(
  adapter: ModelAdapter,
  { root, isMeant, recorded, records }: Listing,
): "current" | "outdated" | "foreign" {
  if (!isMeant && !recorded) return "foreign";
  if (isCurrent(adapter, { root, recorded, records })) return "current";
  return recorded || (root !== undefined && isNamedAfter(adapter, root)) ? "outdated" : "foreign";
}

/**
 * Whether what an engine lists can only have come from us: somebody else may have used the name, but hardly the path. `isLeft`: an earlier
 * adapter of the name may have left it, whose weights are none of this one's.
 */
export function isKnown(
  adapter: ModelAdapter,
  { root, isLeft, records }: Pick<Listing, "root" | "records"> & { isLeft: boolean },
): boolean {
  if (root === undefined) return false;
  return records.some((one) => isFrom(one, root)) || (!isLeft && isNamedAfter(adapter, root));
}

/** What is written down of a URL lacks the secrets that may be in it. */
function isFrom({ path }: LoadedAs, root: string): boolean {
  return path === root || path === redactArtifactUrl(root);
}

/** Below the adapter's folder, as the hub's own library lays a download out: AIBrix's sidecars from 0.5 on leave it so. */
const HUB_SNAPSHOT = /\/([^/]+)\/models--([^/]+)\/snapshots\/[^/]+$/;

/** Whether a path is one that adapters of this name are loaded from, whatever the version. */
function isNamedAfter({ metadata: { name } }: ModelAdapter, root: string): boolean {
  return root.split("/").at(-1) === name || HUB_SNAPSHOT.exec(root)?.[1] === name;
}

/** The repository that the spec names, as the hub's library writes it; undefined: it names none. */
function hubFolder({ spec }: ModelAdapter): string | undefined {
  return directPath({ ...spec, credentialsSecretRef: undefined })?.replace("/", "--");
}
