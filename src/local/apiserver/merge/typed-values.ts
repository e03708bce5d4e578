import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { below, EMPTY_SET, type FieldSet, fieldElement, isEmptySet } from "./field-set.ts";
import {
  fieldType,
  isAtomicList,
  isAtomicMap,
  isDeclared,
  itemElement,
  itemType,
  type MergeType,
  type Shape,
  shapeOf,
} from "./merge-types.ts";

/** What became different between two values. */
export interface Comparison {
  added: FieldSet;
  removed: FieldSet;
  modified: FieldSet;
}

const DEDUCED: MergeType = { kind: "deduced" };
const isEmpty = (value: Json | undefined) =>
  value === undefined ||
  value === null ||
  (Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0);

/** A field's type; what the schema does not know is treated by its own form. */
const knownFieldType = (type: MergeType, name: string) => fieldType(type, name) ?? DEDUCED;

class SetBuilder {
  isMember = false;
  readonly children = new Map<string, SetBuilder>();
  at(element: string): SetBuilder {
    const known = this.children.get(element);
    if (known !== undefined) return known;
    const child = new SetBuilder();
    this.children.set(element, child);
    return child;
  }
  build(): FieldSet {
    const children = new Map<string, FieldSet>();
    for (const [element, child] of this.children) {
      const built = child.build();
      if (!isEmptySet(built)) children.set(element, built);
    }
    return { isMember: this.isMember, children };
  }
}

/** The fields that a value sets: what an applier comes to own. */
export function fieldSetOf(type: MergeType, value: Json): FieldSet {
  const builder = new SetBuilder();
  collect(type, value, builder);
  return builder.build();
}

function collect(type: MergeType, value: Json, into: SetBuilder): void {
  const shape = shapeOf(type, value);
  const isLeaf = shape === "leaf" || (shape === "map" ? isAtomicMap(type) : isAtomicList(type));
  if (isLeaf) {
    into.isMember = true;
    return;
  }
  if (isObject(value)) {
    for (const [name, item] of Object.entries(value)) {
      const child = into.at(fieldElement(name));
      collect(knownFieldType(type, name), item, child);
      const isEmptyMap = isObject(item) && Object.keys(item).length === 0;
      if (item === null || isEmptyMap || !isDeclared(type, name)) child.isMember = true;
    }
  } else if (Array.isArray(value)) {
    for (const item of value) {
      const element = itemElement(type, item);
      if (element === undefined) continue;
      const child = into.at(element);
      collect(itemType(type), item, child);
      child.isMember = true;
    }
  }
}

/** The differences that turn `before` into `after`. */
export function compareValues(type: MergeType, before: Json, after: Json): Comparison {
  const builders = {
    added: new SetBuilder(),
    removed: new SetBuilder(),
    modified: new SetBuilder(),
  };
  compare(type, before, after, builders);
  return {
    added: builders.added.build(),
    removed: builders.removed.build(),
    modified: builders.modified.build(),
  };
}

interface Builders {
  added: SetBuilder;
  removed: SetBuilder;
  modified: SetBuilder;
}
const descend = (builders: Builders, element: string): Builders => ({
  added: builders.added.at(element),
  removed: builders.removed.at(element),
  modified: builders.modified.at(element),
});

function compare(
  type: MergeType,
  before: Json | undefined,
  after: Json | undefined,
  into: Builders,
): void {
  const was = shapeOf(type, before);
  const is = shapeOf(type, after);
  let isLeaf: boolean;
  if (after === undefined) isLeaf = compareAs(was, type, before, after, into);
  else {
    // A value that changed its form is looked at in both.
    if (before !== undefined && was !== is) compareAs(was, type, before, after, into);
    isLeaf = compareAs(is, type, before, after, into);
  }
  if (isLeaf) return;
  if (before === undefined) into.added.isMember = true;
  else if (after === undefined) into.removed.isMember = true;
}

