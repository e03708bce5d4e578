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
    .map((pod) => ({ pod, weight: weight(`${key}\n${pod.name}`) }))
    .sort((a, b) => b.weight - a.weight || (a.pod.name < b.pod.name ? -1 : 1))
    .map(({ pod }) => pod);
}

/** FNV-1a over the UTF-16 units, then MurmurHash3's finalizer: FNV alone is uneven in its high bits. */
function weight(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
