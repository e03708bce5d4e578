/** A function of an object that never changes, worked out once for each and kept for as long as the object lives. */
export function remembered<K extends object, V>(compute: (object: K) => V): (object: K) => V {
  const known = new WeakMap<K, V>();
  return (object) => {
    const held = known.get(object);
    if (held !== undefined) return held;
    const value = compute(object);
    known.set(object, value);
    return value;
  };
}