/** Whether the value was treated as a whole. */
function compareAs(
  kind: Shape,
  type: MergeType,
  before: Json | undefined,
  after: Json | undefined,
  into: Builders,
): boolean {
  if (kind === "map") {
    const a = isObject(before) ? before : {};
    const b = isObject(after) ? after : {};
    if (!isAtomicMap(type) && !(isEmpty(a) && isEmpty(b))) {
      for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
        const inner = descend(into, fieldElement(name));
        compare(knownFieldType(type, name), own(a, name), own(b, name), inner);
      }
      return false;
    }
  } else if (kind === "list") {
    const a = Array.isArray(before) ? before : [];
    const b = Array.isArray(after) ? after : [];
    if (!isAtomicList(type) && !(isEmpty(a) && isEmpty(b))) {
      compareItems(type, a, b, into);
      return false;
    }
  }
  if (before === undefined) into.added.isMember = true;
  else if (after === undefined) into.removed.isMember = true;
  else if (!jsonEqual(before, after)) into.modified.isMember = true;
  return true;
}

const own = (object: JsonObject, name: string): Json | undefined =>
  Object.hasOwn(object, name) ? object[name] : undefined;

function compareItems(type: MergeType, before: Json[], after: Json[], into: Builders): void {
  const a = itemsByElement(type, before);
  const b = itemsByElement(type, after);
  for (const element of new Set([...a.keys(), ...b.keys()])) {
    const was = a.get(element) ?? [];
    const is = b.get(element) ?? [];
    const inner = descend(into, element);
    if (was.length <= 1 && is.length <= 1) compare(itemType(type), was[0], is[0], inner);
    else if (was.length >= 2 && is.length >= 2) {
      if (!jsonEqual(was, is)) inner.modified.isMember = true;
    } else if (was.length >= 2) {
      if (is.length === 1) compare(itemType(type), undefined, is[0], inner);
      inner.removed.isMember = true;
    } else {
      if (was.length === 1) compare(itemType(type), was[0], undefined, inner);
      inner.added.isMember = true;
    }
  }
}

function itemsByElement(type: MergeType, list: readonly Json[]): Map<string, Json[]> {
  const result = new Map<string, Json[]>();
  for (const item of list) {
    const element = itemElement(type, item);
    if (element !== undefined) result.set(element, [...(result.get(element) ?? []), item]);
  }
  return result;
}

/** `before` with everything that `applied` says laid over it; undefined when nothing is left. */
export function mergeValues(
  type: MergeType,
  before: Json | undefined,
  applied: Json | undefined,
): Json | undefined {
  const shape = shapeOf(type, applied === undefined ? before : applied);
  if (shape === "map" && !isAtomicMap(type)) {
    const a = isObject(before) ? before : {};
    const b = isObject(applied) ? applied : {};
    if (!isEmpty(a) || !isEmpty(b)) return mergeMaps(type, a, b);
  }
  if (shape === "list" && !isAtomicList(type)) {
    const a = Array.isArray(before) ? before : [];
    const b = Array.isArray(applied) ? applied : [];
    if (!isEmpty(a) || !isEmpty(b)) return mergeLists(type, a, b);
  }
  return applied === undefined ? before : applied;
}

