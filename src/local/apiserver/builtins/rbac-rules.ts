import { isObject, type JsonObject, jsonEqual } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  index,
  invalid,
  invalidStruct,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { pathSegment, subdomain } from "../schema/name-rules.ts";
import { byRule, labelSelectorErrors } from "./rules.ts";

const GROUP = "rbac.authorization.k8s.io";
const SUBJECT_KINDS = ["ServiceAccount", "User", "Group"];

/** Checks a Role or ClusterRole. */
export function roleErrors(role: JsonObject, isNamespaced: boolean): FieldError[] {
  const errors = objectsAt(role, "rules").flatMap((rule, position) =>
    ruleErrors(rule, isNamespaced, index("rules", position)),
  );
  const aggregation = role["aggregationRule"];
  if (isNamespaced || !isObject(aggregation)) return errors;
  const path = "aggregationRule.clusterRoleSelectors";
  const selectors = objectsAt(aggregation, "clusterRoleSelectors");
  if (selectors.length === 0) {
    const text = "at least one clusterRoleSelector required if aggregationRule is non-nil";
    errors.push(required(path, text));
  }
  for (const [position, selector] of selectors.entries()) {
    errors.push(...labelSelectorErrors(selector, index(path, position)));
  }
  return errors;
}

function ruleErrors(rule: JsonObject, isNamespaced: boolean, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (stringsAt(rule, "verbs").length === 0) {
    errors.push(required(child(path, "verbs"), "verbs must contain at least one value"));
  }
  const urls = stringsAt(rule, "nonResourceURLs");
  const has = (name: string) => stringsAt(rule, name).length > 0;
  if (urls.length > 0) {
    const field = child(path, "nonResourceURLs");
    if (isNamespaced) {
      errors.push(invalid(field, urls, "namespaced rules cannot apply to non-resource URLs"));
    }
    if (has("apiGroups") || has("resources") || has("resourceNames")) {
      const text = "rules cannot apply to both regular resources and non-resource URLs";
      errors.push(invalid(field, urls, text));
    }
    return errors;
  }
  if (!has("apiGroups")) {
    const text = "resource rules must supply at least one api group";
    errors.push(required(child(path, "apiGroups"), text));
  }
  if (!has("resources")) {
    const text = "resource rules must supply at least one resource";
    errors.push(required(child(path, "resources"), text));
  }
  return errors;
}

/** Checks a RoleBinding or ClusterRoleBinding. */
export function bindingErrors(
  binding: JsonObject,
  old: JsonObject | undefined,
  isNamespaced: boolean,
): FieldError[] {
  const ref = objectAt(binding, "roleRef");
  const [group, kind, name] = [
    stringAt(ref, "apiGroup"),
    stringAt(ref, "kind"),
    stringAt(ref, "name"),
  ];
  const kinds = isNamespaced ? ["Role", "ClusterRole"] : ["ClusterRole"];
  const errors: FieldError[] = [];
  if (group !== GROUP) errors.push(notSupported("roleRef.apiGroup", group, [GROUP]));
  if (!kinds.includes(kind)) errors.push(notSupported("roleRef.kind", kind, kinds));
  if (name === "") errors.push(required("roleRef.name"));
  else errors.push(...byRule(pathSegment, "roleRef.name", name));
  for (const [position, subject] of objectsAt(binding, "subjects").entries()) {
    errors.push(...subjectErrors(subject, isNamespaced, index("subjects", position)));
  }
  if (old !== undefined && !jsonEqual(ref, objectAt(old, "roleRef"))) {
    // What is shown has the fields of the server's own struct.
    const shown = { APIGroup: group, Kind: kind, Name: name };
    errors.push(invalidStruct("roleRef", shown, "cannot change roleRef"));
  }
  return errors;
}

function subjectErrors(subject: JsonObject, isNamespaced: boolean, path: string): FieldError[] {
  const [kind, name, group] = [
    stringAt(subject, "kind"),
    stringAt(subject, "name"),
    stringAt(subject, "apiGroup"),
  ];
  const errors = name === "" ? [required(child(path, "name"))] : [];
  if (kind === "ServiceAccount") {
    if (name !== "") errors.push(...byRule(subdomain, child(path, "name"), name));
    if (group !== "") errors.push(notSupported(child(path, "apiGroup"), group, [""]));
    if (!isNamespaced && stringAt(subject, "namespace") === "") {
      errors.push(required(child(path, "namespace")));
    }
  } else if (kind === "User" || kind === "Group") {
    if (group !== GROUP) errors.push(notSupported(child(path, "apiGroup"), group, [GROUP]));
  } else errors.push(notSupported(child(path, "kind"), kind, SUBJECT_KINDS));
  return errors;
}
