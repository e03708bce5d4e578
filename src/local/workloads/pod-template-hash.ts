import type { PodTemplateSpec } from "#api/kubernetes.ts";
import { hash32 } from "#base/hash.ts";
import type { Json } from "#base/json.ts";
import { isObject, jsonEqual } from "#base/json.ts";

/** The label that tells the pods of a Deployment's ReplicaSets apart. */
export const TEMPLATE_HASH = "pod-template-hash";

/** Letters and digits that make no words, as Kubernetes uses them in generated names. */
const ALPHABET = "bcdfghjklmnpqrstvwxz2456789";

/** A short name for a pod template; `collisions` gives another one for the same template. */
export function templateHash(template: PodTemplateSpec, collisions: number): string {
  const text = `${canonical(template as unknown as Json)}${collisions === 0 ? "" : collisions}`;
  return [...String(hash32(text))]
    .map((digit) => ALPHABET[(digit.charCodeAt(0) * 7) % ALPHABET.length])
    .join("");
}

/** JSON with sorted keys: the order of keys carries no meaning. */
function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(",")}}`;
}

/** True when two templates differ in nothing but the hash label. */
export function isSameTemplate(a: PodTemplateSpec, b: PodTemplateSpec): boolean {
  return jsonEqual(withoutHash(a), withoutHash(b));
}

function withoutHash(template: PodTemplateSpec): unknown {
  const { [TEMPLATE_HASH]: _hash, ...labels } = template.metadata?.labels ?? {};
  const { creationTimestamp: _time, ...metadata } = template.metadata ?? {};
  return { ...template, metadata: { ...metadata, labels } };
}