function mergeMaps(type: MergeType, before: JsonObject, applied: JsonObject): Json | undefined {
  const entries: [string, Json][] = [];
  for (const name of new Set([...Object.keys(before), ...Object.keys(applied)])) {
    const field = knownFieldType(type, name);
    const merged = mergeValues(field, own(before, name), own(applied, name));
    if (merged !== undefined) entries.push([name, merged]);
  }
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/**
 * Merges lists whose items have identities. Applied items keep the order in which they are applied;
 * items that only `before` has stay between the neighbours that they had.
 */
function mergeLists(type: MergeType, before: Json[], applied: Json[]): Json | undefined {
  const elementsOf = (list: Json[]) =>
    list.flatMap((item) => {
      const element = itemElement(type, item);
      return element === undefined ? [] : [{ element, item }];
    });
  const left = elementsOf(before);
  const right = elementsOf(applied);
  const rightByElement = new Map(right.map(({ element, item }) => [element, item]));
  const leftByElement = itemsByElement(type, before);
  // Items that stand in the old list more than once cannot be merged with, only replaced.
  const counterpart = (element: string) => {
    const items = leftByElement.get(element) ?? [];
    return items.length === 1 ? items[0] : items.length === 0 ? undefined : null;
  };
  const shared = right.filter(({ element }) => leftByElement.has(element));
  const done = new Set<string>();
  const result: Json[] = [];
  const push = (merged: Json | undefined) => {
    if (merged !== undefined) result.push(merged);
  };
  const takeRight = ({ element, item }: { element: string; item: Json }) => {
    done.add(element);
    push(mergeValues(itemType(type), counterpart(element), item));
    if (shared[0]?.element === element) shared.shift();
  };
  let l = 0;
  let r = 0;
  while (l < left.length || r < right.length) {
    const old = left[l];
    const next = right[r];
    if (old !== undefined && next !== undefined) {
      if (old.element === next.element) {
        takeRight(next);
        l++;
        r++;
        continue;
      }
      const isLater =
        rightByElement.has(old.element) &&
        shared[0] !== undefined &&
        shared[0].element !== old.element;
      if (isLater) {
        l++;
        continue;
      }
    }
    if (old !== undefined) {
      if (!rightByElement.has(old.element)) {
        push(mergeValues(itemType(type), old.item, undefined));
        l++;
        continue;
      }
      if (done.has(old.element)) l++;
    }
    if (next !== undefined) {
      takeRight(next);
      r++;
    }
  }
  return result.length === 0 ? undefined : result;
}

/** `value` without the fields of a set; null where nothing is left of a map or list. */
export function removeFields(type: MergeType, value: Json, gone: FieldSet): Json {
  const shape = shapeOf(type, value);
  if (shape === "map") return removeFromMap(type, value, gone);
  if (shape === "list") return removeFromList(type, value, gone);
  return value;
}

function removeFromMap(type: MergeType, value: Json, gone: FieldSet): Json {
  if (!isObject(value) || isEmpty(value) || isAtomicMap(type)) return null;
  const kept: [string, Json][] = [];
  for (const [name, item] of Object.entries(value)) {
    const inner = below(gone, fieldElement(name));
    if (inner.isMember) continue;
    const isTouched = inner.children.size > 0;
    kept.push([name, isTouched ? removeFields(knownFieldType(type, name), item, inner) : item]);
  }
  return kept.length === 0 ? null : Object.fromEntries(kept);
}

function removeFromList(type: MergeType, value: Json, gone: FieldSet): Json {
  if (!Array.isArray(value) || value.length === 0 || isAtomicList(type)) return null;
  const kept: Json[] = [];
  for (const item of value) {
    const element = itemElement(type, item);
    const inner = element === undefined ? EMPTY_SET : below(gone, element);
    if (inner.isMember) continue;
    kept.push(inner.children.size > 0 ? removeFields(itemType(type), item, inner) : item);
  }
  return kept.length === 0 ? null : kept;
}

/** The set with every declared field on the way to a member made a member itself. */
export function withNamedFields(type: MergeType | undefined, set: FieldSet): FieldSet {
  const children = new Map<string, FieldSet>();
  for (const [element, child] of set.children) {
    const name = element.startsWith("f:") ? element.slice(2) : undefined;
    const inner = name === undefined ? type && itemType(type) : type && fieldType(type, name);
    const named = withNamedFields(element.startsWith("v:") ? undefined : inner, child);
    const isNamed = name !== undefined && type !== undefined && isDeclared(type, name);
    children.set(element, {
      isMember: named.isMember || (isNamed && child.children.size > 0),
      children: named.children,
    });
  }
  return { isMember: set.isMember, children };
}

/** `value` without the nulls that its schema does not allow, such as removals leave behind. */
export function dropNulls(type: MergeType, value: Json): Json {
  if (Array.isArray(value)) return value.map((item) => dropNulls(itemType(type), item));
  if (!isObject(value)) return value;
  const kept: [string, Json][] = [];
  for (const [name, item] of Object.entries(value)) {
    const field = knownFieldType(type, name);
    const mayBeNull = field.kind !== "schema" || field.schema["nullable"] === true;
    if (item !== null || mayBeNull) kept.push([name, dropNulls(field, item)]);
  }
  return Object.fromEntries(kept);
}
