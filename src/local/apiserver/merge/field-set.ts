import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { canonical } from "../schema/list-rules.ts";

/**
 * A set of field paths, as managedFields writes it down (FieldsV1): a tree whose edges are path
 * elements such as `f:spec`, `k:{"name":"a"}`, `v:"x"` and `i:0`. Sets are values: nothing changes one.
 */
export interface FieldSet {
  /** Whether the path that leads here is in the set itself. */
  readonly isMember: boolean;
  readonly children: ReadonlyMap<string, FieldSet>;
}

export const EMPTY_SET: FieldSet = { isMember: false, children: new Map() };

/** The path element of an object's field. */
export const fieldElement = (name: string) => `f:${name}`;
/** The path element of an item that is known by its keys. */
export const keyElement = (keys: JsonObject) => `k:${canonical(keys)}`;
/** The path element of an item of a set. */
export const valueElement = (value: Json) => `v:${canonical(value)}`;

export const isEmptySet = (set: FieldSet): boolean => !set.isMember && set.children.size === 0;

/** The part of a set below one path element. */
export const below = (set: FieldSet, element: string): FieldSet =>
  set.children.get(element) ?? EMPTY_SET;

/** A set with the given paths, each a list of path elements. */
export function setOf(...paths: readonly (readonly string[])[]): FieldSet {
  return paths.reduce(
    (set, path) =>
      union(
        set,
        path.reduceRight<FieldSet>(
          (child, element) => ({ isMember: false, children: new Map([[element, child]]) }),
          { isMember: true, children: new Map() },
        ),
      ),
    EMPTY_SET,
  );
}

export const union = (a: FieldSet, b: FieldSet): FieldSet =>
  combine(a, b, (inA, inB) => inA || inB);
export const intersection = (a: FieldSet, b: FieldSet): FieldSet =>
  combine(a, b, (inA, inB) => inA && inB);
export const difference = (a: FieldSet, b: FieldSet): FieldSet =>
  combine(a, b, (inA, inB) => inA && !inB);

function combine(
  a: FieldSet,
  b: FieldSet,
  isIn: (inA: boolean, inB: boolean) => boolean,
): FieldSet {
  const children = new Map<string, FieldSet>();
  for (const element of new Set([...a.children.keys(), ...b.children.keys()])) {
    const child = combine(below(a, element), below(b, element), isIn);
    if (!isEmptySet(child)) children.set(element, child);
  }
  return { isMember: isIn(a.isMember, b.isMember), children };
}

/** Every path of a set; those of one level come before those below them. */
export function pathsOf(set: FieldSet): string[][] {
  const elements = [...set.children].sort(([a], [b]) => compareElements(a, b));
  const here = elements.filter(([, child]) => child.isMember).map(([element]) => [element]);
  const deeper = elements.flatMap(([element, child]) =>
    pathsOf(child).map((path) => [element, ...path]),
  );
  return [...here, ...deeper];
}

/** A path as messages show it, e.g. `.spec.ports[port=80,protocol="TCP"].name`. */
export function pathText(path: readonly string[]): string {
  return path.map(elementText).join("");
}

function elementText(element: string): string {
  const rest = element.slice(2);
  switch (element[0]) {
    case "f":
      return `.${rest}`;
    case "k": {
      const keys = Object.entries(JSON.parse(rest) as JsonObject);
      return `[${keys.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(",")}]`;
    }
    case "v":
      return `[=${rest}]`;
    default:
      return `[${rest}]`;
  }
}

/** The set in the form of managedFields' `fieldsV1`. */
export function encodeFieldSet(set: FieldSet): JsonObject {
  const elements = [...set.children].sort(([a], [b]) => compareElements(a, b));
  const entries = elements.map(([element, child]): [string, Json] => {
    const inner = encodeFieldSet(child);
    const isBranchToo = child.isMember && child.children.size > 0;
    return [element, isBranchToo ? { ".": {}, ...inner } : inner];
  });
  return Object.fromEntries(entries);
}

/** Reads `fieldsV1`; undefined when it is not well formed. */
export function decodeFieldSet(fields: Json | undefined): FieldSet | undefined {
  if (!isObject(fields)) return undefined;
  const children = new Map<string, FieldSet>();
  for (const [text, inner] of Object.entries(fields)) {
    if (text === ".") continue;
    const element = normalElement(text);
    const child = decodeFieldSet(inner);
    if (element === undefined || child === undefined) return undefined;
    const isMember = child.children.size === 0 || "." in (inner as JsonObject);
    children.set(element, { isMember, children: child.children });
  }
  return { isMember: false, children };
}

/** Keys and values may be escaped in more than one way; equal ones must be equal texts here. */
function normalElement(text: string): string | undefined {
  if (text.startsWith("f:") || text.startsWith("i:")) return text;
  if (!text.startsWith("k:") && !text.startsWith("v:")) return undefined;
  try {
    return text.slice(0, 2) + canonical(JSON.parse(text.slice(2)) as Json);
  } catch {
    return undefined;
  }
}

const ELEMENT_ORDER = "fkvi";
function compareElements(a: string, b: string): number {
  const byKind = ELEMENT_ORDER.indexOf(a[0] ?? "") - ELEMENT_ORDER.indexOf(b[0] ?? "");
  return byKind === 0 ? (a < b ? -1 : a > b ? 1 : 0) : byKind;
}
