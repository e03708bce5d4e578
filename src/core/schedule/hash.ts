import { hash32 } from "#base/hash.ts";

/**
 * Rendezvous hashing: every (key, pod) pair has a fixed weight, and the pod with the highest one is preferred. When pods come
 * and go, only the keys of those pods move.
 * Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
 */
export function byWeight<T extends { readonly name: string }>(
  key: string,
  pods: readonly T[],
): T[] {
  return pods
    .map((pod) => ({ pod, weight: hash32(`${key}\n${pod.name}`) }))
    .sort((a, b) => b.weight - a.weight || (a.pod.name < b.pod.name ? -1 : 1))
    .map(({ pod }) => pod);
}
