import type { JsonObject } from "#base/json.ts";
import { jsonEqual } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  duplicateStruct,
  type FieldError,
  forbidden,
  index,
  invalid,
} from "../schema/field-error.ts";
import { isCidr } from "../schema/formats.ts";
import { labelValue, qualifiedName } from "../schema/name-rules.ts";
import { quantityErrors } from "./resource-rules.ts";
import { byRule, oneOf } from "./rules.ts";
import { TAINT_EFFECTS } from "./scheduling-rules.ts";

/** Checks a Node. */
export function nodeErrors(node: JsonObject, old: JsonObject | undefined): FieldError[] {
  const spec = objectAt(node, "spec");
  const errors = [...taintErrors(objectsAt(spec, "taints")), ...amountErrors(node)];
  const ranges = stringsAt(spec, "podCIDRs");
  for (const [position, range] of ranges.entries()) {
    if (isCidr(range)) continue;
    const text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    errors.push(invalid(index("spec.podCIDRs", position), range, text));
  }
  return old === undefined ? errors : [...errors, ...updateErrors(node, old)];
}

function updateErrors(node: JsonObject, old: JsonObject): FieldError[] {
  const [spec, before] = [objectAt(node, "spec"), objectAt(old, "spec")];
  const errors = [...amountErrors(node), ...addressErrors(node)];
  const ranges = stringsAt(before, "podCIDRs");
  if (ranges.length > 0 && !jsonEqual(ranges, stringsAt(spec, "podCIDRs"))) {
    const text = 'node updates may not change podCIDR except from "" to valid';
    errors.push(forbidden("spec.podCIDRs", text));
  }
  const provider = stringAt(before, "providerID");
  if (provider !== "" && provider !== stringAt(spec, "providerID")) {
    const text = 'node updates may not change providerID except from "" to valid';
    errors.push(forbidden("spec.providerID", text));
  }
  return [...errors, ...taintErrors(objectsAt(spec, "taints"))];
}

/** Checks the status of a Node. */
export const nodeStatusErrors = (node: JsonObject): FieldError[] => [
  ...amountErrors(node),
  ...addressErrors(node),
];

function addressErrors(node: JsonObject): FieldError[] {
  const addresses = objectsAt(objectAt(node, "status"), "addresses");
  return addresses.flatMap((address, position) => {
    const isRepeated = addresses.slice(0, position).some((other) => jsonEqual(address, other));
    if (!isRepeated) return [];
    const shown = { Type: stringAt(address, "type"), Address: stringAt(address, "address") };
    return [duplicateStruct(index("status.addresses", position), shown)];
  });
}

function amountErrors(node: JsonObject): FieldError[] {
  const status = objectAt(node, "status");
  return ["capacity", "allocatable"].flatMap((list) =>
    Object.entries(objectAt(status, list)).flatMap(([name, quantity]) =>
      quantityErrors(name, String(quantity), `status.${list}.${name}`),
    ),
  );
}

function taintErrors(taints: readonly JsonObject[]): FieldError[] {
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  for (const [position, taint] of taints.entries()) {
    // The real thing says metadata here, too.
    const path = index("metadata.taints", position);
    const [name, effect] = [stringAt(taint, "key"), stringAt(taint, "effect")];
    errors.push(...byRule(qualifiedName, child(path, "key"), name));
    const wrong = labelValue(stringAt(taint, "value"));
    if (wrong.length > 0) {
      errors.push(invalid(child(path, "value"), stringAt(taint, "value"), wrong.join(";")));
    }
    errors.push(...oneOf(child(path, "effect"), effect, TAINT_EFFECTS));
    if (seen.has(`${name} ${effect}`)) {
      const { value = "", timeAdded = null } = taint;
      const shown = { Key: name, Value: value, Effect: effect, TimeAdded: timeAdded };
      const text = "taints must be unique by key and effect pair";
      errors.push(duplicateStruct(path, shown, text));
    }
    seen.add(`${name} ${effect}`);
  }
  return errors;
}
