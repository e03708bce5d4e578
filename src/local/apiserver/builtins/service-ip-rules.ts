import type { JsonObject } from "#base/json.ts";
import { stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  duplicate,
  type FieldError,
  index,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { familyOf, legacyIpErrors } from "./ip-address.ts";
import { clusterIpsOf, isHeadless } from "./service-state.ts";

const FAMILIES = ["IPv4", "IPv6"];
const FAMILY_POLICIES = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const ADDRESSES_MAX = 2;
const IPS = "spec.clusterIPs";

/** What is wrong with a Service's own addresses and their families, before any is allocated. */
export function clusterIpErrors(spec: JsonObject): FieldError[] {
  if (spec["type"] === "ExternalName") return [];
  const all = clusterIpsOf(spec);
  const errors = [...singularErrors(stringAt(spec, "clusterIP"), all), ...familyErrors(spec)];
  const wrong: FieldError[] = [];
  for (const [position, ip] of all.entries()) {
    if (position > 0 || ip !== "None") wrong.push(...legacyIpErrors(index(IPS, position), ip));
    else if (all.length > 1) {
      wrong.push(invalid(IPS, all, "'None' must be the first and only value"));
    }
  }
  errors.push(...wrong);
  if (all.length > ADDRESSES_MAX) errors.push(invalid(IPS, all, "may only hold up to 2 values"));
  if (wrong.length > 0) return errors;
  if (all.length > 1 && new Set(all.map(familyOf)).size < ADDRESSES_MAX) {
    errors.push(invalid(IPS, all, "may specify no more than one IP for each IP family"));
  }
  return isHeadless(spec) ? errors : [...errors, ...mismatches(spec, all)];
}

function singularErrors(ip: string, all: readonly string[]): FieldError[] {
  if (ip === "") {
    const text = "must be empty when `clusterIP` is not specified";
    return all.length === 0 ? [] : [invalid(IPS, [...all], text)];
  }
  if (all.length === 0) return [required(IPS)];
  return all[0] === ip ? [] : [invalid(IPS, [...all], "first value must match `clusterIP`")];
}

function familyErrors(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const families = stringsAt(spec, "ipFamilies");
  for (const [position, family] of families.entries()) {
    const path = index("spec.ipFamilies", position);
    if (!FAMILIES.includes(family)) errors.push(notSupported(path, family, FAMILIES));
    if (families.indexOf(family) < position) errors.push(duplicate(path, family));
  }
  const { ipFamilyPolicy } = spec;
  if (typeof ipFamilyPolicy === "string" && !FAMILY_POLICIES.includes(ipFamilyPolicy)) {
    errors.push(notSupported(child("spec", "ipFamilyPolicy"), ipFamilyPolicy, FAMILY_POLICIES));
  }
  return errors;
}

function mismatches(spec: JsonObject, all: readonly string[]): FieldError[] {
  const families = stringsAt(spec, "ipFamilies");
  return all.flatMap((ip, position) => {
    const family = families[position];
    const actual = familyOf(ip);
    if (family === undefined || actual === undefined || actual === family) return [];
    const text = `expected an ${family} value as indicated by \`ipFamilies[${position}]\``;
    return [invalid(index(IPS, position), ip, text)];
  });
}
