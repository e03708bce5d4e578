import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  invalid,
  invalidStruct,
  notSupported,
  notSupportedStruct,
  required,
} from "../schema/field-error.ts";
import { matching } from "../schema/name-rules.ts";
import { podTemplateErrors } from "./pod-rules.ts";
import {
  byRule,
  IMMUTABLE,
  labelSelectorErrors,
  notNegative,
  selects,
  shownSelector,
} from "./rules.ts";

const STRATEGIES = ["Recreate", "RollingUpdate"];
const PERCENT_MAX = 100;
const percent = matching(
  "[0-9]+%",
  "a valid percent string must be a numeric string followed by an ending '%'",
  ["1%", "93%"],
);

/** Checks a Deployment. */
export function deploymentErrors(
  deployment: JsonObject,
  old: JsonObject | undefined,
): FieldError[] {
  const spec = objectAt(deployment, "spec");
  const errors = [
    ...notNegative("spec.replicas", spec["replicas"]),
    ...selectorErrors(spec),
    ...strategyErrors(objectAt(spec, "strategy"), "spec.strategy"),
    ...["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"].flatMap((name) =>
      notNegative(child("spec", name), spec[name]),
    ),
  ];
  const deadline = spec["progressDeadlineSeconds"];
  if (typeof deadline === "number" && deadline <= numberAt(spec, "minReadySeconds")) {
    const text = "must be greater than minReadySeconds";
    errors.push(invalid("spec.progressDeadlineSeconds", deadline, text));
  }
  return [...errors, ...changedSelector(spec, old)];
}

/** Checks a ReplicaSet. */
export function replicaSetErrors(set: JsonObject, old: JsonObject | undefined): FieldError[] {
  const spec = objectAt(set, "spec");
  return [
    ...notNegative("spec.replicas", spec["replicas"]),
    ...notNegative("spec.minReadySeconds", spec["minReadySeconds"]),
    ...selectorErrors(spec),
    ...changedSelector(spec, old),
  ];
}

function changedSelector(spec: JsonObject, old: JsonObject | undefined): FieldError[] {
  if (old === undefined) return [];
  const { selector = null } = spec;
  if (jsonEqual(selector, objectAt(old, "spec")["selector"] ?? null)) return [];
  return isObject(selector)
    ? [invalidStruct("spec.selector", shownSelector(selector), IMMUTABLE)]
    : [invalid("spec.selector", selector, IMMUTABLE)];
}

function selectorErrors(spec: JsonObject): FieldError[] {
  const path = "spec.selector";
  const { selector } = spec;
  const errors: FieldError[] = [];
  if (!isObject(selector)) errors.push(required(path));
  else {
    errors.push(...labelSelectorErrors(selector, path));
    if (isEmpty(selector)) {
      errors.push(invalid(path, selector, "empty selector is invalid for deployment"));
    }
  }
  const given = objectAt(spec, "selector");
  if (labelSelectorErrors(given, path).length > 0) {
    return [...errors, invalidStruct(path, shownSelector(given), "invalid label selector")];
  }
  return [...errors, ...templateErrors(spec, selector)];
}

const isEmpty = (selector: JsonObject) =>
  Object.keys(objectAt(selector, "matchLabels")).length === 0 &&
  objectsAt(selector, "matchExpressions").length === 0;

function templateErrors(spec: JsonObject, selector: Json | undefined): FieldError[] {
  const path = "spec.template";
  const template = objectAt(spec, "template");
  const labels = objectAt(objectAt(template, "metadata"), "labels");
  const errors: FieldError[] = [];
  // Without a selector nothing is selected; an empty one is no selector either.
  const isMatched = isObject(selector) && (isEmpty(selector) || selects(selector, labels));
  if (!isMatched) {
    const text = "`selector` does not match template `labels`";
    const shown = objectAt(template, "metadata")["labels"] ?? null;
    errors.push(invalid(child(path, "metadata.labels"), shown, text));
  }
  errors.push(...podTemplateErrors(template, path));
  const pod = objectAt(template, "spec");
  const policy = stringAt(pod, "restartPolicy");
  if (policy !== "Always") {
    errors.push(notSupported(child(path, "spec.restartPolicy"), policy, ["Always"]));
  }
  if ("activeDeadlineSeconds" in pod) {
    const text = "activeDeadlineSeconds in ReplicaSet is not Supported";
    errors.push(forbidden(child(path, "spec.activeDeadlineSeconds"), text));
  }
  return errors;
}

