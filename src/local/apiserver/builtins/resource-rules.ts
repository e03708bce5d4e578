import type { JsonObject } from "#base/json.ts";
import { objectAt, stringAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  invalid,
  key,
  required,
} from "../schema/field-error.ts";
import { qualifiedName } from "../schema/name-rules.ts";
import { quantityNanos } from "../schema/quantity.ts";
import { byRule, NEGATIVE } from "./rules.ts";

const NANOS = 1_000_000_000n;
const HUGE_PAGES = "hugepages-";
const CONTAINER_RESOURCES = ["cpu", "memory", "ephemeral-storage"];
const STANDARD_RESOURCES = new Set([
  ...CONTAINER_RESOURCES.flatMap((name) => [name, `requests.${name}`, `limits.${name}`]),
  ...["pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps"],
  ...["persistentvolumeclaims", "storage", "requests.storage"],
  ...["services.nodeports", "services.loadbalancers"],
]);
/** Of these there are only whole ones. */
const COUNTED_RESOURCES = new Set(
  [...STANDARD_RESOURCES].filter((name) => !/cpu|memory|storage/.test(name)),
);

const isNative = (name: string) => !name.includes("/") || name.includes("kubernetes.io/");
const isHugePages = (name: string) => name.startsWith(HUGE_PAGES);
const isExtended = (name: string) =>
  !isNative(name) &&
  !name.startsWith("requests.") &&
  qualifiedName(`requests.${name}`).length === 0;
const mayOvercommit = (name: string) => isNative(name) && !isHugePages(name);

/** Checks what a container asks for and how much it may have. */
export function resourceErrors(resources: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const limits = objectAt(resources, "limits");
  const requests = objectAt(resources, "requests");
  for (const name of Object.keys(limits)) {
    errors.push(...containerResourceErrors(name, limits, key(child(path, "limits"), name)));
  }
  for (const name of Object.keys(requests)) {
    const field = child(path, "requests");
    errors.push(...containerResourceErrors(name, requests, key(field, name)));
    if (name in limits) {
      errors.push(
        ...overLimitErrors(name, stringAt(requests, name), stringAt(limits, name), field),
      );
    } else if (!mayOvercommit(name)) {
      const text = "Limit must be set for non overcommitable resources";
      errors.push(required(child(path, "limits"), text));
    }
  }
  const names = [...Object.keys(limits), ...Object.keys(requests)];
  if (names.some(isHugePages) && !names.includes("cpu") && !names.includes("memory")) {
    errors.push(forbidden(path, "HugePages require cpu or memory"));
  }
  return errors;
}

function overLimitErrors(name: string, request: string, limit: string, path: string) {
  const [asked, allowed] = [quantityNanos(request) ?? 0n, quantityNanos(limit) ?? 0n];
  if (asked !== allowed && !mayOvercommit(name)) {
    return [invalid(path, request, `must be equal to ${name} limit of ${limit}`)];
  }
  if (asked <= allowed) return [];
  return [invalid(path, request, `must be less than or equal to ${name} limit of ${limit}`)];
}

function containerResourceErrors(name: string, list: JsonObject, path: string): FieldError[] {
  const errors = byRule(qualifiedName, path, name);
  if (!name.includes("/")) {
    if (errors.length === 0 && !STANDARD_RESOURCES.has(name) && !isHugePages(name)) {
      errors.push(invalid(path, name, "must be a standard resource type or fully qualified"));
    }
    if (!CONTAINER_RESOURCES.includes(name) && !isHugePages(name)) {
      errors.push(invalid(path, name, "must be a standard resource for containers"));
    }
  } else if (!isNative(name) && !isExtended(name)) {
    errors.push(invalid(path, name, "doesn't follow extended resource name standard"));
  }
  return [...errors, ...quantityErrors(name, stringAt(list, name), path)];
}

/** Checks how much of a resource there is. */
export function quantityErrors(name: string, quantity: string, path: string): FieldError[] {
  const nanos = quantityNanos(quantity) ?? 0n;
  const errors: FieldError[] = [];
  if (nanos < 0n) errors.push(invalid(path, quantity, NEGATIVE));
  if ((COUNTED_RESOURCES.has(name) || isExtended(name)) && nanos % NANOS !== 0n) {
    errors.push(invalid(path, quantity, "must be an integer"));
  }
  return errors;
}
