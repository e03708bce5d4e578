/**
 * A 32-bit hash of the UTF-16 units of `text`: FNV-1a with a start of choice, then MurmurHash3's finalizer, since FNV alone is
 * uneven in its high bits. For spreading and naming, never against an adversary.
 */
export function hash32(text: string, start = 0x811c9dc5): number {
  let hash = start;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** 16 hexadecimal digits that stand for `text`: two hashes with different starts. */
export function hashHex(text: string): string {
  const hex = (start: number) => hash32(text, start).toString(16).padStart(8, "0");
  return hex(0x811c9dc5) + hex(0x050c5d1f);
}
