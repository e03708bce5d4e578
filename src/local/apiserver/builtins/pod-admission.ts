import type { Json, JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import { quantityNanos } from "../schema/quantity.ts";
import { withFallbacks } from "./edit.ts";

const TOLERATION_SECONDS = 300;
const EVICTING_TAINTS = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/** The priority classes that exist in every cluster. */
const SYSTEM_PRIORITIES: { readonly [name: string]: number } = {
  "system-cluster-critical": 2_000_000_000,
  "system-node-critical": 2_000_001_000,
};
const COMPUTE = ["cpu", "memory"];

/** What admission adds to a new pod: its priority, and how long it stays on a node that is lost. */
export function admitPodSpec(spec: JsonObject): JsonObject {
  const priority = SYSTEM_PRIORITIES[stringAt(spec, "priorityClassName")] ?? 0;
  return withFallbacks(withTolerations(spec), {
    priority,
    preemptionPolicy: "PreemptLowerPriority",
  });
}

/** What admission adds to a pod that is updated: what it had been given and the update leaves out. */
export function admitPodUpdate(spec: JsonObject, old: JsonObject): JsonObject {
  const { priority = null, preemptionPolicy = null } = old;
  return withTolerations(withFallbacks(spec, { priority, preemptionPolicy }));
}

function withTolerations(spec: JsonObject): JsonObject {
  const given = objectsAt(spec, "tolerations");
  const missing = EVICTING_TAINTS.filter(
    (taint) =>
      !given.some(
        (toleration) =>
          ["", taint].includes(stringAt(toleration, "key")) &&
          ["", "NoExecute"].includes(stringAt(toleration, "effect")),
      ),
  );
  if (missing.length === 0) return spec;
  const added = missing.map((key) => ({
    key,
    operator: "Exists",
    effect: "NoExecute",
    tolerationSeconds: TOLERATION_SECONDS,
  }));
  return { ...spec, tolerations: [...given, ...added] };
}

/** The class by which a node chooses whom to evict. */
export function qosClass(spec: JsonObject): string {
  const whole = "resources" in spec ? objectAt(spec, "resources") : undefined;
  const parts =
    whole === undefined
      ? [...objectsAt(spec, "containers"), ...objectsAt(spec, "initContainers")].map((container) =>
          objectAt(container, "resources"),
        )
      : [whole];
  const requests = parts.map((part) => computeOf(part["requests"]));
  const limits = parts.map((part) => computeOf(part["limits"]));
  const [requested, limited] = [sum(requests), sum(limits)];
  if (requested.size === 0 && limited.size === 0) return "BestEffort";
  const allLimited = limits.every((list) => COMPUTE.every((name) => list.has(name)));
  const same = [...requested].every(([name, nanos]) => limited.get(name) === nanos);
  return allLimited && same && requested.size === limited.size ? "Guaranteed" : "Burstable";
}

function computeOf(list: Json | undefined): Map<string, bigint> {
  const amounts = objectAt({ list: list ?? null }, "list");
  return new Map(
    COMPUTE.map((name): [string, bigint] => [
      name,
      quantityNanos(String(amounts[name] ?? "0")) ?? 0n,
    ]).filter(([, nanos]) => nanos > 0n),
  );
}

function sum(lists: readonly Map<string, bigint>[]): Map<string, bigint> {
  const total = new Map<string, bigint>();
  for (const [name, nanos] of lists.flatMap((list) => [...list])) {
    total.set(name, (total.get(name) ?? 0n) + nanos);
  }
  return total;
}
