import type { JsonObject } from "#base/json.ts";
import { objectsAt } from "../json-access.ts";

/** What a deletion of a namespace's content came to. */
export interface RemainingContent {
  /** `plural.group` -> how many objects are still there; the core group is empty: `pods.`. */
  readonly resources: ReadonlyMap<string, number>;
  /** Finalizer -> how many of them it holds. */
  readonly finalizers: ReadonlyMap<string, number>;
  /** What could not be deleted, and why. */
  readonly errors: readonly string[];
}

interface ConditionTexts {
  readonly type: string;
  /** Reason and message while nothing is wrong. */
  readonly fine: readonly [string, string];
  /** Reason and message when there is something to say. */
  readonly wrong?: (content: RemainingContent) => readonly [string, string] | undefined;
}

const counts = (found: ReadonlyMap<string, number>, join: (name: string, n: number) => string) =>
  [...found].map(([name, number]) => join(name, number)).sort();

const CONDITIONS: readonly ConditionTexts[] = [
  {
    type: "NamespaceDeletionDiscoveryFailure",
    fine: ["ResourcesDiscovered", "All resources successfully discovered"],
  },
  {
    type: "NamespaceDeletionGroupVersionParsingFailure",
    fine: ["ParsedGroupVersions", "All legacy kube types successfully parsed"],
  },
  {
    type: "NamespaceDeletionContentFailure",
    fine: ["ContentDeleted", "All content successfully deleted, may be waiting on finalization"],
    wrong: ({ errors }) => {
      if (errors.length === 0) return undefined;
      const texts = [...errors].sort().join(", ");
      const message = `Failed to delete all resource types, ${errors.length} remaining: ${texts}`;
      return ["ContentDeletionFailed", message];
    },
  },
  {
    type: "NamespaceContentRemaining",
    fine: ["ContentRemoved", "All content successfully removed"],
    wrong: ({ resources }) => {
      if (resources.size === 0) return undefined;
      const texts = counts(resources, (name, number) => `${name} has ${number} resource instances`);
      return ["SomeResourcesRemain", `Some resources are remaining: ${texts.join(", ")}`];
    },
  },
  {
    type: "NamespaceFinalizersRemaining",
    fine: ["ContentHasNoFinalizers", "All content-preserving finalizers finished"],
    wrong: ({ finalizers }) => {
      if (finalizers.size === 0) return undefined;
      const texts = counts(finalizers, (name, number) => `${name} in ${number} resource instances`);
      const message = `Some content in the namespace has finalizers remaining: ${texts.join(", ")}`;
      return ["SomeFinalizersRemain", message];
    },
  },
];

/**
 * The conditions of a namespace that is being deleted; what has not changed stays as it is.
 * @param now RFC 3339
 */
export function terminationConditions(
  status: JsonObject,
  content: RemainingContent,
  now: string,
): JsonObject[] {
  const before = objectsAt(status, "conditions");
  const ours = CONDITIONS.map(({ type, fine, wrong }) => {
    const said = wrong?.(content);
    const [reason, message] = said ?? fine;
    const state = said === undefined ? "False" : "True";
    const old = before.find((condition) => condition["type"] === type);
    const hasTurned = old?.["status"] !== state;
    const lastTransitionTime = (hasTurned ? undefined : old?.["lastTransitionTime"]) ?? now;
    return { type, status: state, lastTransitionTime, reason, message };
  });
  const types = CONDITIONS.map(({ type }) => type);
  return [...before.filter(({ type }) => !types.includes(String(type))), ...ours];
}
