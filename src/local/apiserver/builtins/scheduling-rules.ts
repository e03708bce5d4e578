import { isObject, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  index,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { labelValue, qualifiedName } from "../schema/name-rules.ts";
import { byRule, inRange, labelSelectorErrors } from "./rules.ts";

export const TAINT_EFFECTS = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const WEIGHT_MAX = 100;
const LISTS = ["In", "NotIn"];
const PRESENCES = ["Exists", "DoesNotExist"];
const COMPARISONS = ["Gt", "Lt"];
const REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution";
const UNSATISFIABLE = ["DoNotSchedule", "ScheduleAnyway"];

/** Checks which taints of nodes a pod puts up with. */
export function tolerationErrors(tolerations: readonly JsonObject[], path: string): FieldError[] {
  return tolerations.flatMap((toleration, position) =>
    oneTolerationErrors(toleration, index(path, position)),
  );
}

function oneTolerationErrors(toleration: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const [taint, operator, value, effect] = ["key", "operator", "value", "effect"].map((name) =>
    stringAt(toleration, name),
  ) as [string, string, string, string];
  if (taint !== "") errors.push(...byRule(qualifiedName, child(path, "key"), taint));
  const field = child(path, "operator");
  if (taint === "" && operator !== "Exists") {
    const text =
      'operator must be Exists when `key` is empty, which means "match all values and all keys"';
    errors.push(invalid(field, operator, text));
  }
  if ("tolerationSeconds" in toleration && effect !== "NoExecute") {
    const text = "effect must be 'NoExecute' when `tolerationSeconds` is set";
    errors.push(invalid(child(path, "effect"), effect, text));
  }
  if (operator === "Equal" || operator === "") {
    const wrong = labelValue(value);
    if (wrong.length > 0) errors.push(invalid(field, value, wrong.join(";")));
  } else if (operator === "Exists") {
    const text = "value must be empty when `operator` is 'Exists'";
    if (value !== "") errors.push(invalid(field, value, text));
  } else errors.push(notSupported(field, operator, ["Equal", "Exists"]));
  if (effect !== "" && !TAINT_EFFECTS.includes(effect)) {
    errors.push(notSupported(child(path, "effect"), effect, TAINT_EFFECTS));
  }
  return errors;
}

/** Checks near what a pod wants to be, and what it wants to stay away from. */
export function affinityErrors(affinity: JsonObject, path: string): FieldError[] {
  return [
    ...nodeAffinityErrors(objectAt(affinity, "nodeAffinity"), child(path, "nodeAffinity")),
    ...["podAffinity", "podAntiAffinity"].flatMap((name) =>
      podAffinityErrors(objectAt(affinity, name), child(path, name)),
    ),
  ];
}

function nodeAffinityErrors(affinity: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const must = affinity[REQUIRED];
  if (isObject(must)) {
    const field = child(child(path, REQUIRED), "nodeSelectorTerms");
    const terms = objectsAt(must, "nodeSelectorTerms");
    if (terms.length === 0) {
      errors.push(required(field, "must have at least one node selector term"));
    }
    for (const [position, term] of terms.entries()) {
      errors.push(...nodeTermErrors(term, index(field, position)));
    }
  }
  for (const [position, item] of objectsAt(affinity, PREFERRED).entries()) {
    const field = index(child(path, PREFERRED), position);
    const weight = numberAt(item, "weight");
    if (weight < 1 || weight > WEIGHT_MAX) {
      errors.push(invalid(child(field, "weight"), weight, "must be in the range 1-100"));
    }
    errors.push(...nodeTermErrors(objectAt(item, "preference"), child(field, "preference")));
  }
  return errors;
}

function nodeTermErrors(term: JsonObject, path: string): FieldError[] {
  return objectsAt(term, "matchExpressions").flatMap((requirement, position) => {
    const field = index(child(path, "matchExpressions"), position);
    return nodeRequirementErrors(requirement, field);
  });
}

function nodeRequirementErrors(requirement: JsonObject, path: string): FieldError[] {
  const operator = stringAt(requirement, "operator");
  const values = stringsAt(requirement, "values");
  const field = child(path, "values");
  const errors: FieldError[] = [];
  if (LISTS.includes(operator) && values.length === 0) {
    errors.push(required(field, "must be specified when `operator` is 'In' or 'NotIn'"));
  } else if (PRESENCES.includes(operator) && values.length > 0) {
    const text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
    errors.push(forbidden(field, text));
  } else if (COMPARISONS.includes(operator) && values.length !== 1) {
    const text = "must be specified single value when `operator` is 'Lt' or 'Gt'";
    errors.push(required(field, text));
  } else if (![...LISTS, ...PRESENCES, ...COMPARISONS].includes(operator)) {
    errors.push(invalid(child(path, "operator"), operator, "not a valid selector operator"));
  }
  errors.push(...byRule(qualifiedName, child(path, "key"), stringAt(requirement, "key")));
  for (const [position, value] of values.entries()) {
    errors.push(...byRule(labelValue, index(field, position), value));
  }
  return errors;
}

function podAffinityErrors(affinity: JsonObject, path: string): FieldError[] {
  const errors = objectsAt(affinity, REQUIRED).flatMap((term, position) =>
    podTermErrors(term, index(child(path, REQUIRED), position)),
  );
  for (const [position, item] of objectsAt(affinity, PREFERRED).entries()) {
    const field = index(child(path, PREFERRED), position);
    const weight = numberAt(item, "weight");
    if (weight < 1 || weight > WEIGHT_MAX) {
      errors.push(invalid(child(field, "weight"), weight, "must be in the range 1-100"));
    }
    errors.push(
      ...podTermErrors(objectAt(item, "podAffinityTerm"), child(field, "podAffinityTerm")),
    );
  }
  return errors;
}

function podTermErrors(term: JsonObject, path: string): FieldError[] {
  const topology = stringAt(term, "topologyKey");
  const field = child(path, "topologyKey");
  return [
    ...labelSelectorErrors(objectAt(term, "labelSelector"), child(path, "labelSelector")),
    ...labelSelectorErrors(objectAt(term, "namespaceSelector"), child(path, "namespaceSelector")),
    ...(topology === "" ? [required(field, "can not be empty")] : []),
    ...byRule(qualifiedName, field, topology),
  ];
}

/** Checks over what the pods of a kind are to be spread. */
export function spreadErrors(constraints: readonly JsonObject[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [position, constraint] of constraints.entries()) {
    const field = index(path, position);
    const skew = numberAt(constraint, "maxSkew");
    if (skew <= 0) errors.push(invalid(child(field, "maxSkew"), skew, "must be greater than zero"));
    const topology = stringAt(constraint, "topologyKey");
    const topologyPath = child(field, "topologyKey");
    if (topology === "") errors.push(required(topologyPath, "can not be empty"));
    else errors.push(...byRule(qualifiedName, topologyPath, topology));
    const unsatisfiable = stringAt(constraint, "whenUnsatisfiable");
    if (!UNSATISFIABLE.includes(unsatisfiable)) {
      const place = child(field, "whenUnsatisfiable");
      errors.push(notSupported(place, unsatisfiable, UNSATISFIABLE));
    }
    const selector = objectAt(constraint, "labelSelector");
    errors.push(...labelSelectorErrors(selector, child(field, "labelSelector")));
  }
  return errors;
}

/** Checks the seconds after which a pod is given up. */
export const deadlineErrors = (spec: JsonObject, path: string): FieldError[] => {
  const seconds = spec["activeDeadlineSeconds"];
  if (typeof seconds !== "number") return [];
  return inRange(child(path, "activeDeadlineSeconds"), seconds, 1, 2 ** 31 - 1);
};