function strategyErrors(strategy: JsonObject, path: string): FieldError[] {
  const update = strategy["rollingUpdate"];
  if (strategy["type"] === "Recreate") {
    const text = "may not be specified when strategy `type` is 'Recreate'";
    return isObject(update) ? [forbidden(child(path, "rollingUpdate"), text)] : [];
  }
  if (strategy["type"] !== "RollingUpdate") {
    // What is shown has the fields of the server's own struct.
    const shown = { Type: strategy["type"] ?? "", RollingUpdate: update ?? null };
    return [notSupportedStruct(path, shown, STRATEGIES)];
  }
  return rollingErrors(objectAt(strategy, "rollingUpdate"), child(path, "rollingUpdate"));
}

function rollingErrors(update: JsonObject, path: string): FieldError[] {
  const [unavailable, surge] = [update["maxUnavailable"], update["maxSurge"]];
  const field = child(path, "maxUnavailable");
  const errors = [
    ...shareErrors(field, unavailable),
    ...shareErrors(child(path, "maxSurge"), surge),
  ];
  if (shareOf(unavailable) === 0 && shareOf(surge) === 0) {
    errors.push(invalid(field, unavailable ?? 0, "may not be 0 when `maxSurge` is 0"));
  }
  const isTooMuch =
    typeof unavailable === "string" &&
    percent(unavailable).length === 0 &&
    shareOf(unavailable) > PERCENT_MAX;
  if (isTooMuch) errors.push(invalid(field, unavailable, "must not be greater than 100%"));
  return errors;
}

/** A number of pods, or a part of them. */
const shareErrors = (path: string, share: Json | undefined): FieldError[] =>
  typeof share === "string" ? byRule(percent, path, share) : notNegative(path, share);

function shareOf(share: Json | undefined): number {
  if (typeof share === "number") return share;
  return typeof share === "string" && percent(share).length === 0 ? Number.parseInt(share, 10) : 0;
}

const DEPLOYMENT_COUNTS = [
  "observedGeneration",
  "replicas",
  "updatedReplicas",
  "readyReplicas",
  "availableReplicas",
  "unavailableReplicas",
  "terminatingReplicas",
  "collisionCount",
];
const REPLICA_SET_COUNTS = [
  "replicas",
  "fullyLabeledReplicas",
  "readyReplicas",
  "availableReplicas",
  "observedGeneration",
  "terminatingReplicas",
];

/** Checks the status of a Deployment. */
export function deploymentStatusErrors(deployment: JsonObject, old: JsonObject): FieldError[] {
  const status = objectAt(deployment, "status");
  const errors = countErrors(status, DEPLOYMENT_COUNTS, "updatedReplicas");
  const { collisionCount: before } = objectAt(old, "status");
  const collisions = numberAt(status, "collisionCount");
  if (typeof before === "number" && collisions < before) {
    errors.push(invalid("status.collisionCount", collisions, "cannot be decremented"));
  }
  return errors;
}

/** Checks the status of a ReplicaSet. */
export const replicaSetStatusErrors = (set: JsonObject): FieldError[] =>
  countErrors(objectAt(set, "status"), REPLICA_SET_COUNTS, "fullyLabeledReplicas");

function countErrors(status: JsonObject, counts: readonly string[], first: string): FieldError[] {
  const errors = counts.flatMap((name) => notNegative(child("status", name), status[name]));
  for (const name of [first, "readyReplicas", "availableReplicas"]) {
    const count = numberAt(status, name);
    if (count <= numberAt(status, "replicas")) continue;
    errors.push(invalid(child("status", name), count, "cannot be greater than status.replicas"));
  }
  const available = numberAt(status, "availableReplicas");
  if (available > numberAt(status, "readyReplicas")) {
    const text = "cannot be greater than readyReplicas";
    errors.push(invalid("status.availableReplicas", available, text));
  }
  return errors;
}
